"""Where fastokens may stand for the tokenizers library, and the texts that prove its ids equal.

Two things are asked of a tokenizer before a text of the data is: its pipeline is one of the
known forms (`known`), on which both were compared at length (`tests/data/test_same_ids.py`),
and both give the same ids for some thousand texts made of its own vocabulary and of all that
is odd in Unicode (`probe`). A third is asked of the data's own texts, by `fast_encode`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import tokenizers
from tokenizers import decoders, models

from tunesmith.data import codec

APART = "\u017f"
"""A letter that counts as an `s` for regular expressions that ignore case: the library reads
the `'s` of a contraction in it, or not, by what stands before. Its texts are the library's."""

_ENDS = r"'s|'t|'re|'ve|'m|'ll|'d"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _cased(ends: str, digits: str) -> str:
    """Words that change from small to capital letters are two."""
    return (
        f"{_BEFORE}[{_UPPER}]*[{_LOWER}]+{ends}|{_BEFORE}[{_UPPER}]+[{_LOWER}]*{ends}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
    )


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_GPT2 = {**_BYTES, "use_regex": True}
_PLAIN = rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}"
_MARKED = rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}"
_BYTE_LEVEL = [
    [_GPT2],
    [{"type": "Digits", "individual_digits": True}, _GPT2],  # SmolLM2, StarCoder
    [_split(rf"(?i:{_ENDS})|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}{_PLAIN}"), _BYTES],  # Llama 3, GLM 4
    [_split(rf"(?i:{_ENDS})|{_BEFORE}\p{{L}}+|\p{{N}}{_PLAIN}"), _BYTES],  # Qwen 2, 2.5, 3
    [_split(rf"(?i:{_ENDS})|{_BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}{_MARKED}"), _BYTES],  # Qwen 3.5
    [_split(_cased(f"(?i:{_ENDS})?", r"\p{N}{1,3}")), _BYTES],  # gpt-oss
    [_split(_cased("", r"\p{N}")), _BYTES],  # Mistral's Tekken
    [  # DeepSeek V3, R1
        _split(r"\p{N}{1,3}"),
        _split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        _split(
            r'[!"#$%&' + r"'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
            rf"|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}"
        ),
        _BYTES,
    ],
]
_PREPEND = {"type": "Prepend", "prepend": "▁"}
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_AFTER_SPACE = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}


def known(backend: tokenizers.Tokenizer) -> bool:
    """Whether the pipeline of a tokenizer without post-processor is one of the known forms."""
    model, state = backend.model, codec.pipeline(backend)
    if not isinstance(model, models.BPE) or model.dropout:
        return False
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    normal = codec.parts(state["normalizer"], "normalizers")
    for token in backend.get_added_tokens_decoder().values():
        if token.lstrip or token.rstrip or token.single_word or (token.normalized and normal):
            return False
    words = [_plain(part) for part in codec.parts(state["pre_tokenizer"], "pretokenizers")]
    if not model.byte_fallback:
        spelled = model.unk_token is None and normal in ([], [{"type": "NFC"}])
        return spelled and words in _BYTE_LEVEL
    # SentencePiece's, converted
    spelled = all(model.token_to_id(f"<0x{byte:02X}>") is not None for byte in range(256))
    spaces = normal in ([_SPACES], [_PREPEND, _SPACES]) and words in ([], [_AFTER_SPACE])
    return spelled and spaces and model.unk_token is not None and model.fuse_unk


def _plain(part: dict[str, Any]) -> dict[str, Any]:
    """A pre-tokenizer without what does not change ids, and with line breaks spelled out."""
    part = {key: value for key, value in part.items() if key != "trim_offsets"}
    if isinstance(part.get("pattern"), dict) and "Regex" in part["pattern"]:
        regex = part["pattern"]["Regex"].replace("\r", r"\r").replace("\n", r"\n")
        part["pattern"] = {"Regex": regex}
    return part


