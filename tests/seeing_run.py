"""A small complete run over pictures: a tiny LLaVA, a few rows, a run file."""

import json
import signal

import torch
import yaml
from safetensors.torch import load_file

from tiny_vlm import picture, tiny_vlm
from tunesmith.training.report import Silent
from tunesmith.training.signals import Stopper

FREEZES = ("vision_tower", "multi_modal_projector", "language_model")
PROJECTOR = {
    f"multi_modal_projector.linear_{number}.{what}"
    for number in (1, 2)
    for what in ("weight", "bias")
}
"""As files name its tensors."""
STAGE_1 = {
    "finetuning_type": "full",
    "freeze_multi_modal_projector": False,
    "freeze_language_model": True,
}


def rows(folder, count=8):
    """Questions about pictures, and one without; as many pictures of other sizes."""
    found = []
    for number in range(count):
        name = picture(folder / f"{number}.png", (40 + number, 30), seed=number).name
        asked = {"role": "user", "content": "<image>What is it?" + " Tell me." * (number % 3)}
        said = {"role": "assistant", "content": f"Number {number}."}
        found.append({"messages": [asked, said], "images": [name]})
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody."}]
    return [*found, {"messages": turns, "images": []}]


def seeing_run(folder, *, model=None, data=None, **keys):
    """A run file over pictures, beside its data and a tiny LLaVA."""
    folder.mkdir(exist_ok=True)
    model = model or (folder / "llava" if (folder / "llava").exists() else tiny_vlm(folder))
    (folder / "data.json").write_text(json.dumps(data or rows(folder)))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    entry = {
        "file_name": "data.json", "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {**tags, "assistant_tag": "assistant"},
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({"pictures": entry}))
    said = {
        "model_name_or_path": str(model), "dataset_dir": str(folder), "dataset": "pictures",
        "template": "chatml", "output_dir": str(folder / "out"), "num_train_epochs": 2,
        "learning_rate": 1e-2, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 1,
        "bf16": False, "logging_steps": 1, **keys,
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(said))
    return folder / "run.yaml"


def weights(directory):
    """All tensors of a directory."""
    found = {}
    for path in sorted(directory.glob("*.safetensors")):
        found |= load_file(path)
    return found


def changed(before, after):
    """Names of the tensors that differ."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


class StopAfter(Stopper, Silent):
    """A signal that comes while a given step is reported."""

    def __init__(self, step):
        Stopper.__init__(self)
        self._step = step

    def step(self, done, total, **facts):
        if done == self._step:
            self.receive(signal.SIGTERM, None)
