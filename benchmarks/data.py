"""Preparing 20,000 rows: rows per second, cold and warm, and memory, beside LLaMA-Factory.

    python benchmarks/data.py TOKENIZER_DIR ROWS.json [--template chatml] [--count 20000]
                              [--peer PYTHON] [--workers 2]
    python benchmarks/data.py TOKENIZER_DIR --memory 10000000 [--template chatml]

ROWS.json holds alpaca rows; they are repeated with other words at their ends until there are
enough, once as single questions and once as chats of five messages (system, two questions, two
answers). Every side is a process of its own; what a run of 40 rows costs is taken off, so that
start-up does not count. `--peer` is the Python of an environment with LLaMA-Factory 0.9.5.

`--memory` prepares so many short rows that are made up on the spot (10 million: 1 GB of JSON lines
and 3 GB of examples in the directory for temporary files, and half an hour), a tenth of them
copies of others, and tells how much memory that took above the loaded tokenizer: memory of the
process's own (RssAnon), asked for fifty times a second, and all of it with mapped files (VmHWM),
which the system takes back where it needs them. One set of 1,000 rows before it is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

OURS = """
import json, resource, sys, time
from pathlib import Path
from tunesmith.data.prepare import prepare
from tunesmith.models import tokenizer
from tunesmith.templates import choose
directory, folder, name, template = sys.argv[1:]
loaded = tokenizer.load(Path(directory))
renderer = choose(template, loaded)
wall, cpu = time.perf_counter(), time.process_time()
prepared = prepare(dataset=[name], dataset_dir=Path(folder), renderer=renderer, tokenizer=loaded,
                   cutoff_len=2048)
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
                  "rows": len(prepared.train), "tokens": int(prepared.train.lengths.sum()),
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
MEMORY = """
import sys, time
from pathlib import Path
from tunesmith.data.batches import packs
from tunesmith.data.order import step_rows
from tunesmith.data.prepare import prepare
from tunesmith.models import tokenizer
from tunesmith.templates import choose
directory, folder, template = sys.argv[1:]
loaded = tokenizer.load(Path(directory))
renderer = choose(template, loaded)
told = lambda what: print(what, f"{time.perf_counter():.1f}", flush=True)
def prepared(name):
    return prepare(dataset=[f"{folder}/{name}.jsonl"], dataset_dir=Path(folder), renderer=renderer,
                   tokenizer=loaded, cutoff_len=2048, val_size=0.1,
                   progress=lambda done: done % 102400 or told(f"rows {done}"))
prepared("few")
told("begun")
made = prepared("many")
told("prepared")
lengths = made.train.lengths
told(f"packed {len(packs(lengths, cutoff_len=2048, seed=42))}")
step_rows(1, rows=len(made.train), global_batch=8, seed=42)
told("ordered")
made = prepared("many")
told(f"found {len(made.train)} + {len(made.eval)}, {made.num_duplicates} copies")
"""
THEIRS = """
import json, os, resource, sys, time
os.environ["DISABLE_VERSION_CHECK"] = "1"
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from transformers import AutoTokenizer, Seq2SeqTrainingArguments
directory, folder, name, template, workers = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(directory)
data = DataArguments(dataset=name, dataset_dir=folder, template=template, cutoff_len=2048,
                     overwrite_cache=True, preprocessing_num_workers=int(workers))
chat = get_template_and_fix_tokenizer(tokenizer, data)
model = ModelArguments(model_name_or_path=directory)
asked = Seq2SeqTrainingArguments(output_dir=folder + "/out", use_cpu=True, report_to="none")
def cpu():
    return sum(sum(resource.getrusage(who)[:2]) for who in (0, -1))
began, wall = cpu(), time.perf_counter()
made = get_dataset(chat, model, data, asked, stage="sft", tokenizer=tokenizer,
                   processor=None)["train_dataset"]
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": cpu() - began, "rows": len(made),
                  "tokens": sum(map(len, made["input_ids"])),
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def write(folder: Path, rows: list[dict[str, Any]], count: int) -> None:
    """Both data sets in both sizes, and their registry."""
    info = {}
    for size in (40, count):
        alpaca, chats = [], []
        for i in range(size):
            row, other = rows[i % len(rows)], rows[(i * 7 + 1) % len(rows)]
            asked = [
                "\n".join(filter(None, (r["instruction"], r.get("input")))) for r in (row, other)
            ]
            alpaca.append({**row, "output": f"{row['output']} ({i})"})
            said = [("human", asked[0]), ("gpt", f"{row['output']} ({i})")]
            said += [("human", asked[1]), ("gpt", other["output"])]
            turns = [("system", "Be brief."), *said]
            chats.append({"conversations": [{"from": who, "value": w} for who, w in turns]})
        for name, made in ((f"alpaca{size}", alpaca), (f"chats{size}", chats)):
            (folder / f"{name}.json").write_text(json.dumps(made), encoding="utf8")
            layout = "alpaca" if name.startswith("alpaca") else "sharegpt"
            info[name] = {"file_name": f"{name}.json", "formatting": layout}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def run(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """The last line that a side prints."""
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout.splitlines()[-1])


def short_rows(path: Path, count: int) -> None:
    """Rows of about 45 tokens; every tenth is one that was there before."""
    things = (
        "apple",
        "river",
        "stone",
        "cloud",
        "amber",
        "violet",
        "engine",
        "harbor",
        "pen",
        "ox",
    )
    with path.open("w", encoding="ascii") as file:
        for number in range(count):
            i = number if number % 10 else number // 20
            a, b = i * 7919 % 100003, i * 104729 % 99991
            asked = f"Add {a} and {b} for the {things[i % 10]} {things[i // 10 % 10]}."
            said = f"{a + b}, order {i}."
            file.write(f'{{"instruction": "{asked}", "output": "{said}"}}\n')


def held(pid: int) -> dict[str, int]:
    """RssAnon and VmHWM of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {key: int(found[key].split()[0]) >> 10 for key in ("RssAnon", "VmHWM") if key in found}


