"""`tunesmith template list | show | render | check`: what templates write, where they differ."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, DataError

_ACTIONS = ("list", "show", "render", "check")
TAKES_OVERRIDES = True
_RECORDED_DAY = datetime.date(2025, 1, 1)
"""What `render` takes for today, as llama3's description of tools prints it. Its lines are compared
with recorded ones, so they must not differ from day to day; the records of LLaMA-Factory's
rendering were made with the clock at this day. Training and serving go by the clock."""


def options(parser: argparse.ArgumentParser) -> None:
    """The sub-verb, and what it acts on."""
    parser.add_argument("what", choices=_ACTIONS)
    parser.add_argument(
        "name",
        nargs="?",
        help="a template; for `list`: a part of a name; for `check`: a run file",
    )
    parser.add_argument("--tokenizer", help="for `render` and `show`: a model directory")
    parser.add_argument(
        "--input",
        help="for `render`: a file of cases, a line each: "
        '{"messages": [{"role": "user", "content": "Hi"}, …], "system": …, "tools": …}',
    )
    parser.add_argument(
        "--today",
        metavar="YYYY-MM-DD",
        help=f"for `render`: the date that some tool formats print (else {_RECORDED_DAY})",
    )
    parser.add_argument("--output", help="for `render`: where the lines go; else they are printed")


def run(arguments: argparse.Namespace) -> int:
    """Do one of the four."""
    if arguments.what != "list" and arguments.name is None:
        need = "a run file" if arguments.what == "check" else "the name of a template"
        raise ConfigError(f"command line: template {arguments.what}", need=need)
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "render": _render,
        "check": _check,
    }
    return actions[arguments.what](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from tunesmith.cli import template_list
    from tunesmith.training.report import width_of

    width = width_of(sys.stdout)
    template_list.show(arguments.name, as_json=arguments.json, width=width)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from tunesmith.cli import template_show

    template_show.show(arguments.name, arguments.tokenizer, as_json=arguments.json)
    return 0


def _render(arguments: argparse.Namespace) -> int:
    from tunesmith import store
    from tunesmith.data.rendered import render_cases
    from tunesmith.models import tokenizer as tokenizers
    from tunesmith.models.doctor import not_tokens
    from tunesmith.models.vocabulary import extend
    from tunesmith.templates import OwnJinja, Template, choose

    if arguments.tokenizer is None or arguments.input is None:
        need = "--tokenizer DIR and --input cases.jsonl"
        raise ConfigError("command line: template render", need=need)
    cases = list(_cases(Path(arguments.input)))
    name = None if arguments.name == "own" else arguments.name
    tokenizer = tokenizers.load(Path(arguments.tokenizer))
    renderer = choose(name, tokenizer)
    day = _day(arguments.today, own=isinstance(renderer, OwnJinja))
    if isinstance(renderer, Template):  # as `resize_vocab: true` adds them
        missing = not_tokens(tokenizer, renderer.named_stops)
        rows = tokenizer.backend.get_vocab_size(with_added_tokens=True)
        tokenizer = extend(tokenizer, rows, special=missing).tokenizer
    lines = [
        json.dumps(one.as_dict(), ensure_ascii=False)
        for one in render_cases(cases, name, tokenizer, today=day)
    ]
    text = "".join(f"{line}\n" for line in lines)
    if arguments.output is None:
        print(text, end="")
    else:
        store.write_text(Path(arguments.output), text)
        print(json.dumps({"output": arguments.output, "lines": len(lines)}))
    return 0


def _day(text: str | None, *, own: bool) -> datetime.date:
    if text is None:
        return _RECORDED_DAY
    where = "command line: --today"
    if own:
        need = "a template by name: a Jinja template has its own clock"
        raise ConfigError(where, got=text, need=need)
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(where, got=text, need="a date, YYYY-MM-DD") from None


def _cases(path: Path) -> Iterator[dict[str, Any]]:
    from tunesmith.data.strict_json import read_bytes

    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            case = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:  # also bytes that are not UTF-8
            need = "one JSON object a line"
            raise DataError(f"{path}:{number}", got=str(error), need=need) from None
        if not isinstance(case, dict):
            raise DataError(f"{path}:{number}", got=case, need="one JSON object a line")
        yield case


def _check(arguments: argparse.Namespace) -> int:
    """Where the template of a run differs from the model's own."""
    from tunesmith.cli import answering, target
    from tunesmith.templates import mismatch, probes_for
    from tunesmith.training.report import Silent, report_for

    asked = target.read(arguments.name, arguments.overrides)
    report = Silent() if arguments.json else report_for(sys.stderr)
    found = answering.find(asked, report)
    report.close()
    differences = mismatch(found.renderer, found.tokenizer, probes_for(found.renderer))
    if arguments.json:
        print(json.dumps([one._asdict() for one in differences], ensure_ascii=False))
        return 0
    print("\n".join(_told(found, differences)))
    return 0


def _told(found: Any, differences: Iterable[Any]) -> Iterator[str]:
    name = found.renderer.name
    if found.tokenizer.chat_template is None:
        yield f"{name}: the model brings no template to differ from"
        return
    differences = list(differences)
    if not differences:
        yield f"{name}: the same text as the model's own on every probe"
        return
    for one in differences:
        yield f"{one.probe}, at character {one.position}:"
        yield f"  {name:<12} {one.ours!r}"
        yield f"  {'its own':<12} {one.theirs!r}"
    yield "trained so, the model answers to this text; the template is saved with the result"
