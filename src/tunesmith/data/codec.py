"""A tokenizer as training and serving use it: whole texts, and words that steer nothing.

The backend is taken without post-processor, truncation and padding (the template has written
bos and eos already). A second one, built only when needed, knows the control tokens under
private names: text rendered with those names holds control tokens only where the template
put them, and a speaker's `<|im_end|>` is letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import AddedToken

from tunesmith.types import Span, Tokenizer

_OPEN, _CLOSE = "\U000fa5e7", "\U000fa5e8"
"""Characters of a private plane that frame the private names."""


_KEPT = 4096  # texts of templates


class Codec:
    """Encodes rendered conversations with one tokenizer under one template.

    Args:
        tokenizer: the tokenizer; it is not changed.
        control_text: what the template writes. An added token in it steers the model, and
            so does every special token of the tokenizer. Tokens of thoughts and tool calls
            stay tokens in an answer's words.

    Attributes:
        backend: without post-processor, truncation and padding.
        controls: the tokens that steer the model, and their ids.
        spells: whether equal ids stand for equal text, whatever follows it.
    """

    def __init__(self, tokenizer: Tokenizer, control_text: str) -> None:
        self._added = sorted(tokenizer.backend.get_added_tokens_decoder().items())
        self.backend = _bare(tokenizer.backend, self._added)
        self.controls = {
            token.content: number
            for number, token in self._added
            if _steers(token, control_text, tokenizer.backend)
        }
        size = max([self.backend.get_vocab_size(), *(i + 1 for i, _ in self._added)])
        self._is_control = np.zeros(size, dtype=bool)
        self._is_control[list(self.controls.values())] = True
        self._is_added = np.zeros(size, dtype=bool)
        self._is_added[[number for number, _ in self._added]] = True
        self._is_own = np.zeros(size, dtype=bool)
        self._is_own[[number for number, token in self._added if self._is_of_answers(token)]] = True
        self._known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.spells = _spells(self.backend, [token for _, token in self._added])

    def controls_in(self, ids: np.ndarray) -> np.ndarray:
        """Where the ids stand that steer the model, (C,) int."""
        return self._is_control[ids].nonzero()[0]

    def own_tokens(self, ids: np.ndarray) -> int:
        """How many of the ids are the tokenizer's tokens of thoughts and tool calls."""
        return int(np.count_nonzero(self._is_own[ids]))

    def _is_of_answers(self, token: AddedToken) -> bool:
        said = token.content.lower()
        return token.content not in self.controls and ("think" in said or "tool" in said)

    def steers_as_written(self, ids: np.ndarray, control: bytes) -> bool:
        """Whether the control ids are these, in order; bytes of int32."""
        return ids[self._is_control[ids]].tobytes() == control

    def known(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids of a text of the template, and its control ids; remembered."""
        if text not in self._known:
            if len(self._known) == _KEPT:
                self._known.clear()
            ids = np.array(self.backend.encode(text, add_special_tokens=False).ids, np.int32)
            self._known[text] = ids, ids[self._is_control[ids]]
        return self._known[text]

    def tail(self, text: str) -> np.ndarray:
        """The last ids of a text of the template that do not depend on what stands before.

        Empty if all of them could.
        """
        ids = self.known(text)[0]
        return ids if len(ids) and self._is_added[ids[0]] else ids[1:]

    def endings(self, text: str) -> tuple[list[str], np.ndarray]:
        """Ids that a text of the template ends with, whatever stands before it.

        Returns:
            Ends of the text that these ids spell, the longest first, and the ids, (L,) int32.
        """
        encoding = self.backend.encode(text, add_special_tokens=False)
        borders = zip(encoding.offsets, encoding.offsets[1:], strict=False)
        starts = [start for (_, end), (start, _) in borders if start == end]
        return [text[start:] for start in starts], np.array(encoding.ids[1:], np.int32)

    def plain(self, text: str) -> Coder:
        """How a text without anything that looks like a control token is encoded."""
        return Coder(text, self.backend, None, self._is_added)

    def private(self, spans: Sequence[Span]) -> tuple[Coder, list[int]]:
        """How spans are encoded whose words hold the strings of control tokens.

        Returns:
            The coder of the text under private names, and the length of each span in it.
        """
        backend, table = self._renamed
        texts = [self._rename(span.text) if span.control else span.text for span in spans]
        return Coder("".join(texts), backend, table, self._is_added), [len(t) for t in texts]

    def inside_control_words(self, spans: Sequence[Span], lengths: list[int]) -> set[int]:
        """Places in the words that part each string of a control token.

        For vocabularies that spell a control token out of ordinary pieces (Gemma's).
        """
        places, start = set(), 0
        for span, length in zip(spans, lengths, strict=True):
            if not span.control:
                found = self._pattern.finditer(span.text)
                places |= {start + match.start() + 1 for match in found}
            start += length
        return places

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = sorted(self.controls, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, words)) or "(?!)")

    def _rename(self, text: str) -> str:
        return self._pattern.sub(lambda found: self._private_name(found.group()), text)

    def public(self, text: str) -> str:
        """A part of a text of `private`, with the names that the tokens have for everybody."""
        names = {self._private_name(content): content for content in self.controls}
        return re.sub(f"{_OPEN}.*?{_CLOSE}", lambda found: names.get(found[0], found[0]), text)

    def _private_name(self, content: str) -> str:
        return f"{_OPEN}{self.controls[content]}{_CLOSE}"

    @cached_property
    def _renamed(self) -> tuple[tokenizers.Tokenizer, np.ndarray]:
        """A backend with private names, and the table from its ids to the real ones."""
        renamed = [
            (
                number,
                AddedToken(
                    self._private_name(token.content)
                    if token.content in self.controls
                    else token.content,
                    special=token.special,
                    normalized=token.normalized,
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    single_word=token.single_word,
                ),
            )
            for number, token in self._added
        ]
        backend = _same_pipeline(self.backend, [token for _, token in renamed])
        ids = [backend.token_to_id(token.content) for _, token in renamed]
        assert None not in ids, "each token has just been added"
        table = np.arange(max([len(self._is_added), *(i + 1 for i in ids)]), dtype=np.int32)
        table[ids] = [number for number, _ in renamed]
        return backend, table


class Piece(NamedTuple):
    """Part of a text as ids."""

    start: int
    """First character."""
    end: int
    ids: np.ndarray
    """(L,) int32."""
    offsets: Sequence[tuple[int, int]] = ()
    """Characters of each token, from `start`."""

    def place(self, at: int) -> int | None:
        """The first token at or after a character of the text; `None` if one lies across."""
        at -= self.start
        for number, (first, end) in enumerate(self.offsets):
            if first < at < end:
                return None
            if first >= at:
                return number
        return len(self.offsets)


class Coder:
    """One text and the backend that reads it.

    Args:
        text: the whole rendered conversation.
        backend: reads it.
        table: from the backend's ids to the real ones; `None`: they are the same.
        is_added: whether a real id is an added token.
    """

    def __init__(
        self,
        text: str,
        backend: tokenizers.Tokenizer,
        table: np.ndarray | None,
        is_added: np.ndarray,
    ) -> None:
        self.text, self._backend, self._table, self._is_added = text, backend, table, is_added

    def encoding(self) -> tokenizers.Encoding:
        """The whole text."""
        return self._backend.encode(self.text, add_special_tokens=False)

    def ids(self, encoding: tokenizers.Encoding) -> np.ndarray:
        """Real ids of an encoding of this text, (L,) int32."""
        ids = np.array(encoding.ids, dtype=np.int32)
        return ids if self._table is None else self._table[ids]

    def piece(self, start: int, end: int) -> Piece:
        """A part of the text that goes on where other text has ended.

        As if it stood alone, but nothing is put in front of it that a tokenizer puts in
        front of a text (`▁`).
        """
        text = self.text[start:end]
        whole = self._backend.encode(text, add_special_tokens=False)
        ids = self.ids(whole)
        added = np.flatnonzero(self._is_added[ids])
        stop = whole.offsets[added[0]][0] if len(added) else len(text)
        if start == 0 or stop == 0:
            return Piece(start, end, ids, whole.offsets)
        head = self._going_on.encode(text[:stop], add_special_tokens=False)
        first = added[0] if len(added) else len(ids)
        joined = np.concatenate([self.ids(head), ids[first:]])
        return Piece(start, end, joined, [*head.offsets, *whole.offsets[first:]])

    def stands(self, piece: Piece, at: int, place: int, tail: np.ndarray) -> bool:
        """Whether the ids before a place are those of the text before it alone.

        Args:
            piece: of this text.
            at: a character where no token lies across.
            place: the first token of `piece` at or after it.
            tail: ids that the text before ends with when nothing follows; may be empty.
        """
        before = piece.ids[max(0, place - len(tail)) : place]
        if len(tail) and before.tobytes() == tail.tobytes():
            return True
        return np.array_equal(self.piece(piece.start, at).ids, piece.ids[:place])

    @cached_property
    def _going_on(self) -> tokenizers.Tokenizer:
        """The backend without what it puts in front of a text."""
        state = json.loads(_without_vocabulary(self._backend))
        changed = _without_prefix(state["normalizer"]), _without_prefix(state["pre_tokenizer"])
        if changed == (state["normalizer"], state["pre_tokenizer"]):
            return self._backend
        shell = {**state, "normalizer": changed[0], "pre_tokenizer": changed[1]}
        parts = tokenizers.Tokenizer.from_str(json.dumps(shell))
        backend = tokenizers.Tokenizer(self._backend.model)
        _take_pipeline(backend, parts)
        return backend


def in_pieces(
    coder: Coder,
    borders: list[tuple[int, int]],
    tails: list[np.ndarray],
    cuts: set[int],
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Ids of a text that is cut where a token would lie across a border of an answer.

    Args:
        coder: of the text.
        borders: first character and end of each answer.
        tails: for each answer, what `Coder.stands` asks for.
        cuts: the borders to cut at; more are found on the way, and added.

    Returns:
        The ids, (L,) int32, and first token and end of each answer.
    """
    while True:
        ends = [*sorted(cuts), len(coder.text)]
        pieces = [coder.piece(s, e) for s, e in zip([0, *ends[:-1]], ends, strict=True)]
        places: dict[int, int] = {}
        missed: set[int] = set()
        count = 0
        for piece in pieces:
            for (start, end), tail in zip(borders, tails, strict=True):
                for at in (start, end):
                    if not piece.start <= at < piece.end and at != len(coder.text):
                        continue
                    place = piece.place(at)
                    inside = piece.start < at < piece.end
                    if place is None or (
                        inside and at == start and not coder.stands(piece, at, place, tail)
                    ):
                        missed.add(at)
                    else:
                        places[at] = count + place
            count += len(piece.ids)
        if not missed:
            ids = np.concatenate([piece.ids for piece in pieces])
            return ids, [(places[start], places[end]) for start, end in borders]
        cuts |= missed


def _steers(token: AddedToken, control_text: str, backend: tokenizers.Tokenizer) -> bool:
    """Whether a token is for the template alone, so that no speaker's words may yield it."""
    model = backend.model
    unknown = getattr(model, "unk_token", None) if not getattr(model, "byte_fallback", 0) else None
    if token.content == unknown or "think" in token.content.lower():
        return False  # what an unknown letter yields; a thought inside an answer
    if token.special:
        return True
    words = token.content.strip()  # Gemma adds line breaks as tokens
    return bool(words) and words in control_text and "tool" not in words


def _spells(backend: tokenizers.Tokenizer, added: list[AddedToken]) -> bool:
    """Whether ids are the bytes or characters of the text, one after the other.

    So it is for byte-level BPE, and for BPE that falls back to bytes and writes ` ` as `▁`.
    """
    model, state = backend.model, json.loads(_without_vocabulary(backend))
    if not isinstance(model, tokenizers.models.BPE) or any(t.lstrip or t.rstrip for t in added):
        return False
    normal = _parts(state["normalizer"], "normalizers")
    split = [part["type"] for part in _parts(state["pre_tokenizer"], "pretokenizers")]
    if "ByteLevel" in split:
        return all(part["type"] == "NFC" for part in normal)
    prepend = {"type": "Prepend", "prepend": "▁"}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return (
        model.byte_fallback and normal in ([spaces], [prepend, spaces]) and set(split) <= {"Split"}
    )


def _parts(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer of tokenizer.json as the list of its parts."""
    if part is None:
        return []
    return part[key] if part["type"] == "Sequence" else [part]


def _bare(
    backend: tokenizers.Tokenizer, added: list[tuple[int, AddedToken]]
) -> tokenizers.Tokenizer:
    """The same vocabulary and pipeline without post-processor, truncation and padding."""
    bare = _same_pipeline(backend, [token for _, token in added])
    same = all(bare.token_to_id(token.content) == number for number, token in added)
    assert same, "the tokenizers library numbers added tokens one after the other"
    return bare


def _same_pipeline(backend: tokenizers.Tokenizer, added: list[AddedToken]) -> tokenizers.Tokenizer:
    clone = tokenizers.Tokenizer(backend.model)
    _take_pipeline(clone, backend)
    clone.add_tokens(added)
    return clone


def _take_pipeline(target: tokenizers.Tokenizer, source: tokenizers.Tokenizer) -> None:
    if source.normalizer is not None:
        target.normalizer = source.normalizer
    if source.pre_tokenizer is not None:
        target.pre_tokenizer = source.pre_tokenizer


def _without_vocabulary(backend: tokenizers.Tokenizer) -> str:
    """The pipeline of a backend as JSON, beside an empty model."""
    shell = tokenizers.Tokenizer(tokenizers.models.BPE())
    _take_pipeline(shell, backend)
    return shell.to_str()


def _without_prefix(part: object) -> object:
    """A normalizer or pre-tokenizer of tokenizer.json that puts nothing in front."""
    if isinstance(part, list):
        kept = [_without_prefix(item) for item in part]
        return [item for item in kept if item is not None]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend":
        return None
    changed = {key: _without_prefix(value) for key, value in part.items()}
    if part.get("type") == "Metaspace":
        changed["prepend_scheme"] = "never"
    if part.get("type") == "ByteLevel":
        changed["add_prefix_space"] = False
    return changed