def memory(directory: Path, template: str, count: int) -> None:
    """Print the most memory of each part of the work, and how long it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short_rows(folder / "few.jsonl", 1000)
        short_rows(folder / "many.jsonl", count)
        command = [sys.executable, "-c", MEMORY, str(directory), name, template]
        environment = {**os.environ, "TUNESMITH_CACHE": str(folder / "cache")}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        peak, ended = {"RssAnon": 0, "VmHWM": 0}, threading.Event()

        def watch() -> None:
            while not ended.wait(0.02):
                with contextlib.suppress(OSError):
                    for key, value in held(child.pid).items():
                        peak[key] = max(peak[key], value)

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert child.stdout is not None
        base, before = 0, 0.0
        for line in child.stdout:
            what, *said, now = line.split()
            if what == "begun":
                base = held(child.pid)["RssAnon"]
            seconds, before = (0.0 if what == "begun" else float(now) - before), float(now)
            if base:
                print(
                    f"{what:<9} {' '.join(said):<36} {seconds:8.1f} s  RssAnon at most "
                    f"{peak['RssAnon'] - base:5} MiB above {base}, VmHWM {peak['VmHWM']:5} MiB",
                    flush=True,
                )
            peak["RssAnon"] = 0
        ended.set()
        watcher.join()
        if child.wait():
            sys.exit(child.returncode)


def main() -> None:
    """Print a line for each side and data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("--memory", type=int, metavar="ROWS")
    parser.add_argument("--template", default="chatml")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--peer")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    if asked.memory:
        memory(asked.directory, asked.template, asked.memory)
        return
    if asked.rows is None:
        parser.error("ROWS.json or --memory ROWS")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, json.loads(asked.rows.read_text(encoding="utf8")), asked.count)
        environment = {"TUNESMITH_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hf")}

        def side(code: str, python: str, data: str, *more: str) -> dict[str, float]:
            command = [python, "-c", code, str(asked.directory), name, data, asked.template, *more]
            return run(command, environment)

        for kind in ("alpaca", "chats"):
            large = f"{kind}{asked.count}"
            few = side(OURS, sys.executable, f"{kind}40")
            cold = side(OURS, sys.executable, large)
            warm = side(OURS, sys.executable, large)
            ours = (cold["rows"] - 40) / (cold["wall"] - few["wall"])
            per_cpu = (cold["rows"] - 40) / (cold["cpu"] - few["cpu"])
            print(
                f"{kind}: {ours:,.0f} rows/s, {per_cpu:,.0f} per CPU-s, "
                f"{cold['tokens']:,} tokens; warm {warm['wall']:.2f} s; "
                f"peak {cold['peak']:.0f} MiB ({few['peak']:.0f} with 40 rows)",
                flush=True,
            )
            if asked.peer:
                few, all_rows = (
                    side(THEIRS, asked.peer, data, str(asked.workers))
                    for data in (f"{kind}40", large)
                )
                theirs = (all_rows["rows"] - 40) / (all_rows["wall"] - few["wall"])
                their_cpu = (all_rows["rows"] - 40) / (all_rows["cpu"] - few["cpu"])
                print(
                    f"{kind}: LLaMA-Factory with {asked.workers} workers {theirs:,.0f} rows/s, "
                    f"{their_cpu:,.0f} per CPU-s, {all_rows['tokens']:,} tokens: "
                    f"ours {ours / theirs:.2f} x, {per_cpu / their_cpu:.2f} x per CPU-s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
