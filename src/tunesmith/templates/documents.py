"""The text of a template file as plain values: YAML documents, bounded, of whole characters."""

from __future__ import annotations

from datetime import date
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tunesmith.errors import TemplateError

_DEEPEST = 20
_MOST_VALUES = 100_000


def documents(text: str, where: str) -> list[Any]:
    """What every document of a file says: mappings with words as keys, lists and scalars.

    Args:
        text: YAML.
        where: the file, for errors.

    Raises:
        TemplateError: no YAML (with line and column where they are known), nested or repeated by
            aliases beyond what a template can need, a key that is no word, a lone surrogate.
    """
    try:
        read = list(YAML(typ="safe", pure=True).load_all(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise TemplateError(place, need=f"valid YAML: {problem}") from None
    except RecursionError:
        raise _Values(where).too_deep() from None
    except (YAMLError, ValueError) as error:
        need = f"valid YAML: {error}".split("\n")[0]
        raise TemplateError(where, need=need) from None
    return [_Values(where).of(document, _named(document)) for document in read]


def _named(document: Any) -> tuple[str, ...]:
    name = document.get("name") if isinstance(document, dict) else None
    return (name,) if isinstance(name, str) else ()


class _Values:
    """One document, counted and measured: an alias may not multiply or nest without end."""

    def __init__(self, where: str) -> None:
        self.where, self.seen = where, 0

    def of(self, value: Any, path: tuple[str, ...]) -> Any:
        """The value that stands under these keys."""
        self.seen += 1
        if len(path) > _DEEPEST or self.seen > _MOST_VALUES:
            raise self.too_deep()
        if isinstance(value, str):
            return self._whole(value, path)
        if isinstance(value, list):
            return [self.of(one, (*path, str(number))) for number, one in enumerate(value)]
        if isinstance(value, dict):
            return {self._word(key, path): self.of(one, (*path, key)) for key, one in value.items()}
        if value is None or isinstance(value, int | float | date):
            return value
        raise TemplateError(self._place(path), got=value, need="a text, number, list or mapping")

    def too_deep(self) -> TemplateError:
        """What is wrong with brackets in brackets, or with an alias inside itself."""
        return TemplateError(
            self.where,
            got="brackets in brackets, or aliases of aliases",
            need=f"at most {_MOST_VALUES} values in a document, nested at most {_DEEPEST} deep",
        )

    def _word(self, key: Any, path: tuple[str, ...]) -> str:
        if not isinstance(key, str):
            raise TemplateError(self._place(path), got=key, need="keys that are words")
        return self._whole(key, path)

    def _whole(self, text: str, path: tuple[str, ...]) -> str:
        r"""Two escapes (`\ud83d\ude00`) are one character together; half of one is none."""
        if not any("\ud800" <= sign <= "\udfff" for sign in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            need = "text without lone surrogates"
            raise TemplateError(self._place(path), got=text, need=need) from None

    def _place(self, path: tuple[str, ...]) -> str:
        return f"{self.where}: {'.'.join(path)}" if path else self.where
