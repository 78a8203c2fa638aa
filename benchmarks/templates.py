"""Rows per second of rendering and tokenising, beside the tokenizer library's own `encode_batch`.

    python benchmarks/templates.py TOKENIZER_DIR [TEMPLATE ...] [--peer PYTHON]

Both sides take the same text with the same threads in one run, in turn; the ratio is the figure.
Without a template the tokenizer's own Jinja is measured too. With the Python of an environment
that has LLaMA-Factory, its preprocessing of the same rows is measured as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tunesmith.data.tokenize import Encoder, apart
from tunesmith.models import tokenizer as tokenizers
from tunesmith.templates import choose
from tunesmith.types import Conversation, Message

WORDS = [
    "The",
    "lantern",
    "keeper",
    "walks",
    "along",
    "the",
    "shore",
    "and",
    "counts",
    "the",
    "ships",
    "that",
    "come",
    "home",
    "before",
    "the",
    "storm;",
    "what",
    "does",
    "she",
    "write",
    "into",
    "her",
    "book",
    "when",
    "one",
    "of",
    "them",
    "is",
    "missing?",
]
ROUNDS = 7


def conversations(count: int, messages: int) -> list[Conversation]:
    """Rows of varied length, all different."""
    rows = []
    for i in range(count):
        turns = []
        for k in range(messages):
            length = 10 + (i * 7 + k * 13) % 60
            text = " ".join(WORDS[(i + j * (k + 3)) % len(WORDS)] for j in range(length))
            turns.append(Message("assistant" if k % 2 else "user", f"{text} {i}"))
        rows.append(Conversation(tuple(turns), "Be brief." if messages > 2 else None))
    return rows


def measure(
    name: str | None, directory: Path, messages: int, peer: str | None
) -> dict[str, float | None]:
    """Rows per second of the library and ratios of ours to it and to the peer, medians."""
    tokenizer = tokenizers.load(directory)
    coding = Encoder(choose(name, tokenizer), tokenizer)
    rows = conversations(4096, messages)
    parts = [part for row in rows for part in apart(row, coding.renderer)]
    texts = ["".join(s.text for s in coding.renderer.render(part)) for part in parts]
    theirs = _peer(peer, name, directory, rows) if peer and name else None
    speeds, walls, cpus, beside = [], [], [], []
    for _ in range(ROUNDS):
        library = _seconds(lambda: tokenizer.backend.encode_batch(texts, add_special_tokens=False))
        ours = _seconds(
            lambda: coding.encode([p for row in rows for p in apart(row, coding.renderer)])
        )
        speeds.append(len(rows) / library[0])
        walls.append(library[0] / ours[0])
        cpus.append(library[1] / ours[1])
        beside.append(theirs / ours[1] if theirs else None)
    return {
        "rows/s": statistics.median(speeds),
        "wall": statistics.median(walls),
        "cpu": statistics.median(cpus),
        "peer": statistics.median(beside) if theirs else None,
    }


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds (of all threads); the second is what load leaves alone."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _peer(python: str, name: str, directory: Path, rows: list[Conversation]) -> float:
    """CPU seconds of LLaMA-Factory for the same rows."""
    said = [
        {
            "messages": [{"role": m.role, "content": m.content} for m in row.messages],
            "system": row.system,
        }
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        file.write_text(json.dumps(said), encoding="utf8")
        script = Path(__file__).with_name("peer_llamafactory.py")
        command = [python, script, directory, name, file]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["cpu"])


def main() -> None:
    """Print one line per template and shape of conversation."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--peer", help="a Python that has LLaMA-Factory")
    asked = parser.parse_args()
    own = [] if asked.names else [None]
    for name in [*(asked.names or ["chatml"]), *own]:
        for messages in (2, 4, 6):
            found = measure(name, asked.directory, messages, asked.peer)
            beside = f", {found['peer']:.1f} x LLaMA-Factory per CPU-s" if found["peer"] else ""
            print(
                f"{name or 'its own':<12} {messages} messages: library {found['rows/s']:,.0f} "
                f"rows/s, ours {found['wall']:.2f} x ({found['cpu']:.2f} x per CPU-s){beside}",
                flush=True,
            )


if __name__ == "__main__":
    main()
