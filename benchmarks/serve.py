"""Tokens per second of answers under load, beside the servers of the field.

    python benchmarks/serve.py [--clients 16] [--answers 64] [--rounds 3] [--dtype float32]
        [--llamafactory PYTHON] [--transformers PYTHON]

So many clients ask one question after another, greedily; tokens of answers by the server's own
count, over the time from the first request to the last answer, with many clients and with one.
The sides take turns, each on the same plain directory in the same dtype with as many threads:
`tunesmith serve`, `llamafactory-cli api` (as it comes, and with MAX_CONCURRENT), `transformers
serve` (as it comes, and with --continuous-batching; its environment needs `transformers[serving]`).
How many of their answers are to the letter ours is counted, too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from clients import MODEL, WORDS, Heard, Server, Wrong, ours, serving, together

SYSTEM = {"role": "system", "content": "You are brief."}
"""Said by everybody, so that nobody puts a message of the template's own there."""


class Side(NamedTuple):
    """A server to compare with."""

    command: list[str]
    environment: dict[str, str]
    ready: str
    address: str
    model: str
    """What it wants to read in `model`."""


def theirs(asked: argparse.Namespace, folder: Path) -> dict[str, Side]:
    """The peers' servers, as their users start them."""
    found = {}
    port = _free_port()
    address = f"http://127.0.0.1:{port}/v1"
    common = {"OMP_NUM_THREADS": str(asked.threads), "HF_HUB_OFFLINE": "1"}
    if asked.llamafactory:
        run = folder / "llamafactory.yaml"
        run.write_text(
            json.dumps({
                "model_name_or_path": str(asked.directory), "template": "chatml",
                "infer_backend": "huggingface", "infer_dtype": asked.dtype,
            })
        )  # fmt: skip
        command = [str(Path(asked.llamafactory).parent / "llamafactory-cli"), "api", str(run)]
        environment = {
            **common, "API_HOST": "127.0.0.1", "API_PORT": str(port), "DISABLE_VERSION_CHECK": "1",
        }  # fmt: skip
        side = Side(command, environment, "Uvicorn running on", address, "gpt-3.5-turbo")
        found["llamafactory"] = side
        more = {**environment, "MAX_CONCURRENT": str(asked.clients)}
        found[f"llamafactory, MAX_CONCURRENT={asked.clients}"] = side._replace(environment=more)
    if asked.transformers:
        command = [
            asked.transformers, "-m", "transformers.cli.transformers", "serve",
            str(asked.directory), "--device", "cpu", "--dtype", asked.dtype,
            "--host", "127.0.0.1", "--port", str(port), "--log-level", "info",
        ]  # fmt: skip
        side = Side(command, common, "Uvicorn running on", address, str(asked.directory))
        found["transformers"] = side
        batched = [*command, "--continuous-batching"]
        found["transformers, --continuous-batching"] = side._replace(command=batched)
    return found


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Rate(NamedTuple):
    """How fast a side was."""

    tokens: int
    seconds: float
    cpu: float
    same: int
    """Answers that are ours, too."""
    answers: int


def rate(
    server: Server, model: str, prompts: list[str], *, clients: int, tokens: int, said: Any
) -> Rate:
    """Ask all, so many at once.

    Args:
        server: that runs.
        model: its name.
        prompts: what is asked.
        clients: how many ask.
        tokens: of an answer, at most.
        said: our own answers by prompt, filled by the first side.
    """
    left, lock, heard = list(prompts), threading.Lock(), dict[str, Heard]()
    troubles: list[str] = []

    def work() -> None:
        while True:
            with lock:
                if not left:
                    return
                prompt = left.pop()
            body = {
                "model": model, "messages": [SYSTEM, {"role": "user", "content": prompt}],
                "max_tokens": tokens, "temperature": 0,
            }  # fmt: skip
            try:
                heard[prompt] = server.client.whole("/chat/completions", body)
            except Exception as error:
                troubles.append(f"{type(error).__name__}: {error}")
                return

    begun, cpu = time.perf_counter(), server.cpu()
    for thread in together([work] * clients):
        thread.join()
    taken, cpu = time.perf_counter() - begun, server.cpu() - cpu
    if troubles:
        raise Wrong(troubles[0])
    said = said if said else said.update(heard) or said
    same = sum(said.get(prompt) is not None and said[prompt].texts == h.texts
               for prompt, h in heard.items())  # fmt: skip
    made = sum(h.completion_tokens for h in heard.values())
    return Rate(made, taken, cpu, same, len(heard))


def speed(asked: argparse.Namespace, folder: Path) -> dict[str, list[tuple[Rate, Rate]]]:
    """For each side and round: (one client, many)."""
    draw = random.Random(7)
    prompts = [
        f"Write a few sentences about {' and '.join(draw.sample(WORDS, 3))}, number {i}."
        for i in range(asked.answers)
    ]
    sides = {"tunesmith": None, **theirs(asked, folder)}
    found: dict[str, list[tuple[Rate, Rate]]] = {name: [] for name in sides}
    said: dict[str, Heard] = {}
    for _ in range(asked.rounds):
        for name, side in sides.items():
            if side is None:
                keys = {"template": "chatml", "bf16": asked.dtype == "bfloat16"}
                context = ours(
                    asked.directory, folder, threads=asked.threads, slots=asked.slots, keys=keys
                )
                model = "served"
            else:
                context = serving(
                    side.command, ready=side.ready, address=side.address,
                    environment=side.environment, log=folder / "peer.txt",
                )  # fmt: skip
                model = side.model
            with context as server:
                how = {"tokens": asked.tokens, "said": said}
                rate(server, model, prompts[:1], clients=1, tokens=4, said={})
                many = rate(server, model, prompts, clients=asked.clients, **how)
                few = prompts[: max(asked.answers // asked.clients, 1)]
                one = rate(server, model, few, clients=1, **how)
            found[name].append((one, many))
            print(f"  {name}: {shown([(one, many)])}", flush=True)
    return found


def shown(rates: list[tuple[Rate, Rate]]) -> str:
    """Medians of some rounds."""
    parts = []
    for at, name in enumerate(("alone", "together")):
        own = [pair[at] for pair in rates]
        clock = statistics.median(r.tokens / r.seconds for r in own)
        cpu = statistics.median(r.tokens / r.cpu for r in own)
        parts.append(f"{name} {clock:.1f} tokens/s, {cpu:.1f} tokens/CPU-s")
    last = rates[-1][1]
    return f"{'; '.join(parts)}; {last.same} of {last.answers} answers as ours"


def main() -> None:
    """A line for each side, with the ratio of every round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--llamafactory", help="the Python of an environment with it")
    parser.add_argument("--transformers", help="the Python of an environment with its server")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(asked, Path(name))


def compare(asked: argparse.Namespace, folder: Path) -> None:
    """Measure every side, and print."""
    from tunesmith.models.source import bring

    asked.directory = bring(asked.model, folder / "model", note=print)
    print(f"{os.cpu_count()} cores, {vars(asked)}")
    found = speed(asked, folder)
    mine = found["tunesmith"]
    for name, rates in found.items():
        line = f"{name}: {shown(rates)}"
        if name != "tunesmith":
            ratios = [
                (a[1].tokens / a[1].seconds) / (b[1].tokens / b[1].seconds)
                for a, b in zip(mine, rates, strict=True)
            ]
            line += f"; ours / theirs, together: {', '.join(f'{r:.2f}' for r in ratios)}"
        print(line)


if __name__ == "__main__":
    main()
