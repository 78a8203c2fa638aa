"""`tunesmith parity A B`: whether two ways to a model say the same, door by door."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from typing import Any

from tunesmith.cli import target
from tunesmith.errors import Error

DIFFERENT = 1
"""Exit code where a door differs."""
_ROWS = 8


def options(parser: argparse.ArgumentParser) -> None:
    """What is compared."""
    what = "a run file, a run, model or export directory, a .gguf file, or the URL of a server"
    parser.add_argument("a", help=f"{what}; right where they differ")
    parser.add_argument("b", help="the same")
    parser.add_argument("--api-key", default="", help="of a server")
    parser.add_argument("--model", default="", help="which of a server's models; else the first")


def run(arguments: argparse.Namespace) -> int:
    """Ask both, compare, print."""
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    found = compared(arguments, report)
    report.close()
    if arguments.json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        print("\n".join(lines(found)))
    return 0 if found.equal else DIFFERENT


def compared(arguments: argparse.Namespace, report: Any) -> Any:
    """Both sides, asked.

    Raises:
        Error: one of them cannot be asked.
    """
    from tunesmith.export import parity

    sides, rows, shown = [], [], []
    for name in (arguments.a, arguments.b):
        found = parity.side(name, key=arguments.api_key, model=arguments.model)
        if found is None:
            found, own, about_pictures = _run(name, report)
            rows, shown = rows or own, shown or about_pictures
        sides.append(found)
    for side in sides:
        shown = shown or (_drawn(side.name, report) if side.kind == "directory" else [])
    if all(one.kind == "server" for one in sides):
        report.say("two servers: only what they answer as text is compared")
    report.say(f"asking {arguments.a} and {arguments.b}")
    return parity.compare(*sides, rows=rows, sights=shown)


def lines(found: Any) -> list[str]:
    """What was compared, for people."""
    words = {True: "equal", False: "DIFFERENT", None: "not compared"}
    told = [f"A  {found.a} ({found.readers[0]})", f"B  {found.b} ({found.readers[1]})"]
    told += [f"  {door.name:<16} {words[door.equal]:<13} {door.said}" for door in found.doors]
    told += [f"note: {note}" for note in found.notes]
    wrong = [door.name for door in found.doors if door.equal is False]
    if wrong:
        return [*told, f"different: {', '.join(wrong)}"]
    return [*told, "equal" if found.equal else "nothing could be compared"]


def _drawn(name: str, report: Any) -> list[Any]:
    """A question about a drawn picture, in the words of a directory whose model sees."""
    from tunesmith.cli import answering
    from tunesmith.cli.export_rows import Given, sights

    try:
        return sights(Given(answering.find(target.read(name, ()), report)))[0]
    except Error:  # there is no template; what can be asked without is asked
        return []


def _run(name: str, report: Any) -> tuple[Any, list[list[int]], list[Any]]:
    """A run as a side, with some of its rows and questions about its pictures."""
    import torch

    from tunesmith.cli import answering
    from tunesmith.cli.export_rows import Given, look, sights
    from tunesmith.export import parity, proof
    from tunesmith.export.job import OF_DTYPE
    from tunesmith.export.said import Questions, Said, of_model, spoken
    from tunesmith.templates import jinja_to_serve
    from tunesmith.training.material import examples
    from tunesmith.training.seeing import family_for
    from tunesmith.types import Conversation, Message

    asked = target.read(name, ())
    if not target.served(asked).complete:
        raise Error(name, got="a run without a result", need="a finished run")
    found = answering.find(asked, report)
    trust = asked.model.trust_remote_code
    given = Given(found, trust_remote_code=trust)
    if asked.dataset.dataset:
        family = family_for(asked, found.directory, found.tokenizer)
        data = examples(
            asked, found.renderer, found.tokenizer, report, family=family,
            split_special_tokens=found.split_special_tokens,
        )  # fmt: skip
        given = Given(found, data, family, asked.dataset.media_dir, trust)
    of_words = (example for example in given.every if not example.media)
    chosen = [example.ids.tolist() for example in islice(of_words, _ROWS)]

    def encode(conversation: list[dict[str, str]]) -> list[int]:
        turns = [Message("user" if turn["role"] == "user" else "assistant", turn["content"])
                 for turn in conversation]  # fmt: skip
        return found.encode(Conversation(tuple(turns)))

    def ask(questions: Questions) -> Said:
        loading = proof.Loading(trust_remote_code=asked.model.trust_remote_code)
        model = proof.tuned_model(found.directory, found.adapters, loading)
        backend = found.tokenizer.backend
        said = Said(
            reader="the tuned model, in this process",
            ids=[
                backend.encode(text, add_special_tokens=special).ids
                for text in questions.texts
                for special in (False, True)
            ],
            prompts=[encode(conversation) for conversation in questions.prompts],
            template=jinja_to_serve(found.renderer, found.tokenizer),
        )
        stops = (*found.renderer.stop_words, found.tokenizer.eos, *found.tokenizer.stops)
        ids = [found.tokenizer.id_of(stop) for stop in stops]
        ends = [i for i in ids if i is not None]
        said = spoken(of_model(said, model, questions), ends, backend.decode)
        seen = [proof.see(model, s, look(found), questions.new_tokens) for s in questions.sights]
        return said.looked(seen)

    side = parity.Side(name, "run", OF_DTYPE[torch.float32], ask, found.tokenizer, encode)
    return side, chosen, sights(given)[0]
