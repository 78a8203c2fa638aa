"""`tunesmith template show NAME`: what a template says of itself, and examples under it."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.errors import TemplateError, printable

_ROWS = (
    "one with several answers becomes a text for each: later prompts show earlier answers in "
    "another form, mostly without their thoughts"
)


def show(name: str, tokenizer: str | None, *, as_json: bool) -> None:
    """Print facts and examples.

    Args:
        name: a template, a `.yaml` or `.jinja` file; with a tokenizer also `own`.
        tokenizer: directory of the model whose tokens are used; `None`: bos and eos are shown
            as `<bos>` and `<eos>`.
        as_json: one JSON object in place of text.

    Raises:
        Error: the template or the tokenizer cannot be read.
    """
    renderer = _renderer(name, tokenizer)
    facts: dict[str, Any] = dict(_facts(renderer))
    pages = {title: list(_texts(renderer, one)) for title, one in _examples(renderer).items()}
    if as_json:
        spans = {t: [[s._asdict() for s in text] for text in page] for t, page in pages.items()}
        named = {key.replace(" ", "_"): value for key, value in facts.items()}
        print(json.dumps({**named, "examples": spans}, ensure_ascii=False))
        return
    if any(len(texts) > 1 for texts in pages.values()):
        facts["rows"] = _ROWS
    colour = _console()
    facts["shown"] = (
        "in ⟦⟧: learned; the rest is context"
        if colour is None
        else "green: learned · cyan: the template's own · plain: context"
    )
    for key, value in facts.items():
        print(_fact(key, ", ".join(map(_told, value)) if isinstance(value, list) else value))
    for title, texts in pages.items():
        for number, spans in enumerate(texts, start=1):
            print(f"\n--- {title}" + (f", text {number} of {len(texts)}" if texts[1:] else ""))
            _print(spans, colour)


def _console() -> Any:
    """Where colours go; `None`: nowhere, brackets stand for them."""
    from rich.console import Console

    from tunesmith.training.report import in_colour

    console = Console(highlight=False)
    return console if in_colour(console) else None


def _fact(key: str, value: str) -> str:
    from tunesmith.training.report import width_of

    width = width_of(sys.stdout)
    told = f"{key:<9} {printable(value)}"
    return told if width is None else textwrap.fill(told, width, subsequent_indent=" " * 10)


def _print(spans: Sequence[Any], console: Any) -> None:
    if console is None:
        text = "".join(f"⟦{s.text}⟧" if s.trained else s.text for s in spans)
        print(printable(text.replace("⟧⟦", "").rstrip("\n")))
        return
    from rich.text import Text

    styles = {(True, True): "bold green", (True, False): "green", (False, True): "cyan"}
    page = Text()
    for span in spans:
        page.append(printable(span.text), style=styles.get((span.trained, span.control), ""))
    page.rstrip()
    console.print(page, soft_wrap=True)


def _renderer(name: str, tokenizer: str | None) -> Any:
    """The template, bound to the tokenizer or to names that stand for its tokens."""
    from tunesmith.models import tokenizer as tokenizers
    from tunesmith.templates import choose
    from tunesmith.templates.choose import text_of, unbound

    if tokenizer is not None:
        return choose(None if name == "own" else name, tokenizers.load(Path(tokenizer)))
    if name.endswith(".jinja"):
        return choose(name, _named_only(text_of(Path(name))))
    template = unbound(name)
    words = template.format.stop_words
    eos = words[0] if template.format.replace_eos and words else "<eos>"
    return replace(template, bos="<bos>", eos=eos)


def _named_only(template: str) -> Any:
    """A tokenizer that knows bos, eos and what looks like a control token in a template."""
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import WordLevel

    from tunesmith.templates.choose import MARK
    from tunesmith.types import Tokenizer

    backend = Backend(WordLevel({"": 0}, unk_token=""))
    backend.add_special_tokens(["<bos>", "<eos>", *dict.fromkeys(MARK.findall(template))])
    return Tokenizer(backend, Path("."), "<bos>", "<eos>", None, None, None)


def _facts(renderer: Any) -> Iterator[tuple[str, Any]]:
    from tunesmith.templates import Template

    yield "template", renderer.name
    yield "stops at", list(renderer.stop_words)
    if not isinstance(renderer, Template):
        return
    format = renderer.format
    yield "system", format.default_system or "none by default"
    in_words = "default (in words: Action: …)"
    tools = format.tool_format or "refused"
    yield "tools", in_words if tools == "default" else tools
    yield "thoughts", _thoughts(format.thinking)
    if not all(renderer.ends):
        from tunesmith.models.doctor import endless

        finding = endless(renderer.name, open_ended=format.open_ended)
        refused = "a run refuses it; " if finding.level == "error" else ""
        yield "end", f"{finding.found}: {finding.consequence}; {refused}{finding.todo}"


def _thoughts(thinking: Any) -> str:
    if thinking is None:
        return "not marked"
    kept = {
        "strip": "left out of earlier answers",
        "since_user": "kept since the last question",
        "keep": "kept in earlier answers",
    }
    return f"{_told(thinking.open)} … {_told(thinking.close)}, {kept[thinking.history]}"


def _told(text: str) -> str:
    return text.replace("\n", "\\n") if text.strip() else repr(text)


def _examples(renderer: Any) -> dict[str, Any]:
    from tunesmith.templates import Template
    from tunesmith.templates.examples import SHOWN, shown

    return shown(renderer.format) if isinstance(renderer, Template) else SHOWN


def _texts(renderer: Any, conversation: Any) -> Iterator[Any]:
    """The texts that a row like this one is learned from; none where it cannot be expressed."""
    from tunesmith.templates import apart

    try:
        yield from [renderer.render(part) for part in apart(renderer, conversation)]
    except TemplateError:
        return
