"""`tunesmith tokenizer check MODEL`: what is right and wrong with a tokenizer, and its repair."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, ModelError

_FILES = ("tokenizer.json", "config.json", "adapter_config.json")
_NAMES = ("bos", "eos", "unk", "pad")


def options(parser: argparse.ArgumentParser) -> None:
    """What to look at, and what to repair."""
    parser.add_argument("what", choices=["check"])
    parser.add_argument(
        "model", help="a model directory, a .gguf file, package:NAME/FILE or an id on the hub"
    )
    parser.add_argument(
        "--template", metavar="NAME", help="also what this template asks for; own: the model's own"
    )
    parser.add_argument(
        "--fix", nargs="+", metavar="NAME=TOKEN", help=f"NAME is one of {', '.join(_NAMES)}"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where --fix writes the model")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the model's own code")


def run(arguments: argparse.Namespace) -> int:
    """Report, and repair where asked; 2 where an error is left."""
    named = _fixes(arguments)
    from tunesmith.models import source
    from tunesmith.training.report import Silent, report_for, width_of

    progress = Silent() if arguments.json else report_for(sys.stderr)
    alone = not named and _is_tokenizer_alone(Path(arguments.model))
    directory = Path(arguments.model) if alone else source.fetch(
        arguments.model,
        weights=bool(named),
        code=arguments.trust_remote_code,
        progress=progress.work,
        note=lambda text: progress.say(f"note: {text}"),
    )  # fmt: skip
    progress.close()
    if not alone and not (directory / "config.json").is_file():
        raise ModelError(
            str(directory), got="an adapter", need="the model that it belongs to",
            hint="name the base, or the directory that `tunesmith export` writes",
        )  # fmt: skip
    trust = arguments.trust_remote_code
    report = examine(directory, arguments.template, trust_remote_code=trust)
    record, lines = report.as_dict(), report.lines(width_of(sys.stdout))
    if named:
        from tunesmith.models.repair import repair

        repaired = repair(directory, arguments.output, named, trust_remote_code=trust)
        report = examine(arguments.output, arguments.template, trust_remote_code=trust)
        record |= {"repaired": repaired.as_dict(), "after": report.as_dict()}
        lines = [*repaired.lines(), "", *report.lines(width_of(sys.stdout))]
        lines.append(f"result  {arguments.output}")
    print(json.dumps(record, ensure_ascii=False) if arguments.json else "\n".join(lines))
    return 2 if report.errors else 0


def _is_tokenizer_alone(directory: Path) -> bool:
    """Whether a directory holds a tokenizer and neither a model nor an adapter."""
    has = {name for name in _FILES if (directory / name).is_file()}
    return has == {"tokenizer.json"} and not any(directory.glob("*.gguf"))


def examine(directory: Path, template: str | None, *, trust_remote_code: bool = False) -> Any:
    """The doctor's report on a model directory, or on a tokenizer without a model.

    Raises:
        Error: the model, its tokenizer or the template cannot be read.
    """
    from tunesmith.models import doctor, facts
    from tunesmith.models import tokenizer as tokenizers
    from tunesmith.templates import choose
    from tunesmith.training.wanted import wanted

    tokenizer = tokenizers.load(directory, trust_remote_code=trust_remote_code, check_names=False)
    rows = None
    if (directory / "config.json").is_file():
        rows = facts.facts(directory, trust_remote_code=trust_remote_code).vocab
    asked = None
    if template is not None or tokenizer.chat_template:
        name = None if template == "own" else template
        asked = wanted(choose(name, tokenizer), tokenizer)
    whole = not doctor.check(tokenizer, rows).errors
    further = doctor.comparisons(tokenizer) if whole else []
    return doctor.check(tokenizer, rows, wanted=asked, further=further)


def _fixes(arguments: argparse.Namespace) -> dict[str, str]:
    """Token by name.

    Raises:
        ConfigError: not NAME=TOKEN, a name twice, or only one of --fix and --output.
    """
    named: dict[str, str] = {}
    for text in arguments.fix or ():
        name, sign, token = text.partition("=")
        if not sign or name not in _NAMES or not token.strip() or name in named:
            raise ConfigError(
                f"command line: --fix {text}", need=f"NAME=TOKEN, each NAME of {', '.join(_NAMES)} "
                "at most once", hint="--fix unk='<|extra_0|>' eos='<|endoftext|>' --output DIR",
            )  # fmt: skip
        named[name] = token
    if bool(named) != (arguments.output is not None):
        raise ConfigError(
            "command line: tunesmith tokenizer check",
            got="--fix without --output" if named else "--output without --fix",
            need="both or none: the repaired model is written to a directory of its own",
        )
    return named
