"""How families of models are told about tools and how they write calls: a module per format."""

import difflib
from datetime import date
from importlib import import_module
from typing import Any, Protocol, cast

from tunesmith.errors import TemplateError
from tunesmith.types import Call, Span

_NAMES = "default gemma4 glm4 glm4_moe lfm2 ling llama3 minimax1 minimax2 mistral qwen qwen3_5"


class ToolFormat(Protocol):
    """What each module here has."""

    MARKS: tuple[str, ...]  # strings of the syntax that are tokens of the family's vocabulary
    BETWEEN: str  # stands between words and calls, so that they can be told apart
    JINJA_DESCRIBE: str  # Jinja of `describe(tools)`
    JINJA_WRITE: str  # Jinja of `write(calls)` for `message['tool_calls']`
    GO_DESCRIBE: str | None  # Go template of `describe($.Tools)`; None: it cannot be written so
    GO_WRITE: str | None  # Go template of `write(.ToolCalls)`

    def describe(self, tools: Any, *, today: date) -> list[Span]: ...  # noqa: D102
    def write(self, calls: Any) -> list[Span]: ...  # noqa: D102
    def read(self, text: str) -> tuple[str, tuple[Call, ...]]: ...  # noqa: D102


def names() -> list[str]:
    """Names of all tool formats, sorted."""
    return [*_NAMES.split(), "seed_oss"]


def get(name: str | None) -> ToolFormat:
    """A tool format by name; TemplateError for an unknown one. `None`: one that refuses tools."""
    if name not in (*names(), None):
        near = difflib.get_close_matches(name, names(), 3, cutoff=0.4)
        need = f"one of {', '.join(names())}"
        raise TemplateError("tool_format", got=name, need=need, hint=" or ".join(near))
    return cast(ToolFormat, import_module(f"{__name__}.{name or 'refusal'}"))
