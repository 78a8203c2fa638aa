"""Ids of the texts of a preparation: by the tokenizers library, or faster where that is the same.

fastokens reads the same tokenizer.json and is many times as fast, but takes a moment to build.
So the library begins; the other is built when there is enough to read, and takes over if its
ids are proved equal: the form is known and the probe equal (`same_ids`), and so are the ids of
the data's first texts. After that a share of the texts is read by both. Any difference, and all
ids of the preparation are the library's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import tokenizers

from tunesmith.data import same_ids

Ids = Callable[[list[str]], list[np.ndarray]]
"""Token ids of each text, (L,) int32."""

_COST = 16  # characters that the library reads while a token of the vocabulary is built
_SHARE = 64  # one text of so many is read by both
_KEPT = 4  # batches that the library has read, for the comparison


class Differs(Exception):
    """fastokens gave other ids for a text of the data: what it has read is to be read again."""


def library(backend: tokenizers.Tokenizer) -> Ids:
    """Ids as the tokenizers library gives them; without a post-processor."""

    def ids(texts: list[str]) -> list[np.ndarray]:
        read = backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in read]

    return ids


class FastEncode:
    """Ids of texts, batch after batch.

    Args:
        backend: a tokenizer without post-processor, truncation and padding.
        expected: characters that are going to be read at the least, as far as one knows.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, expected: int = 0) -> None:
        self._backend, self._library = backend, library(backend)
        cost = _COST * backend.get_vocab_size()
        self._left: float = 0 if expected > 2 * cost else cost  # characters to go
        self._fast: Ids | None = None
        self._seen: list[tuple[list[str], list[np.ndarray]]] = []
        self._number = 0  # texts that the fast one has read
        self._differs = False

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        """Ids of each text.

        Raises:
            Differs: those of earlier texts may be wrong; all that are asked for later are right.
        """
        if self._seen and self._left <= 0:
            self._take_over()
        if self._fast is not None:
            return self._compared(texts, self._fast(texts))
        ids = self._library(texts)
        if len(self._seen) < _KEPT and self._left < math.inf:
            self._seen.append((texts, ids))
        self._left -= sum(map(len, texts))
        return ids

    def notes(self) -> Iterator[str]:
        """For the report."""
        if self._differs:
            yield (
                "fastokens gives other ids than tokenizers for some texts: all are of tokenizers, "
                "which takes longer"
            )

    def _take_over(self) -> None:
        """Now or never."""
        try:
            made = _build(self._backend) if same_ids.known(self._backend) else None
            if made is not None:
                for texts, ids in self._seen:
                    _compare(ids, made(texts))
            self._fast = made
        except Differs:
            self._differs = True
        self._seen.clear()
        self._left = math.inf

    def _compared(self, texts: list[str], ids: list[np.ndarray]) -> list[np.ndarray]:
        """These ids, of which a share is compared."""
        chosen = range(-self._number % _SHARE, len(texts), _SHARE)
        self._number += len(texts)
        try:
            _compare(self._library([texts[i] for i in chosen]), [ids[i] for i in chosen])
        except Differs:
            self._fast, self._differs = None, True
            raise
        return ids


def _build(backend: tokenizers.Tokenizer) -> Ids | None:
    """The same tokenizer in fastokens; `None` where there is none.

    Raises:
        Differs: its ids for a text of the probe are others.
    """
    made = _fastokens(backend)
    if made is not None:
        texts = list(same_ids.probe(backend))
        _compare(library(backend)(texts), made(texts))
    return made


def _fastokens(backend: tokenizers.Tokenizer) -> Ids | None:
    try:
        from fastokens import Tokenizer

        made = Tokenizer.from_json_str(backend.to_str())
    except (ImportError, ValueError):  # it is not installed, or does not read this tokenizer
        return None
    by_library = library(backend)

    def ids(texts: list[str]) -> list[np.ndarray]:
        try:
            flat, ends = made.encode_batch_flat(texts)
        except ValueError:  # a byte that has no token: the library leaves it out
            return by_library(texts)
        whole, places = np.frombuffer(flat, "<i4"), np.frombuffer(ends, "<i8").tolist()
        found = [whole[start:end] for start, end in pairwise(places)]
        apart = [i for i, text in enumerate(texts) if same_ids.APART in text]
        for i, right in zip(apart, by_library([texts[i] for i in apart]), strict=True):
            found[i] = right
        return found

    return ids


def _compare(right: list[np.ndarray], other: list[np.ndarray]) -> None:
    if not all(map(np.array_equal, right, other)):
        raise Differs
