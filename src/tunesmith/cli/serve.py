"""`tunesmith serve run.yaml`: an OpenAI-compatible server for a model and its adapters."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli import target
from tunesmith.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found
    from tunesmith.config.run import Run
    from tunesmith.serve.reading import Style

KEY = "TUNESMITH_API_KEY"
"""Environment variable for the token, which a command line would show to everybody."""


def options(parser: argparse.ArgumentParser) -> None:
    """Where it listens, and who may ask."""
    parser.add_argument("--host", default="127.0.0.1", help="address; others need a token")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: a free one")
    parser.add_argument("--api-key", help=f"token of requests ({KEY} too); not given: made")
    parser.add_argument("--name", help="what clients call the model")
    parser.add_argument("--slots", type=int, default=16, help="answers at once (16)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    asked = target.read(arguments.target, arguments.overrides)
    from tunesmith.cli import answering
    from tunesmith.serve import run as serving
    from tunesmith.training.report import Silent, report_for

    if arguments.slots < 1:
        raise ConfigError("command line: --slots", got=arguments.slots, need="1 or more")
    given = arguments.api_key if arguments.api_key is not None else os.environ.get(KEY)
    token, made = serving.choose_token(arguments.host, given)
    listening = serving.bind(arguments.host, arguments.port)
    report = Silent() if arguments.json else report_for(sys.stderr)
    found = answering.find(asked, report)
    sampling = answering.sampling(asked, found)
    served = served_for(asked, found, name=arguments.name, slots=arguments.slots)
    report.close()
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)

    def started(address: str) -> None:
        facts = {"address": address, "models": list(served.models)}
        if arguments.json:
            print(json.dumps({**facts, "api_key": token if made else None}), flush=True)
            return
        print(f"{found.served.note}; template {found.renderer.name}")
        print(f"usual   {', '.join(sampling.lines())}")
        print(f"models  {', '.join(served.models)}")
        print(f"address {address}")
        if made:
            print(f"api key {token}")
        print("Ctrl-C or SIGTERM: ends when the answers under way have ended", flush=True)

    serving.run(served, listening, token=token, places=arguments.slots, started=started)
    return 0


def served_for(asked: Run, found: Found, *, name: str | None, slots: int) -> Any:
    """The model loaded, an engine over it, and what the routes need.

    Raises:
        Error: weights or template that cannot be used.
    """
    from tunesmith.cli import answering
    from tunesmith.infer.batching import Batching
    from tunesmith.infer.embeddings import embed
    from tunesmith.infer.grammar import Grammars
    from tunesmith.models import adapters
    from tunesmith.serve.served import Served

    model, backend = answering.load(asked, found), found.tokenizer.backend
    engine = found.engine(model)
    base, own = _names(asked, found, name)
    switches = {}
    models: dict[str, str | None] = {own: None}
    # of several, all but the last are merged: without it the model would not be the base
    if len(found.adapters) == 1 and _can_be_left_out(model):
        models[base] = "base"
        switches["base"] = lambda: adapters.disabled(model)
    batching = Batching(
        model,
        backend,
        stop_ids=engine.stop_ids,
        stop_texts=engine.stop_texts,
        slots=slots,
        adapters=switches,
    )
    return Served(
        engine=batching,
        backend=backend,
        encode=found.spoken,
        style=_remembered(found),
        models=models,
        sampling=answering.sampling(asked, found),
        stop_ids=engine.stop_ids,
        stop_texts=engine.stop_texts,
        constraining=cache(lambda: Grammars(backend, stop_ids=engine.stop_ids)),
        call_forms=found.call_forms,
        embed=lambda ids: batching.between(lambda: embed(model, ids)).result(),
    )


def _remembered(found: Found) -> Any:
    """`found.style`, which asks the template, once for each set of tools."""
    known: dict[str | None, Style] = {}

    def style(tools: str | None) -> Style:
        if tools not in known:
            if len(known) > 256:
                known.clear()
            known[tools] = found.style(tools)
        return known[tools]

    return style


def _names(asked: Run, found: Found, name: str | None) -> tuple[str, str]:
    """What the base and what is served are called."""
    base = Path(str(found.served.model)).name
    weights = found.adapters[-1] if found.adapters else found.directory
    own = asked.output.run_name or (weights.name if found.adapters else base)
    own = name or own
    return (f"{base}-base" if base == own else base), own


def _can_be_left_out(model: Any) -> bool:
    from tunesmith.models import adapters

    try:
        with adapters.disabled(model):
            return True
    except ModelError:  # modules were trained in full
        return False
