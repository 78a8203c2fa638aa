"""stdin, stdout and stderr as they come: closed, full, or in another encoding than UTF-8.

What a run does is worth more than what it prints: a stream that cannot take text any more never
ends a training run. Every other verb exists for what it prints, so there it is an error.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tunesmith.errors import OutputError

_IN_ASCII = {
    "…": "...", "–": "-", "—": "-", "←": "<-", "→": "->", "×": "x", "·": ".",
    **dict.fromkeys("█▉▊▋▌", "#"), **dict.fromkeys("▍▎▏", "|"),
}  # fmt: skip
"""Signs that we print ourselves; in a table each stands for one column, as there."""


class Lasting:
    """A text stream that is asked to write until it cannot; then it keeps silent.

    Args:
        stream: what it writes to.
        name: what a user calls it, for the error; `None`: a failure is nobody's business.
    """

    def __init__(self, stream: Any, name: str | None = None) -> None:
        self._stream, self._name, self._over = stream, name, False

    def write(self, text: str) -> int:
        """As of a text stream.

        Raises:
            OutputError: it cannot be written to, and that matters.
        """
        self._unless_over(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As of a text stream; raises as `write` does."""
        self._unless_over(self._stream.flush)

    def _unless_over(self, act: Any, *given: Any) -> None:
        if self._over:
            return
        try:
            act(*given)
        except OSError as error:
            self._over = True
            if self._name is None:
                return
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(
                self._name, got=error.strerror, need="a stream that takes what is printed"
            ) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def streams(*, as_json: bool, outlasts: bool) -> Iterator[None]:
    r"""The standard streams, made so that no character and no missing reader raises.

    What the encoding of a stream has no sign for is written as `\u27e6`, and signs of ours by what
    ASCII has for them; JSON is UTF-8 whatever the locale says. Bytes of stdin that are no text
    come as lone surrogates.

    Args:
        as_json: stdout is for programs.
        outlasts: the verb does its work whether or not its output can be written.

    Raises:
        OutputError: stdout cannot be written to, and the verb does not outlast that.
    """
    _fill_closed()
    before = sys.stdin, sys.stdout, sys.stderr
    _reconfigure(sys.stdin, errors="surrogateescape")
    encoding = {"encoding": "utf-8"} if as_json else {}
    _reconfigure(sys.stdout, errors=_SPELLED, **encoding)
    _reconfigure(sys.stderr, errors=_SPELLED)
    sys.stdout = Lasting(sys.stdout, None if outlasts else "standard output")  # type: ignore[assignment]
    sys.stderr = Lasting(sys.stderr)  # type: ignore[assignment]
    try:
        yield
        sys.stdout.flush()
    finally:
        written = sys.stdout
        sys.stdin, sys.stdout, sys.stderr = before
        _let_go(written)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written instead of the first character that the encoding does not have."""
    assert isinstance(error, UnicodeEncodeError), "streams that are written to encode"
    sign = _IN_ASCII.get(error.object[error.start])
    if sign is not None:
        return sign, error.start + 1
    error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


_SPELLED = "tunesmith.spelled"
codecs.register_error(_SPELLED, _spelled)


def _fill_closed() -> None:
    """Open what the caller closed (`>&-`), lest the next file that is opened becomes stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf8"))  # noqa: SIM115


def _reconfigure(stream: Any, **how: str) -> None:
    if hasattr(stream, "reconfigure"):  # a program's own stream may be of any kind
        stream.reconfigure(**how)


def _let_go(stream: Any) -> None:
    """What could not be written is dropped; Python would complain once more while it leaves."""
    try:
        stream._stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
