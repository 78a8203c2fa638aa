"""Real tokens per second of one training job, beside the tools of the field, in alternating runs.

    make peers
    python benchmarks/speed.py [--data ROWS.json] [--count 64] [--batch 8] [--rounds 3]
        [--dtype bf16,fp32] [--sides tunesmith,llamafactory,trl,trainer] [--sweep]

SmolLM2-135M-Instruct, LoRA r8 on all linear layers (or `--method full`), the same rows in the same
order, the same rows a step; each side is the command that its users type (`sides.py`), at its
defaults. `--sweep` first runs every peer once at each setting that it offers, and then takes its
best one as a further side. Tokens are those of the rows, without padding, for everybody; seconds
are those from the beginning of the first step to the end of the last. Tokens per processor-second
are the figure to compare: they hardly depend on what else the machine does. Medians, and the ratio
of every round. The share of the ceiling: what a token takes at least under LoRA, 4 operations a
parameter of the body and 4 a parameter of the head at trained positions (full: 6), over the speed
of a large product, measured before every round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import sides

QUICKSTART = Path(__file__).parents[1] / "src" / "tunesmith" / "quickstart" / "lanternfold.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=QUICKSTART, help="alpaca rows")
    parser.add_argument("--model", default=sides.MODEL)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cutoff", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--sides", default="tunesmith,llamafactory,trl,trainer")
    parser.add_argument("--sweep", action="store_true", help="find the best setting of each peer")
    parser.add_argument("--settings", help="JSON: {side: setting} for one more run of each side")
    parser.add_argument("--json", type=Path, help="where all figures go")
    asked = parser.parse_args()
    names = asked.sides.split(",")
    missing = [name for name in names if not sides.ready(name)]
    if missing:
        parser.error(
            f"not installed: {', '.join(missing)}; make peers, or leave them out of --sides"
        )
    with tempfile.TemporaryDirectory() as folder:
        for dtype in asked.dtype.split(","):
            job = sides.prepare(
                Path(folder), asked.data, model=asked.model, count=asked.count,
                cutoff=asked.cutoff, dtype=dtype, method=asked.method, batch=asked.batch,
                threads=asked.threads,
            )  # fmt: skip
            compare(job, names, asked)


def compare(job, names, asked):
    """The table of one dtype."""
    print(
        f"\n{job.dtype}, {job.method}, {job.count} rows, {job.batch} a step, {job.threads} threads"
    )
    runs = {(name, "defaults"): sides.DEFAULTS[name] for name in names}
    if asked.settings:
        more = json.loads(asked.settings)
        runs |= {(name, text_of(more[name])): more[name] for name in names if name in more}
    if asked.sweep:
        runs |= best_of_each(job, names)
    found = {key: [] for key in runs}
    ceilings = []
    for _ in range(asked.rounds):
        ceilings.append(sides.ceiling(job))
        for key, setting in runs.items():
            done = sides.measure(key[0], job, setting)
            if "error" in done:
                raise SystemExit(f"{key}: {done['error']}")
            found[key].append(done)
    table(found, operations=sides.operations(job), ceiling=statistics.median(ceilings))
    if asked.json:
        lines = [{"side": side, "setting": text, "runs": r} for (side, text), r in found.items()]
        with asked.json.open("a", encoding="utf8") as file:
            file.writelines(json.dumps({"dtype": job.dtype, **line}) + "\n" for line in lines)


def best_of_each(job, names):
    """Every peer's fastest setting, each tried once."""
    best = {}
    for name in names:
        tried = []
        for setting in sides.SWEEP.get(name, ()):
            done = sides.measure(name, job, setting)
            if "error" in done:
                print(f"{name} {text_of(setting)}: refused, {done['error'].strip()[-120:]!r}")
                continue
            speed = done["real"] / done["cpu"]
            print(f"{name} {text_of(setting)}: {speed:.0f} tokens/CPU-s, {done['mib']:.0f} MiB")
            tried.append((speed, setting))
        if tried:
            setting = max(tried, key=lambda pair: pair[0])[1]
            best[name, text_of(setting)] = setting
    return best


def table(found, *, operations, ceiling):
    """Medians, and ratios to the first side round by round.

    Args:
        found: runs of each side and setting.
        operations: (of a token, more of a trained one).
        ceiling: operations a processor-second.
    """
    tokens = next(iter(found.values()))[0]["real"]
    ours = next(iter(found.values()))
    least = operations[0] + operations[1] * ours[0]["trained"] / tokens
    heads = (
        "",
        "tokens/CPU-s",
        "of the ceiling",
        "tokens/s",
        "held / real",
        "peak MiB",
        "mean loss",
    )
    print(f"a product: {ceiling / 1e9:.0f} GFLOP/CPU-s; a token: {least / 1e9:.3f} GFLOP")
    print(f"| {' | '.join((*heads, 'ours / theirs, each round', 'memory'))} |")
    print("|---|--:|--:|--:|--:|--:|--:|---|--:|")
    for (side, text), runs in found.items():
        ratios = [b["cpu"] / a["cpu"] for a, b in zip(ours, runs, strict=True)]
        memory = sides.median(ours, "mib") / sides.median(runs, "mib")
        speed = tokens / sides.median(runs, "cpu")
        print(
            f"| {side}, {text} | {speed:.0f} | {100 * speed * least / ceiling:.0f} % "
            f"| {tokens / sides.median(runs, 'clock'):.0f} | {runs[0]['padding']:.2f} "
            f"| {sides.median(runs, 'mib'):.0f} | {sides.median(runs, 'loss'):.4f} "
            f"| {', '.join(f'{ratio:.2f}' for ratio in ratios)} | {memory:.2f} |"
        )


def text_of(setting):
    """A setting in words."""
    return ", ".join(f"{key} {value}" for key, value in setting.items()) or "defaults"


if __name__ == "__main__":
    main()
