"""`tunesmith serve run.yaml`: an OpenAI-compatible server for a model and its adapters."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from tunesmith.cli import target
from tunesmith.errors import ConfigError
from tunesmith.serve.limits import WITH_PICTURES, Limits

if TYPE_CHECKING:
    from socket import socket

    from tunesmith.config.run import Run

KEY = "TUNESMITH_API_KEY"
"""Environment variable for the token, which a command line would show to everybody."""


def options(parser: argparse.ArgumentParser) -> None:
    """Where it listens, and who may ask."""
    parser.add_argument("--host", default="127.0.0.1", help="address; others need a token")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: a free one")
    parser.add_argument("--api-key", help=f"token of requests ({KEY} too); not given: made")
    parser.add_argument("--name", help="what clients call the model")
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=DIR",
        help="one more adapter over the same base, as a model of its own; as often as wanted",
    )  # fmt: skip
    parser.add_argument("--slots", type=int, default=16, help="answers at once (16)")
    parser.add_argument(
        "--max-tokens", type=int, default=Limits().prompt_tokens,
        help=f"of a prompt, and of an answer, at most ({Limits().prompt_tokens})",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    asked = target.read(arguments.target, arguments.overrides)
    from tunesmith.cli.engines import uses_vllm
    from tunesmith.serve import run as serving

    uses_vllm(asked)
    for flag, value in (("--slots", arguments.slots), ("--max-tokens", arguments.max_tokens)):
        if value < 1:
            raise ConfigError(f"command line: {flag}", got=value, need="1 or more")
    given = arguments.api_key if arguments.api_key is not None else os.environ.get(KEY)
    token, made = serving.choose_token(arguments.host, given)
    listening = serving.bind(arguments.host, arguments.port)
    with closing(listening):  # taken before the model is read, which takes long
        _serve(asked, arguments, listening, token=token, made=made)
    return 0


def _serve(
    asked: Run, arguments: argparse.Namespace, listening: socket, *, token: str, made: bool
) -> None:
    from tunesmith.cli import answering, voices
    from tunesmith.serve import run as serving
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    found = answering.find(asked, report)
    beside = voices.find_beside(asked, found, arguments.adapter, report, name=arguments.name)
    sampling = answering.sampling(asked, found)
    served = voices.served_for(
        asked, found, beside, report, name=arguments.name, slots=arguments.slots
    )
    most = arguments.max_tokens
    limits = Limits(prompt_tokens=most, answer_tokens=most)
    if any(voice.see for voice in served.models.values()):
        limits = limits._replace(body_bytes=WITH_PICTURES)
    served = served._replace(limits=limits)
    report.close()
    for note in dict.fromkeys(n for each in (found, *beside.values()) for n in each.notes):
        print(f"note: {note}", file=sys.stderr)

    def started(address: str) -> None:
        facts = {"address": address, "models": list(served.models)}
        if arguments.json:
            print(json.dumps({**facts, "api_key": token if made else None}), flush=True)
            return
        print(f"{found.served.note}; template {found.renderer.name}")
        print(f"usual   {', '.join(sampling.lines())}")
        own = {name: each.renderer.name for name, each in beside.items()}
        told = [f"{name} (template {own[name]})" if name in own else name for name in served.models]
        print(f"models  {', '.join(told)}")
        print(f"address {address}")
        if made:
            print(f"api key {token}")
        print("Ctrl-C or SIGTERM: ends when the answers under way have ended", flush=True)

    serving.run(served, listening, token=token, places=arguments.slots, started=started)
