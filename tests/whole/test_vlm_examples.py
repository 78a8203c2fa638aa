"""The stories of `examples/vlm/` and `examples/moe/`, with tiny parts, from their first file on."""

import io
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from seeing_run import rows
from tiny_model import tiny_model
from tiny_tower import tiny_tower
from tunesmith.cli.main import VERBS, main
from tunesmith.config.load import load
from tunesmith.models import tokenizer
from tunesmith.models.load import load_model
from tunesmith.models.parts import parts
from tunesmith.training import journal

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for name in ("vlm", "moe") for path in (ROOT / "examples" / name).glob("*.yaml")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_loads_and_is_on_the_page(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load(path).model.model_name_or_path
    named = re.findall(r"^#.*?\btunesmith +(\w+)", path.read_text(encoding="utf8"), re.MULTILINE)
    assert named
    assert set(named) <= set(VERBS)
    assert f"`{path.parent.name}/{path.name}`" in (ROOT / "examples" / "README.md").read_text(
        encoding="utf8"
    )


def assert_experts_alone_learned(before, after):
    """Everything but experts and routers is as it was, and the log tells of them."""
    one, two = (load_model(path, dtype=torch.float32).state_dict() for path in (before, after))
    changed = {name for name in one if not torch.equal(one[name], two[name])}
    assert changed == {name for name in one if ".experts." in name or name.endswith(".gate.weight")}
    records = journal.read(after / "trainer_log.jsonl")
    assert any(record.get("router_dropped") == 0 for record in records)
    assert (after / "training_routers.png").is_file()


def test_five_files_make_a_model_of_experts_that_answers_about_pictures(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(ROOT)
    data = tmp_path / "data"
    data.mkdir()
    captions = [row for row in rows(data) if row["images"]]
    (data / "rows.json").write_text(json.dumps(captions))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user",
            "assistant_tag": "assistant"}  # fmt: skip
    entry = {"file_name": "rows.json", "formatting": "sharegpt", "tags": tags,
             "columns": {"messages": "messages", "images": "images"}}  # fmt: skip
    (data / "dataset_info.json").write_text(json.dumps({"captions": entry, "questions": entry}))

    def typed(verb, name, model, out, *more):
        line = [f"model_name_or_path={model}", f"output_dir={tmp_path / out}", *more]
        assert main([verb, str(ROOT / "examples" / "vlm" / name), *line]) == 0
        capsys.readouterr()
        return tmp_path / out

    small = (f"dataset_dir={data}", "bf16=false", "per_device_train_batch_size=4")
    tower, llm = f"vision_tower={tiny_tower(tmp_path)}", tiny_model(tmp_path)
    first = typed("assemble", "assemble.yaml", llm, "assembled", tower, "template=chatml")
    second = typed("train", "1_align.yaml", first, "1", *small)
    third = typed("train", "2_instruct.yaml", second, "2", *small, "template=chatml", "val_size=2")
    mixed = typed("upcycle", "moe.yaml", third, "moe")
    small = (*small, "bf16=true")  # routers in fp32 beside attention in bf16
    last = typed("train", "3_moe.yaml", mixed, "3", *small, "template=chatml", "val_size=2")
    models = [load_model(path, dtype=torch.float32) for path in (first, second, third)]
    of = parts(models[0])
    states = [model.state_dict() for model in models]
    learned = [
        {of(name) for name in before if not torch.equal(before[name], after[name])}
        for before, after in pairwise(states)
    ]
    assert learned == [{"multi_modal_projector"}, {"multi_modal_projector", "language_model"}]
    assert_experts_alone_learned(mixed, last)
    line_end = tokenizer.load(second).id_of("\u010a")
    ends = [json.loads((path / "generation_config.json").read_text()) for path in (second, third)]
    assert [line_end in one["eos_token_id"] for one in ends] == [True, False]
    assert main(["predict", str(last), f"dataset_dir={data}", "--json", "max_new_tokens=4"]) == 0
    assert json.loads(capsys.readouterr().out)["predict_samples"] == 2


def test_two_files_make_experts_of_a_language_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    llm = tiny_model(tmp_path, "qwen3", name="dense")
    start, out = tmp_path / "start", tmp_path / "out"
    line = [f"model_name_or_path={llm}", f"output_dir={start}"]
    assert main(["upcycle", "examples/moe/upcycle.yaml", *line]) == 0
    line = [f"model_name_or_path={start}", f"output_dir={out}", "template=chatml", "bf16=false",
            "max_samples=20", "max_steps=2"]  # fmt: skip
    assert main(["train", "examples/moe/sft.yaml", *line]) == 0
    capsys.readouterr()
    assert_experts_alone_learned(start, out)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who are you?\n"))
    assert main(["chat", str(out), "max_new_tokens=5"]) == 0
    assert capsys.readouterr().out.strip()
