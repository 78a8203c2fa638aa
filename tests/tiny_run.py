"""A small complete run: tiny random model, a few rows, a run file; the ground of many tests."""

import json
from pathlib import Path
from typing import Any

from tiny_model import tiny_model

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "red", "green", "blue", "small"]


def tiny_rows(count: int = 12) -> list[dict[str, str]]:
    """Alpaca rows of varied length, all different, the same at every call."""
    rows = []
    for i in range(count):
        words = [WORDS[(i * 7 + k * (i + 3)) % len(WORDS)] for k in range(3 + i % 9)]
        rows.append(
            {
                "instruction": f"Say {' '.join(words[: 1 + i % 4])} {i}.",
                "input": "" if i % 3 else "please",
                "output": " ".join(words),
            }
        )
    return rows


def tiny_run(
    tmp_path: Path,
    *,
    rows: list[dict[str, Any]] | None = None,
    entry: dict[str, Any] | None = None,
    kind: str = "llama",
    model: dict[str, Any] | None = None,
    **keys: Any,
) -> Path:
    """Write model, data and run file below `tmp_path`; the path of the run file.

    Args:
        tmp_path: of the test.
        rows: of the data set `tiny`; by default `tiny_rows()`.
        entry: further keys of the data set's entry in the registry.
        kind: of the model.
        model: further arguments of `tiny_model`.
        keys: laid over the run file; `None` takes a key out.
    """
    directory = tmp_path / "model"
    if not directory.exists():
        tiny_model(tmp_path, kind, name="model", **(model or {}))
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    info = {"tiny": {"file_name": "tiny.json", **(entry or {})}}
    (data / "dataset_info.json").write_text(json.dumps(info))
    (data / "tiny.json").write_text(json.dumps(rows or tiny_rows()))
    run = {
        "model_name_or_path": str(directory),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 4,
        "dataset": "tiny",
        "dataset_dir": str(data),
        "template": "chatml",
        "cutoff_len": 128,
        "output_dir": str(tmp_path / "out"),
        "logging_steps": 1,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "bf16": False,
        **keys,
    }
    path = tmp_path / "run.yaml"
    path.write_text(
        "".join(f"{key}: {json.dumps(value)}\n" for key, value in run.items() if value is not None)
    )
    return path


def train(path: Path, report: Any = None, stop: Any = None, **overrides: Any) -> Any:
    """Train in this process as the command would, without its output; the `Result`."""
    from tunesmith.config.load import load
    from tunesmith.eval.held_out import evaluate
    from tunesmith.training import run as training
    from tunesmith.training.report import Silent
    from tunesmith.training.signals import Stopper

    return training.train(
        load(path, overrides),
        report=report or Silent(),
        stopper=stop or Stopper(),
        evaluate=evaluate,
    )
