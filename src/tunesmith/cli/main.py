"""argv -> one function call per verb. Imports nothing heavy before it must.

Each verb lives in `cli/VERB.py` with a `run(arguments) -> int` and, where it wants options
of its own, `options(parser)`. Exit codes: 0 done, 1 training cannot go on, 2 something
given cannot be used, 75 stopped on request (the same command goes on), 141 whoever read the
output has gone.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tunesmith import __version__
from tunesmith.cli.command import going_on
from tunesmith.cli.streams import streams
from tunesmith.errors import Error, OutputError

VERBS = {
    "quickstart": "tune a small real model on this machine, from nothing, in a few minutes",
    "init": "look at your data and a model, write a run file",
    "plan": "print what a run will do, without loading weights",
    "train": "tune a model; started again, it goes on where it stopped",
    "chat": "talk to a model, tuned or not",
    "serve": "answer OpenAI's clients over HTTP, many at once",
    "eval": "loss of a model on held-out data",
    "predict": "answer every row of a data set, and compare with its answers",
    "export": "merge the adapter; write a model directory, GGUF, Ollama …, each verified",
    "parity": "A B: whether two of run, directory, GGUF file and server say the same",
    "assemble": "a language model and a vision tower become a model that sees, proved",
    "upcycle": "a dense model becomes a mixture of experts that says the same, proved",
    "download": "bring a model into a plain directory, from a hub or a .gguf file, verified",
    "data": "check | show | stats | clean RUN: what becomes of its rows, and how long they are",
    "template": "list | show NAME | render NAME | check RUN: what templates write",
    "tokenizer": "check MODEL: its special tokens, stop words and rows; --fix repairs them",
    "config": "schema | reference | explain KEY: what a run file may say",
    "env": "versions and hardware, for a bug report",
    "version": "print the version",
}
READER_GONE = 128 + 13  # SIGPIPE, as the shell tells of programs that do not ignore it
_TARGET = "a run file, a run directory or a model directory"
_NO_TARGET = (
    "quickstart",
    "parity",
    "env",
    "version",
    "config",
    "download",
    "init",
    "data",
    "template",
    "tokenizer",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the process's exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in argv
    with streams(as_json=as_json, outlasts=_trains(argv)):
        return _told(argv, as_json)


def _told(argv: list[str], as_json: bool) -> int:
    """Run one verb and say what went wrong."""
    try:
        with _leaving_on_signals(argv):
            code = _run(argv, as_json)
            sys.stdout.flush()
            return code
    except Error as error:
        with suppress(OutputError, BrokenPipeError):  # stdout has no reader: the code is left
            if as_json:
                print(json.dumps(error.as_dict(), ensure_ascii=False), flush=True)
            else:
                print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        # A signal before there was anything to save; see training/signals.py for later ones.
        print(_stopped(str(error) or "SIGINT", argv), file=sys.stderr)
        return 75
    except BrokenPipeError:
        return READER_GONE


def _run(argv: list[str], as_json: bool) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        print(json.dumps({"tunesmith": __version__}) if as_json else f"tunesmith {__version__}")
        return 0
    return _dispatch(argv[0], argv[1:])


@contextmanager
def _leaving_on_signals(argv: Sequence[str]) -> Iterator[None]:
    """While libraries are imported a signal ends the process at once, with our exit code.

    A library that is half imported may turn the exception of a signal into one of its own.
    Training has its own handlers once there is something to save (training/signals.py).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        with suppress(OSError):
            os.write(2, f"{_stopped(signal.Signals(number).name, argv)}\n".encode())
        os._exit(75)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    heard = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    former = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stopped(name: str, argv: Sequence[str]) -> str:
    return f"stopped ({name})" + ("; nothing to save yet" if _trains(argv) else "")


def _trains(argv: Sequence[str]) -> bool:
    """Such a verb goes on when nobody can read what it prints, and saves when it is stopped."""
    return bool(argv) and argv[0] in ("train", "quickstart")


def _dispatch(verb: str, rest: list[str]) -> int:
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        raise Error(
            f"command line: {verb}",
            need=f"a verb: {', '.join(VERBS)}",
            hint=f"tunesmith {near[0]}" if near else "tunesmith --help",
        )
    arguments = parser(verb).parse_intermixed_args(rest)
    if verb not in _NO_TARGET and (arguments.target is None or _is_override(arguments.target)):
        raise Error(
            f"command line: tunesmith {verb}", got=arguments.target, need=_TARGET,
            hint=f"tunesmith {verb} run.yaml; tunesmith init writes one",
        )  # fmt: skip
    try:
        return importlib.import_module(f"tunesmith.cli.{verb}").run(arguments)
    except Error as error:
        if hasattr(arguments, "overrides"):
            going_on(error, [verb, *rest], arguments)
        raise


def parser(verb: str) -> argparse.ArgumentParser:
    """What a verb takes."""
    module = importlib.import_module(f"tunesmith.cli.{verb}")
    made = _Parser(prog=f"tunesmith {verb}", description=VERBS[verb])
    if verb not in _NO_TARGET:
        made.add_argument("target", nargs="?", help=_TARGET)
    made.add_argument("--json", action="store_true", help="stdout is JSON only")
    if hasattr(module, "options"):
        module.options(made)
    if verb not in _NO_TARGET or getattr(module, "TAKES_OVERRIDES", False):
        made.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the file")
    return made


def _is_override(text: str) -> bool:
    key, sign, _ = text.partition("=")
    return bool(sign) and key.isidentifier() and not os.path.exists(text)


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes look like every other error of ours."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise instead of printing usage."""
        raise Error(
            f"command line: {self.prog}",
            need=message,
            hint=f"{self.prog} --help",
        )


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items())
    return (
        "usage: tunesmith VERB [TARGET] [key=value ...] [--json]\n\n"
        "From your own data to a tuned model that you can serve.\n\n"
        f"{verbs}\n\n"
        "TARGET is a run file (YAML), a run directory or a model directory.\n"
        "key=value is laid over the run file; `tunesmith config explain KEY` explains a key.\n"
        "New here? tunesmith quickstart"
    )


if __name__ == "__main__":
    sys.exit(main())
