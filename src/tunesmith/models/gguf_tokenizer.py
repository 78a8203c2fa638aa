"""The tokenizer inside a GGUF file -> tokenizer.json, tokenizer_config.json, chat template.

A GGUF file holds vocabulary, merges and the *name* of the pre-tokenizer. The general import of
transformers gets the pre-tokenizer, the decoder or the end token wrong for most names. Here a
name stands for a pre-tokenizer only where the result has been compared, id by id, with the
tokenizer.json of the model's maker; any other name is refused.

Names and token types: llama.cpp, `llama-vocab.cpp` and `llama.h`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from tunesmith.errors import ModelError

VERSION = 1  # of what is written; part of the name in the cache

_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5
_PADDING = re.compile(r"\[PAD\d+\]")  # rows of the embedding that no token has
_SPACE = "▁"

_GPT2_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_CASED_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"


class Splitting(NamedTuple):
    """How text is cut before byte-level merges are applied."""

    patterns: tuple[str, ...]
    """Applied one after the other; empty: GPT-2's own pattern."""
    digits: bool = False
    """Every digit stands alone, before anything else."""
    nfc: bool = False
    """Text is normalised to NFC first."""
    whole_words: bool = False
    """A piece that is a token as it stands is not merged (`ignore_merges`)."""
    adds_bos: bool = False
    """llama.cpp puts the begin token in front where the file does not say."""


PRE_TOKENIZERS: dict[str, Splitting] = {
    "gpt-2": Splitting(()),
    "smollm": Splitting((), digits=True),
    "llama-bpe": Splitting(
        (rf"{_GPT2_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}",),
        whole_words=True,
        adds_bos=True,
    ),
    "qwen2": Splitting(
        (rf"{_GPT2_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_SYMBOLS}|{_SPACES}",), nfc=True
    ),
    "deepseek-v3": Splitting(
        (
            r"\p{N}{1,3}",
            "[一-龥\u3040-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
        ),
    ),
    "tekken": Splitting(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
            rf"|\p{{N}}|{_CASED_SYMBOLS}|{_SPACES}",
        ),
        whole_words=True,
        adds_bos=True,
    ),
    "gpt-4o": Splitting(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_GPT2_CONTRACTIONS}?"
            rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_GPT2_CONTRACTIONS}?"
            rf"|\p{{N}}{{1,3}}|{_CASED_SYMBOLS}|{_SPACES}",
        ),
        whole_words=True,
    ),
}


def write(where: str, metadata: Mapping[str, Any], directory: Path) -> None:
    """Write the tokenizer files of a model directory and open them again.

    Args:
        where: the GGUF file, for errors.
        metadata: its keys and values.
        directory: gets tokenizer.json, tokenizer_config.json and, where the file has one,
            chat_template.jinja.

    Raises:
        ModelError: the kind of tokenizer or its pre-tokenizer is not known, or the parts of
            the file contradict each other.
    """
    from tunesmith.models import tokenizer

    made = build(where, metadata)
    made.save(str(directory / "tokenizer.json"), pretty=False)
    named = {
        f"{key}_token": _named(where, metadata, name)
        for key, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
    }
    architecture = metadata.get("general.architecture")
    config = {
        **named,
        "model_max_length": metadata.get(f"{architecture}.context_length"),
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (directory / "tokenizer_config.json").write_text(text + "\n", encoding="utf8")
    template = metadata.get("tokenizer.chat_template")
    if template:
        (directory / "chat_template.jinja").write_text(template, encoding="utf8")
    tokenizer.check_rows(tokenizer.load(directory), [])


def build(where: str, metadata: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer that the metadata describe.

    Raises:
        ModelError: see `write`.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "gpt2":
        return _byte_level(where, metadata)
    if kind == "llama":
        return _sentencepiece(where, metadata)
    raise ModelError(
        f"{where}: tokenizer.ggml.model",
        got=kind,
        need="gpt2 (byte-level BPE) or llama (SentencePiece BPE)",
        hint="use the model's safetensors directory, which has its tokenizer.json",
    )


def _byte_level(where: str, metadata: Mapping[str, Any]) -> tokenizers.Tokenizer:
    name = metadata.get("tokenizer.ggml.pre")
    split = PRE_TOKENIZERS.get(str(name))
    if split is None:
        raise ModelError(
            f"{where}: tokenizer.ggml.pre",
            got=name,
            need=f"one of {', '.join(PRE_TOKENIZERS)}; another cut gives other ids, so no guess",
            hint="use the model's safetensors directory, which has its tokenizer.json",
        )
    tokens, types = _tokens(where, metadata)
    end = _start_of_added_tail(tokens, types)
    merges = _merges(where, metadata)
    vocab = {token: i for i, token in enumerate(tokens[:end])}
    try:
        model = models.BPE(vocab=vocab, merges=merges, ignore_merges=split.whole_words)
    except Exception as error:  # the library raises bare Exception
        raise ModelError(
            f"{where}: tokenizer.ggml.merges", got=str(error), need="merges of the file's tokens"
        ) from None
    made = tokenizers.Tokenizer(model)
    cut_as(made, split)
    made.decoder = decoders.ByteLevel()
    _add(where, made, tokens, types)
    _add_ends(where, made, metadata, bos_by_default=split.adds_bos)
    return made


def cut_as(made: tokenizers.Tokenizer, split: Splitting) -> None:
    """Let a tokenizer cut texts before it applies merges to their pieces."""
    if split.nfc:
        made.normalizer = normalizers.NFC()
    first = [pre_tokenizers.Digits(individual_digits=True)] if split.digits else []
    cuts = [pre_tokenizers.Split(Regex(p), behavior="isolated") for p in split.patterns]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split.patterns)
    made.pre_tokenizer = pre_tokenizers.Sequence([*first, *cuts, bytes_])


def _sentencepiece(where: str, metadata: Mapping[str, Any]) -> tokenizers.Tokenizer:
    tokens, types = _tokens(where, metadata)
    scores = metadata.get("tokenizer.ggml.scores")
    if scores is None or len(scores) != len(metadata["tokenizer.ggml.tokens"]):
        raise ModelError(f"{where}: tokenizer.ggml.scores", need="a score for every token")
    unknown = tokens[metadata.get("tokenizer.ggml.unknown_token_id", 0)]
    end = _start_of_added_tail(tokens, types)
    made = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens[:end])},
            merges=merges_by_score(tokens[:end], scores[:end], types[:end]),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    spaces = normalizers.Replace(" ", _SPACE)
    before = [normalizers.Prepend(_SPACE)] if prefix else []
    made.normalizer = normalizers.Sequence([*before, spaces])
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    made.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    _add(where, made, tokens, types)
    _add_ends(where, made, metadata, bos_by_default=True)
    return made