def probe(backend: tokenizers.Tokenizer, *, seed: int = 0, size: int = 1) -> Iterator[str]:
    """Texts on which two ways of encoding would differ, if they differ anywhere.

    Args:
        backend: of a known form.
        seed: other texts for another one.
        size: how many times as many texts as at the start of a preparation.
    """
    chance = random.Random(seed)
    words = _words(backend, chance, count=8000 * size)
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    yield from ODD
    yield from (f"a{odd}b {odd}{odd}1" for odd in ODD)
    for _ in range(500 * size):
        yield "".join(chance.choices(words, k=20))
        yield "".join(chance.choices(ODD, k=12))
        yield "".join(_mixed(chance, words, added) for _ in range(12))
    for start in range(0, 0x30000, 0x30000 // (1200 * size)):
        near = [chr(start + chance.randrange(256)) for _ in range(8)]
        yield chance.choice(["a", "1", " ", "", "'", "e\u0301"]).join(filter(_is_text, near))
    for length in chance.sample(range(2, 3000), 4 * size):
        yield chance.choice(ODD) * length + chance.choice(words)
        yield "".join(chance.choices("abcdefgh", k=length))


def _is_text(letter: str) -> bool:
    return not "\ud800" <= letter <= "\udfff" and letter != APART


def _mixed(chance: random.Random, words: list[str], added: list[str]) -> str:
    kind = chance.randrange(6)
    if kind == 0 and added:
        whole = chance.choice(added)
        return whole if chance.random() < 0.6 else whole[: chance.randrange(len(whole) + 1)]
    if kind == 1:
        return chance.choice(ODD) * chance.randrange(1, 12)
    if kind == 2:
        return chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000))))
    return chance.choice(ODD if kind == 3 else words)


def _words(backend: tokenizers.Tokenizer, chance: random.Random, *, count: int) -> list[str]:
    """Text of some tokens of the vocabulary."""
    size = backend.get_vocab_size(with_added_tokens=False)
    tokens = [backend.id_to_token(i) for i in chance.sample(range(size), min(size, count))]
    if getattr(backend.model, "byte_fallback", False):
        return [token.replace("▁", " ") for token in tokens if token]
    letters = decoders.ByteLevel()
    return [letters.decode([token]) for token in tokens if token]


ODD = (
    *(" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ", "\x0b", "\x1f", "\x00"),
    *("\x7f", "\x85", "\xa0", "\u2003", "\u2028", "\u3000", "\u200b", "\u200d", "\ufeff", "\xad"),
    *("'", "'s", "'S", "'ll", "'RE", "'t", "’s", "''", "don't", "I'M", "x'd'v", '"', "`", "```"),
    *("0", "12", "345", "67890", "3.14", "1,000", "²", "½", "٣", "Ⅷ", "९", "x1y2", "𝟘"),
    *("a", "B", "Ab", "aB", "CamelCase", "ABCdef", "snake_case", "ß", "İ", "ı", "\u212a", "ǅ"),
    *("é", "e\u0301", "\u0301", "\u0327\u0301", "\u0344", "\u0f71\u0f72", "क\u093c", "\u212b"),
    *("ʰ", "ﬁ", "﷽", "中", "文字", "，", "。", "あ", "ア", "ー", "한", "각", "\u1112\u1161\u11ab"),
    *(
        "가\u11a8",
        "ไทย",
        "हिन्दी",
        "العربية",
        "שלום",
        "ᚠ",
        "😀",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "👍🏽",
        "\ufe0f",
    ),
    *("...", "!!", "?!", "--", "_", "#", "/", "//", "\\", "~", "+=", "<", "|", ">", "[]", "$€"),
    *("▁", "▁▁", "Ġ", "Ċ", "<0x0A>", "<unk>", "\u0378", "\ue000", "\ufffd", "\ufffe", "\U0010ffff"),
)
"""Words for a probe: what splits, joins, changes when it is normalised, or stands for nothing."""
