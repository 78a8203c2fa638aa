"""What a GGUF file says about a tokenizer, from its tokenizer.json, checked by ids.

The inverse of `models.gguf_tokenizer`. A file names its pre-tokenizer and llama.cpp has the code
behind the name, so a name is given only to a tokenizer that does the same: what is read back from
the finished keys must turn texts in many scripts into the same ids.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import tokenizers

from tunesmith.errors import ModelError
from tunesmith.models import gguf_tokenizer
from tunesmith.models import tokenizer as checks
from tunesmith.types import Tokenizer

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_SPACE = "▁"
_HINT = "export_format: merged, which keeps tokenizer.json as it is"
_ENDS = ("eos", "eot", "eom")


class Vocabulary(NamedTuple):
    """The keys of a tokenizer, and what a user should know of it."""

    keys: dict[str, Any]
    notes: tuple[str, ...] = ()


def vocabulary(
    tokenizer: Tokenizer,
    *,
    rows: int,
    chat_template: str | None,
    stops: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> Vocabulary:
    """The keys of a file that describe a tokenizer.

    Args:
        tokenizer: what was trained with.
        rows: of the embedding; those that no token has are filled up.
        chat_template: Jinja that is written.
        stops: tokens that end an answer, the usual one first.
        texts: rows of the run; its ids are compared on them and on texts in many scripts.

    Raises:
        ModelError: the tokenizer cannot be written so that it gives the same ids.
    """
    stored = json.loads(tokenizer.backend.to_str())
    where = f"{tokenizer.path}: tokenizer.json"
    model = stored["model"]
    if model.get("type") != "BPE":
        raise ModelError(
            f"{where}: model",
            got=model.get("type"),
            need="byte-level BPE, or BPE with byte fallback",
            hint=_HINT,
        )
    sentencepiece = bool(model.get("byte_fallback"))
    keys = _tokens(stored, rows, where, sentencepiece=sentencepiece)
    keys |= _named(tokenizer, stops) | _added_by_itself(tokenizer)
    if chat_template is not None:
        keys["tokenizer.chat_template"] = chat_template
    texts = [*checks.PROBE, *_between_controls(tokenizer, stored), *texts]
    if sentencepiece:
        prefix = _adds_prefix(tokenizer)
        keys |= {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": prefix}
        keys |= {"tokenizer.ggml.pre": "default"}
        wrong = _differing(tokenizer, keys, texts)
        if wrong:
            raise _other_ids(where, "llama (SentencePiece)", wrong)
        return Vocabulary(keys, _ends_note(stops))
    keys |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": _merges(model, where)}
    keys["tokenizer.ggml.pre"] = _pre_tokenizer(tokenizer, keys, texts, where)
    marks = (_MARKS_NOTE,) if cut_at_marks(tokenizer) else ()
    return Vocabulary(keys, (*_ends_note(stops), *_normal_form(tokenizer), *marks))


_MARKS_NOTE = (
    "llama.cpp cuts words at combining marks, as this tokenizer does not: Hindi, Thai and other "
    "scripts with such marks get other tokens there; rows of the run that have them refuse the file"
)


def cut_at_marks(tokenizer: Tokenizer) -> bool:
    """Whether llama.cpp cuts words at combining marks where this tokenizer keeps them whole.

    Its code for words that are cut at capitals (`tekken`, `gpt-4o`) knows letters alone.
    """
    whole, cased = (len(_pieces(tokenizer.backend, text)) for text in ("नमस्ते", "someWord"))
    return tokenizer.backend.pre_tokenizer is not None and whole == 1 and cased == 2


def _tokens(
    stored: dict[str, Any], rows: int, where: str, *, sentencepiece: bool
) -> dict[str, Any]:
    """Texts, types and scores by id."""
    model = stored["model"]
    found = {i: (token, _NORMAL) for token, i in model["vocab"].items()}
    for token in stored["added_tokens"]:
        found[token["id"]] = (token["content"], _CONTROL if token["special"] else _USER_DEFINED)
    if sentencepiece:
        found = {i: (token, _kind(token, kind)) for i, (token, kind) in found.items()}
        if model.get("unk_token") in model["vocab"]:
            found[model["vocab"][model["unk_token"]]] = (model["unk_token"], _UNKNOWN)
    last = max(found)
    if last >= rows:
        raise ModelError(
            where, got=f"token {found[last][0]!r} with id {last}", need=f"an id below {rows}, "
            "the rows of the embedding",
        )  # fmt: skip
    listed = [found.get(i, (f"[PAD{i}]", _UNUSED)) for i in range(rows)]
    texts = [token for token, _ in listed]
    keys: dict[str, Any] = {
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [kind for _, kind in listed],
    }
    if sentencepiece:
        keys["tokenizer.ggml.scores"] = _scores(model, texts)
    return keys


def _kind(token: str, kind: int) -> int:
    is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return _BYTE if is_byte and kind == _NORMAL else kind


def _scores(model: dict[str, Any], texts: Sequence[str]) -> list[float]:
    """SentencePiece prefers the token of the higher score, BPE the merge of the lower rank."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        ranks.setdefault(left + right, rank)
    # single characters and whatever no merge makes are never chosen, in either
    order = {text: i for i, text in enumerate(sorted(ranks, key=lambda text: ranks[text]))}
    return [-float(order.get(text, len(order) + i)) for i, text in enumerate(texts)]


