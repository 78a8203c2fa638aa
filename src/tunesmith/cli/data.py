"""`tunesmith data check | show | clean`: what the rows of a run are, and which cannot be used."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from tunesmith.errors import ConfigError

_ACTIONS = {
    "check": "what becomes of every row, and what is wrong with some; exit code 2 on bad rows",
    "show": "some rows as they are learned, token by token; --html writes a page",
    "stats": "lengths, what of them is learned, and what each layout wastes, as text or a picture",
    "clean": "write the rows that can be used, and the others, to files of their own",
}
"""Each in its own module, `cli/data_NAME.py`, with a `show(arguments) -> int` and, where it wants
options of its own, `options(parser)`."""
TAKES_OVERRIDES = True


def options(parser: argparse.ArgumentParser) -> None:
    """The sub-verb, and what it acts on."""
    told = "; ".join(f"{name}: {text}" for name, text in _ACTIONS.items())
    parser.add_argument("what", choices=_ACTIONS, help=told)
    parser.add_argument("name", nargs="?", help="a run file or a run directory")
    for action in _ACTIONS:
        own = parser.add_argument_group(f"options of `data {action}`")
        getattr(_module(action), "options", lambda group: None)(own)


def run(arguments: argparse.Namespace) -> int:
    """Do one of them."""
    if arguments.name is None:
        raise ConfigError(
            f"command line: data {arguments.what}", need="a run file",
            hint=f"tunesmith data {arguments.what} run.yaml",
        )  # fmt: skip
    _refuse_options_of_others(arguments)
    return _module(arguments.what).show(arguments)


def _module(action: str) -> Any:
    return import_module(f"tunesmith.cli.data_{action}")


def _refuse_options_of_others(arguments: argparse.Namespace) -> None:
    """An option that the sub-verb does not have would be ignored without a word.

    Raises:
        ConfigError: the first such option.
    """
    owners = {action: _own(action) for action in _ACTIONS}
    for action, found in owners.items():
        for option in found:
            given = getattr(arguments, option.dest) != option.default
            if given and option.dest not in {one.dest for one in owners[arguments.what]}:
                raise ConfigError(
                    f"command line: data {arguments.what}: {option.option_strings[-1]}",
                    need=f"an option of data {arguments.what}; this is one of data {action}",
                )


def _own(action: str) -> list[argparse.Action]:
    """Options of one sub-verb alone."""
    parser = argparse.ArgumentParser(add_help=False)
    getattr(_module(action), "options", lambda group: None)(parser)
    return parser._actions