def merges_by_score(
    tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]
) -> list[tuple[str, str]]:
    """The merges that a SentencePiece vocabulary implies, best first.

    Every way to put a token together from two others is a merge; its rank is the token's score.
    Ties (several ways to one token) go by the shorter left part, as SentencePiece scans.
    """
    ids = {token: i for i, token in enumerate(tokens)}
    special = {tokens[i] for i, kind in enumerate(types) if kind in (_UNKNOWN, _CONTROL)}
    found = []
    for token, score in zip(tokens, scores, strict=True):
        if token in special:
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids and left not in special and right not in special:
                found.append((-score, ids[token], ids[left], ids[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _tokens(where: str, metadata: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    tokens = metadata.get("tokenizer.ggml.tokens")
    types = metadata.get("tokenizer.ggml.token_type")
    if not tokens or not types or len(tokens) != len(types):
        raise ModelError(
            f"{where}: tokenizer.ggml.tokens",
            got=f"{len(tokens or ())} tokens, {len(types or ())} token types",
            need="a type for every token: without it the special tokens are cut into pieces",
        )
    end = len(tokens)
    while types[end - 1] == _UNUSED and _PADDING.fullmatch(tokens[end - 1]):
        end -= 1
    kept = tokens[:end]
    if len(set(kept)) != len(kept):
        twice = next(token for i, token in enumerate(kept) if token in kept[:i])
        raise ModelError(f"{where}: tokenizer.ggml.tokens", got=twice, need="every token once")
    return kept, list(types[:end])


def _start_of_added_tail(tokens: Sequence[str], types: Sequence[int]) -> int:
    """Added tokens at the end of the vocabulary stand outside of the merges' own vocabulary."""
    end = len(tokens)
    while end and types[end - 1] in (_CONTROL, _USER_DEFINED):
        end -= 1
    return end


def _merges(where: str, metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for merge in metadata.get("tokenizer.ggml.merges") or ():
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            raise ModelError(
                f"{where}: tokenizer.ggml.merges", got=merge, need="two tokens and one space"
            )
        found.append((left, right))
    if not found:
        raise ModelError(where, got="no tokenizer.ggml.merges", need="the merges of the tokenizer")
    return found


def _add(
    where: str, made: tokenizers.Tokenizer, tokens: Sequence[str], types: Sequence[int]
) -> None:
    """Make control and user-defined tokens whole, under the ids that the file gives them."""
    of_kind = {_CONTROL: True, _UNKNOWN: True, _USER_DEFINED: False}
    whole = {i: kind for i, kind in enumerate(types) if kind in of_kind}
    made.add_tokens(
        [
            AddedToken(tokens[i], special=of_kind[kind], normalized=False)
            for i, kind in whole.items()
        ]
    )
    for i in whole:
        if made.token_to_id(tokens[i]) != i:
            raise ModelError(
                f"{where}: tokenizer.ggml.tokens[{i}]",
                got=f"{tokens[i]!r} becomes id {made.token_to_id(tokens[i])}",
                need=f"id {i}",
            )


def _add_ends(
    where: str, made: tokenizers.Tokenizer, metadata: Mapping[str, Any], *, bos_by_default: bool
) -> None:
    """What the tokenizer itself puts around a text (`add_bos_token`, `add_eos_token`)."""
    bos = _named(where, metadata, "bos")
    eos = _named(where, metadata, "eos")
    first = bool(metadata.get("tokenizer.ggml.add_bos_token", bos_by_default)) and bos
    last = bool(metadata.get("tokenizer.ggml.add_eos_token", False)) and eos
    if not first and not last:
        return
    one = [part for part in (first, "$A", last) if part]
    two = [*one, *(f"{part}:1" for part in (first, "$B", last) if part)]
    used = [token for token in (first, last) if token]
    made.post_processor = processors.TemplateProcessing(
        single=one,
        pair=two,
        special_tokens=[(token, made.token_to_id(token)) for token in dict.fromkeys(used)],
    )


def _named(where: str, metadata: Mapping[str, Any], name: str) -> str | None:
    number = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if number is None:
        return None
    tokens = metadata["tokenizer.ggml.tokens"]
    if not 0 <= number < len(tokens):
        raise ModelError(
            f"{where}: tokenizer.ggml.{name}_token_id", got=number, need=f"0 to {len(tokens) - 1}"
        )
    return tokens[number]