def _merges(model: dict[str, Any], where: str) -> list[str]:
    found = []
    for merge in model["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        if " " in left or " " in right:
            raise ModelError(f"{where}: merges", got=(left, right), need="tokens without a space")
        found.append(f"{left} {right}")
    return found


def _named(tokenizer: Tokenizer, stops: Sequence[str]) -> dict[str, int]:
    """Ids of control tokens; llama.cpp knows three that end an answer."""
    every = dict(zip(_ENDS, stops or (tokenizer.eos,), strict=False))
    every |= {"bos": tokenizer.bos, "padding": tokenizer.pad, "unknown": tokenizer.unk}
    ids = {name: tokenizer.id_of(token) for name, token in every.items()}
    return {f"tokenizer.ggml.{name}_token_id": i for name, i in ids.items() if i is not None}


def _ends_note(stops: Sequence[str]) -> tuple[str, ...]:
    if len(stops) <= len(_ENDS):
        return ()
    rest = " ".join(stops[len(_ENDS) :])
    return (f"a GGUF file names {len(_ENDS)} tokens that end an answer; not among them: {rest}",)


def _added_by_itself(tokenizer: Tokenizer) -> dict[str, bool]:
    """What the tokenizer puts around any text."""
    whole, alone = (
        tokenizer.backend.encode("a", add_special_tokens=special).ids for special in (True, False)
    )
    begins, ends = whole[:1] != alone[:1], whole[-1:] != alone[-1:]
    return {"tokenizer.ggml.add_bos_token": begins, "tokenizer.ggml.add_eos_token": ends}


def _adds_prefix(tokenizer: Tokenizer) -> bool:
    tokens = tokenizer.backend.encode("a", add_special_tokens=False).tokens
    return "".join(tokens).startswith(_SPACE)


def _between_controls(tokenizer: Tokenizer, stored: dict[str, Any]) -> list[str]:
    """Words around tokens that are taken whole, with and without spaces."""
    contents = [token["content"] for token in stored["added_tokens"]]
    some = [*contents[:16], *contents[-16:]]
    return [f"a{token}b {token} c" for token in dict.fromkeys(some)]


def _differing(
    tokenizer: Tokenizer, keys: dict[str, Any], texts: Sequence[str]
) -> list[checks.Difference]:
    """Texts that what is read back turns into other ids."""
    made = gguf_tokenizer.build("the written keys", keys)
    return checks.compare(tokenizer.backend, made, texts, limit=1)


def _pre_tokenizer(
    tokenizer: Tokenizer, keys: dict[str, Any], texts: Sequence[str], where: str
) -> str:
    """The name whose code cuts texts as this tokenizer does."""
    cut = [_pieces(tokenizer.backend, text) for text in texts]
    wrong: list[checks.Difference] = []
    for name, split in gguf_tokenizer.PRE_TOKENIZERS.items():
        bare = tokenizers.Tokenizer(tokenizers.models.BPE())
        gguf_tokenizer.cut_as(bare, split)
        if [_pieces(bare, text) for text in texts] != cut:
            continue
        wrong = _differing(tokenizer, keys | {"tokenizer.ggml.pre": name}, texts)
        if not wrong:
            return name
    if wrong:
        raise _other_ids(where, "gpt2 (byte-level BPE)", wrong)
    raise ModelError(
        f"{where}: pre_tokenizer",
        got="a way to cut text that no name stands for here",
        need=f"one that does what one of {', '.join(gguf_tokenizer.PRE_TOKENIZERS)} does",
        hint=_HINT,
    )


def _pieces(backend: tokenizers.Tokenizer, text: str) -> list[str]:
    """What merges are applied to, piece by piece; without added tokens."""
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is None:
        return [text]
    return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


def _other_ids(where: str, kind: str, wrong: Sequence[checks.Difference]) -> ModelError:
    text, ids, other, _ = wrong[0]
    at = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), len(ids))
    return ModelError(
        where,
        got=f"as {kind} of GGUF, {text[:60]!r} becomes {other[at : at + 4]} from token {at} on",
        need=f"its own ids, {ids[at : at + 4]}",
        hint=_HINT,
    )


def _normal_form(tokenizer: Tokenizer) -> tuple[str, ...]:
    """llama.cpp puts no text into a normal form."""
    letter = "e\u0301"
    normal = tokenizer.backend.normalizer
    if normal is None or normal.normalize_str(letter) != unicodedata.normalize("NFC", letter):
        return ()
    return (
        "llama.cpp does not put text into Unicode's form NFC, as this tokenizer does: letters "
        "whose accents are characters of their own get other tokens there",
    )
