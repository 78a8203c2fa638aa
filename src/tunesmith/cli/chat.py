"""`tunesmith chat run.yaml`: talk to a model; works in a pipe too."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunesmith.cli import target
from tunesmith.errors import ConfigError, ModelError, printable

_REFUSED = ModelError.exit_code
"""Where nobody sits at the terminal, the exit code says that a question went unanswered."""


def options(parser: argparse.ArgumentParser) -> None:
    """What the model may call."""
    parser.add_argument("--tools", help="a file of tool definitions, JSON as in rows of data")


def run(arguments: argparse.Namespace) -> int:
    """Hold a conversation until `exit` or the end of the input."""
    asked = target.read(arguments.target, arguments.overrides)
    from tunesmith.cli import answering
    from tunesmith.infer.chat import Chat, chat_loop
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    tools = None if arguments.tools is None else _text_of(Path(arguments.tools))
    found = answering.find(asked, report)
    sampling = answering.sampling(asked, found)
    engine = found.engine(answering.load(asked, found))
    chat = Chat(engine, sampling, tools=tools, read=found.read(engine, tools))
    report.close()
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if arguments.json:
        return _json_lines(chat)
    settings = ", ".join(sampling.lines())
    print(f"{found.served.note}; template {found.renderer.name}\n{settings}", file=sys.stderr)
    typed = sys.stdin.isatty()
    if not typed:
        return _REFUSED if chat_loop(chat, sys.stdin, _write, echo=True) else 0
    print("exit leaves, Ctrl-C ends an answer, /help lists commands", file=sys.stderr)
    import readline  # noqa: F401 - line editing and history for input()

    with suppress(ValueError):  # not the main thread: signals are another's business
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        chat_loop(chat, sys.stdin, _write)
    except KeyboardInterrupt:  # at the prompt
        _write("\n")
    return 0


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        need = "a readable file of tool definitions (JSON)"
        raise ConfigError(f"command line: --tools {path}", got=got, need=need) from None


def _write(text: str) -> None:
    print(printable(text) if sys.stdout.isatty() else text, end="", flush=True)


def _json_lines(chat: Any) -> int:
    """One JSON object per question: for programs."""
    from tunesmith.infer.chat import REFUSALS

    code = 0
    for line in sys.stdin:
        question = line.strip()
        if not question:
            continue
        try:
            answer = chat.take(question)
        except REFUSALS as error:
            code = _REFUSED
            record = {"question": question, "error": error.as_dict()}
        else:
            record = {
                "question": question,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "tokens": len(answer.ids),
            }
            if chat.tools is not None:
                record["calls"] = [call._asdict() for call in chat.calls]
        print(json.dumps(record, ensure_ascii=False), flush=True)
    return code
