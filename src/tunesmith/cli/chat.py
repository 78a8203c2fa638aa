"""`tunesmith chat run.yaml`: talk to a model; works in a pipe too."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli import target
from tunesmith.errors import ModelError

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found
    from tunesmith.cli.chat_view import View
    from tunesmith.infer.chat import Chat
    from tunesmith.infer.thinking import Marks

PROMPT = "User: "
_MORE = "  ... "
_REFUSED = ModelError.exit_code
"""Where nobody sits at the terminal, the exit code says that a question went unanswered."""


def options(parser: argparse.ArgumentParser) -> None:
    """What the model may call, and what is shown."""
    parser.add_argument("--tools", metavar="FILE", help="tool definitions, JSON as in rows of data")
    parser.add_argument(
        "--compare", action="store_true", help="the base model answers the same questions, too"
    )
    parser.add_argument(
        "--hide-thinking", action="store_true", help="show answers without their thoughts"
    )


def run(arguments: argparse.Namespace) -> int:
    """Hold a conversation until `exit` or the end of the input."""
    asked = target.read(arguments.target, arguments.overrides)
    from tunesmith.cli import answering, compare
    from tunesmith.cli.chat_rows import tools_in
    from tunesmith.cli.chat_view import REPLY
    from tunesmith.cli.engines import refuse_vllm
    from tunesmith.cli.talk import Talk
    from tunesmith.infer.chat import Chat
    from tunesmith.training.report import Silent, report_for
    from tunesmith.types import Media

    refuse_vllm(asked, "chat")
    report = Silent() if arguments.json else report_for(sys.stderr)
    tools = arguments.tools
    if tools is not None:
        tools, _ = tools_in(Path(tools), where=f"command line: --tools {tools}")
    found = answering.find(asked, report)
    sampling = answering.sampling(asked, found)
    if arguments.compare:
        compare.require_tuned(asked, found)
    engine = found.engine(answering.load(asked, found))
    read = found.read(engine, tools)
    engines: dict[str, Any] = {REPLY: engine}
    notes = list(found.notes)
    if arguments.compare:
        base, how = compare.base_of(asked, found, engine, report)
        engines = {"Base": base, "Tuned": engine}
        notes.append(how)
    sides = {name: Chat(one, sampling, tools=tools, read=read) for name, one in engines.items()}
    report.close()
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    thoughts = _thoughts(found)
    if arguments.json:
        return _json_lines(sides, thoughts, hide=arguments.hide_thinking)
    settings = ", ".join(sampling.lines())
    print(f"{found.served.note}; template {found.renderer.name}\n{settings}", file=sys.stderr)
    typed = sys.stdin.isatty()
    view = _view(typed, len(sides) > 1, thoughts, hide=arguments.hide_thinking)
    look = lambda path: found.family().look(Media("image", path))  # noqa: E731
    talk = Talk(sides, view, lambda text: found.read(engine, text), look)
    if not typed:
        return _REFUSED if talk.hold(sys.stdin) else 0
    print("exit leaves, Ctrl-C ends an answer, /help lists commands", file=sys.stderr)
    with suppress(ValueError):  # not the main thread: signals are another's business
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        talk.hold(_typed_lines())
    except KeyboardInterrupt:  # at the prompt
        print(file=sys.stderr)
    return 0


def _thoughts(found: Found) -> Marks | None:
    """What stands around a thought in a model's answers; `None`: its template knows none."""
    from tunesmith.infer.thinking import Marks
    from tunesmith.templates.spelled import has_marks, leads, marks
    from tunesmith.types import Conversation, Message

    if not has_marks(found.renderer):
        return None
    opened, closed = (mark.strip() for mark in marks(found.renderer))
    prompt = found.encode(Conversation((Message("user", "a"),)))
    text = found.tokenizer.backend.decode(prompt, skip_special_tokens=False)
    # an empty thought is one, too
    before = tuple(lead for lead in leads(found.renderer) if not lead.startswith(opened))
    return Marks(opened, closed, text.rstrip().endswith(opened), before)


def _view(typed: bool, several: bool, thoughts: Marks | None, *, hide: bool) -> View:
    """How a chat is shown where its input and output are."""
    from tunesmith.cli.chat_view import COLUMNS, Columns, Lines

    terminal = sys.stdout.isatty()
    if terminal and typed and several and shutil.get_terminal_size().columns >= COLUMNS:
        return Columns(_write, marks=thoughts, hide=hide)
    tell = None if terminal and typed else _tell
    return Lines(_write, tell, marks=thoughts, terminal=terminal, hide=hide)


def _typed_lines() -> Iterator[str]:
    """Lines with editing and history; one that ends in a backslash goes on in the next."""
    import readline  # noqa: F401 - it makes `input` what it is

    if not sys.stdout.isatty():  # `input` would mix its prompt into the answers
        yield from sys.stdin
        return
    while True:
        try:
            line = input(PROMPT)
            while line.endswith("\\"):
                line = f"{line[:-1]}\n{input(_MORE)}"
        except EOFError:  # Ctrl-D
            _write("\n")
            return
        yield line


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _tell(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def _json_lines(sides: dict[str, Chat], thoughts: Marks | None, *, hide: bool) -> int:
    """One JSON object per question: for programs."""
    code = 0
    for line in sys.stdin:
        question = line.strip()
        if not question:
            continue
        *others, tuned = [_record(chat, question, thoughts, hide=hide) for chat in sides.values()]
        record: dict[str, Any] = {"question": question, **tuned}
        if others:
            record["base"] = others[0]
        if any("error" in one for one in (*others, tuned)):
            code = _REFUSED
        print(json.dumps(record, ensure_ascii=False), flush=True)
    return code


def _record(chat: Chat, question: str, thoughts: Marks | None, *, hide: bool) -> dict[str, Any]:
    """What one model says to a question, or why it does not."""
    from tunesmith.infer.chat import REFUSALS
    from tunesmith.infer.thinking import said, whole

    try:
        answer = chat.take(question)
    except REFUSALS as error:
        return {"error": error.as_dict()}
    record = {
        "answer": (said if hide else whole)(answer.text, thoughts),
        "finish_reason": answer.finish_reason,
        "tokens": len(answer.ids),
    }
    if chat.tools is not None:
        record["calls"] = [call._asdict() for call in chat.calls]
    return record
