"""What is right and wrong with a tokenizer, for its model and for a template.

`check` asks no files: a tokenizer, the number of rows that the embedding has, and what a template
wants. `comparisons` repeats what other loaders make of the same directory. Nothing is repaired
here; see `repair`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.errors import ModelError
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.findings import Finding, Level, Report
from tunesmith.models.padded import SENTENCES, filler, padded
from tunesmith.types import Tokenizer

NAMES = ("bos", "eos", "unk", "pad")
_RARE = "𐍈 ⠿ ꙮ 🜲"
_ROLES = {
    "bos": "the first token of a text",
    "eos": "what ends an answer",
    "unk": "stands for text that has no token",
    "pad": "fills the short rows of a batch",
}
_SHOWN = 6


class Wanted(NamedTuple):
    """What a template asks of a tokenizer."""

    name: str
    stop_words: tuple[str, ...] = ()
    """Strings that end an answer."""
    ends: tuple[str, ...] = ()
    """Those of them that learned turns end in, and that must be one token each."""
    marks: tuple[str, ...] = ()
    """Control strings that the template writes around the turns."""
    needs_bos: bool = False
    """It begins with bos."""
    endless: bool = False
    """What is learned of some answers has no end."""
    open_ended: bool = False
    """It says itself that this is meant."""


def check(
    tokenizer: Tokenizer,
    rows: int | None,
    *,
    wanted: Wanted | None = None,
    further: Sequence[Finding] = (),
) -> Report:
    """Look at the named tokens, how texts begin, rows for all ids, and what a template wants.

    Args:
        tokenizer: may name tokens that do not exist (`check_names` of `tokenizer.load`).
        rows: of the model's embedding; `None`: there is no model to look at.
        wanted: what the template asks; `None`: no template is looked at.
        further: findings of others, put at the end.
    """
    findings = [_named(tokenizer, name, wanted) for name in NAMES]
    findings += _same(tokenizer)
    findings += [_beginning(tokenizer)] if tokenizer.id_of(tokenizer.bos) is not None else []
    findings += [] if rows is None else [_rows(tokenizer, rows, wanted)]
    findings += [_stop(tokenizer, word) for word in tokenizer.stops]
    if wanted is not None:
        words = [w for w in wanted.stop_words if w in wanted.ends or w not in tokenizer.stops]
        findings += [_stop_word(tokenizer, word, wanted) for word in words]
        if wanted.endless:
            findings.append(endless(wanted.name, open_ended=wanted.open_ended))
        findings += _marks(tokenizer, wanted)
    return Report(
        directory=str(tokenizer.path),
        tokens=tokenizer.backend.get_vocab_size(),
        rows=rows,
        findings=(*findings, *further),
        example=padded(tokenizer),
    )


def comparisons(tokenizer: Tokenizer) -> list[Finding]:
    """What transformers makes of the same files: the class that is right, and the stock one."""
    try:
        tokenizers.check_rows(tokenizer, [])
    except ModelError as error:
        return [Finding("transformers", "error", str(error.got), error.need, error.hint)]
    if not (tokenizer.path / "tokenizer.json").exists():
        return [Finding("transformers", "ok", "its fast class gives the same ids")]
    right = f"use {tokenizers.RIGHT_LOADER}"
    try:
        wrong = tokenizers.check_stock(tokenizer.path)
    except ModelError as error:
        return [Finding("AutoTokenizer", "note", f"cannot open it: {error.got}", "", right)]
    if wrong:
        return [
            Finding(
                "AutoTokenizer",
                "note",
                f"takes {wrong[0].loader} for it and gets other ids for {len(wrong)} of "
                f"{len(tokenizers.PROBE)} texts",
                "whoever loads it so feeds the model with other ids than it was trained on",
                right,
            )
        ]
    found = f"the same ids for {len(tokenizers.PROBE)} texts in many scripts"
    return [Finding("AutoTokenizer", "ok", found)]


def not_tokens(tokenizer: Tokenizer, words: Sequence[str]) -> list[str]:
    """Those of some words that are not one token each."""
    return [word for word in words if token_id(tokenizer, word) is None]


def token_id(tokenizer: Tokenizer, word: str) -> int | None:
    """Id of a string that is one token, whether it stands in the vocabulary so or is spelt so."""
    whole = tokenizer.id_of(word)
    if whole is None:
        ids = tokenizer.backend.encode(word, add_special_tokens=False).ids
        whole = ids[0] if len(ids) == 1 else None
    return whole


def _named(tokenizer: Tokenizer, name: str, wanted: Wanted | None) -> Finding:
    token = getattr(tokenizer, name)
    if token is None:
        return _MISSING[name](tokenizer, wanted)
    number = tokenizer.id_of(token)
    if number is None:
        return Finding(
            name,
            "error",
            f"{token}, which is no token of the vocabulary",
            f"{_ROLES[name]} would be spelt in pieces, or get an id that the model has no row for",
            _fix(tokenizer, name),
        )
    return Finding(name, "ok", f"{token} (id {number})")


def _fix(tokenizer: Tokenizer, name: str, token: str | None = None) -> str:
    """The command that names a token, as a shell takes it: most tokens hold `<`, `|` and `>`."""
    named = f"{name}={token or 'TOKEN'}"
    words = ("tunesmith", "tokenizer", "check", str(tokenizer.path), "--fix", named)
    return f"{shlex.join(words)} --output DIR"


def _no_bos(tokenizer: Tokenizer, wanted: Wanted | None) -> Finding:
    if wanted is not None and wanted.needs_bos:
        return Finding(
            "bos",
            "warning",
            "none",
            f"template {wanted.name} begins with it; texts are trained and served without",
            f"another template, or: {_fix(tokenizer, 'bos')}",
        )
    which = f"template {wanted.name} does" if wanted else "most templates do"
    return Finding("bos", "note", f"none; {which} not need one")


def _no_eos(tokenizer: Tokenizer, wanted: Wanted | None) -> Finding:
    ends = [w for w in wanted.stop_words if token_id(tokenizer, w) is not None] if wanted else []
    if ends:
        return Finding("eos", "note", f"none; answers end at {' '.join(ends)}")
    level: Level = "error" if wanted is not None else "warning"
    return Finding(
        "eos", level, "none", "nothing ends an answer: a model talks on until it is cut off",
        _fix(tokenizer, "eos"),
    )  # fmt: skip


def _no_unk(tokenizer: Tokenizer, wanted: Wanted | None) -> Finding:
    ids = tokenizer.backend.encode(_RARE, add_special_tokens=False).ids
    if all(sign in tokenizer.backend.decode(ids) for sign in _RARE.split()):
        return Finding("unk", "note", "none; not needed: every text has tokens")
    return Finding(
        "unk",
        "warning",
        "none, and some characters have no token",
        "such characters are dropped from every text without a trace",
        _fix(tokenizer, "unk"),
    )


def _no_pad(tokenizer: Tokenizer, wanted: Wanted | None) -> Finding:
    return Finding(
        "pad",
        "note",
        "none; training here pads nothing",
        "other tools that batch texts need one; unk or eos will do",
        _fix(tokenizer, "pad", filler(tokenizer)),
    )


_MISSING = {"bos": _no_bos, "eos": _no_eos, "unk": _no_unk, "pad": _no_pad}


def _same(tokenizer: Tokenizer) -> list[Finding]:
    """Names that mean one token."""
    found = []
    groups: dict[str, list[str]] = {}
    for name in NAMES:
        if getattr(tokenizer, name) is not None:
            groups.setdefault(getattr(tokenizer, name), []).append(name)
    for token, names in groups.items():
        if len(names) > 1:
            told = _CONSEQUENCES.get(tuple(n for n in names if n != "unk"), "")
            found.append(Finding(" = ".join(names), "note", token, told))
    return found or [Finding("named", "ok", "no two of them are the same token")]


_CONSEQUENCES = {
    ("eos", "pad"): "padding is told from an end by the attention mask alone; nothing is padded "
    "here, so the end is learned",
    ("bos", "eos"): "a text begins with the token that ends it; nothing is lost by it",
    ("bos", "eos", "pad"): "padding is told from an end by the attention mask alone; nothing is "
    "padded here, so the end is learned",
}


def _beginning(tokenizer: Tokenizer) -> Finding:
    """How a text begins that is encoded with the tokens that a tokenizer adds by itself."""
    ids = tokenizer.backend.encode(SENTENCES[0]).ids
    bos = tokenizer.id_of(tokenizer.bos)
    count = next((i for i, number in enumerate(ids) if number != bos), len(ids))
    if count == 1:
        return Finding("beginning", "ok", f"a text starts with {tokenizer.bos}, once")
    if count == 0:
        return Finding(
            "beginning", "note", f"the tokenizer itself does not put {tokenizer.bos} first",
            "a conversation has it where its template writes it",
        )  # fmt: skip
    return Finding(
        "beginning",
        "warning",
        f"a text starts with {tokenizer.bos} {count} times",
        "conversations here are encoded without; whoever encodes a plain text gives the model a "
        "beginning that it has never seen",
        "remove the second one from the post_processor in tokenizer.json",
    )


def _rows(tokenizer: Tokenizer, rows: int, wanted: Wanted | None) -> Finding:
    """Whether the embedding has a row for every id, and which ids have none."""
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    if not beyond:
        spare = rows - 1 - max(vocabulary.values(), default=-1)
        return Finding("embedding", "ok", f"a row for every id, {spare:,} to spare")
    needed = {tokenizer.bos, tokenizer.eos, tokenizer.unk}
    if wanted is not None:
        needed |= {*wanted.stop_words, *wanted.marks}
    added = {token.content for token in tokenizer.backend.get_added_tokens_decoder().values()}
    bad = any(token in needed or token not in added for _, token in beyond)
    level: Level = "error" if bad else "note"
    if not bad and any(token == tokenizer.pad for _, token in beyond):
        level = "warning"  # nothing is padded here
    shown = ", ".join(f"{token} ({number})" for number, token in beyond[:_SHOWN])
    more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
    return Finding(
        "embedding",
        level,
        f"{rows:,} rows, none for {shown}{more}",
        "a text that holds such a token stops the model with an error",
        "fetch tokenizer and model from one source, or make the rows: " + _fix(tokenizer, "NAME"),
    )


def endless(name: str, *, open_ended: bool) -> Finding:
    """What is said of a template whose answers learn no end; an error where it is not meant so."""
    found = f"nothing that an answer learns under template {name} ends it"
    told = "a model trained so talks on until it is cut off"
    if open_ended:
        return Finding("end", "warning", found, told, "another template")
    todo = "give the answer's turn a `stop`; or open_ended: true in the template, if meant so"
    return Finding("end", "error", found, told, todo)


def _stop_word(tokenizer: Tokenizer, word: str, wanted: Wanted) -> Finding:
    number = token_id(tokenizer, word)
    if number is not None and word in wanted.ends and _is_text(tokenizer, word):
        return Finding(
            "stop word", "warning",
            f"{_shown(word)}, which ends what is learned, is ordinary text (id {number})",
            "an answer with that text in it is cut off there wherever the model is served",
            "end answers with a control token",
        )  # fmt: skip
    if number is not None:
        return Finding("stop word", "ok", f"{_shown(word)} is one token (id {number})")
    pieces = len(tokenizer.backend.encode(word, add_special_tokens=False).ids)
    if word in wanted.ends:
        return Finding(
            "stop word",
            "error",
            f"{_shown(word)} is no token ({pieces} pieces), and learned turns end in it",
            f"template {wanted.name} needs it as one token, which takes a new row of the embedding",
            "resize_vocab: true adds and learns it; or another template",
        )
    return Finding(
        "stop word",
        "warning",
        f"{_shown(word)} is no token ({pieces} pieces)",
        "chat here ends at its text; an engine that stops at ids only talks on",
        "a template made for this model, or resize_vocab: true",
    )


def _stop(tokenizer: Tokenizer, word: str) -> Finding:
    """A further token that ends answers: not the template but a file of the model says so."""
    name, said = tokenizer.stops_from, f"{_shown(word)} (id {tokenizer.id_of(word)})"
    said += f" ends answers too, by eos_token_id of {name}"
    if not _is_text(tokenizer, word):
        return Finding("stop", "ok", said)
    return Finding(
        "stop", "warning",
        f"{said}, and is ordinary text; the tokenizer's eos is {tokenizer.eos or 'not named'}",
        "an answer with that text in it is cut off there, here and wherever the model is served",
        f"correct eos_token_id in {name}; id of eos: {tokenizer.id_of(tokenizer.eos)}",
    )  # fmt: skip


def _is_text(tokenizer: Tokenizer, word: str) -> bool:
    """Whether a token is none of the control tokens, so that what is said may hold it."""
    added = {token.content for token in tokenizer.backend.get_added_tokens_decoder().values()}
    return word not in {*added, tokenizer.eos}


def _shown(word: str) -> str:
    return word if word.isprintable() else repr(word)


def _marks(tokenizer: Tokenizer, wanted: Wanted) -> list[Finding]:
    """Control strings that the model reads as ordinary pieces."""
    split = {
        mark: len(tokenizer.backend.encode(mark, add_special_tokens=False).ids)
        for mark in wanted.marks
        if mark not in wanted.stop_words and token_id(tokenizer, mark) is None
    }
    if not split:
        return []
    return [
        Finding(
            "template",
            "warning",
            f"{wanted.name} writes {', '.join(f'{m} ({n} pieces)' for m, n in split.items())}",
            "the model reads them as ordinary text: it has no token of that name to go by, and "
            "has to learn the layout from the data",
            "a template made for this model, or add_special_tokens with resize_vocab: true",
        )
    ]
