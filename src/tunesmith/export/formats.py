"""Every format that a tuned model is exported in, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.errors import ConfigError
from tunesmith.export import adapter, bnb, gguf_file, merged, ollama
from tunesmith.export.job import Format

FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        adapter.FORMAT,
        *gguf_file.FORMATS.values(),
        *ollama.FORMATS.values(),
        merged.FORMAT,
        *bnb.FORMATS.values(),
    )
}
ORDER = tuple(FORMATS)
"""In which they are written: those that need the exact weights before those that round them."""


def named(names: Sequence[str]) -> list[Format]:
    """The formats of those names, each once.

    Raises:
        ConfigError: a name that is not there, or none at all.
    """
    wrong = [name for name in names if name not in FORMATS]
    if wrong or not names:
        raise ConfigError(
            "export_format",
            got=wrong[0] if wrong else "none",
            need=f"one or several of {', '.join(sorted(FORMATS))}",
        )
    return [FORMATS[name] for name in dict.fromkeys(names)]
