"""`gguf-f32`, `-f16`, `-bf16`, `-q8_0`, `-q4_k_m`: one file for llama.cpp and its kin."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch

from tunesmith.export import gguf_few_bits, gguf_shape, gguf_vocabulary, gguf_weights
from tunesmith.export.gate import Bound
from tunesmith.export.job import Format, Job, Written
from tunesmith.export.said import Questions, Said
from tunesmith.models import gguf_families
from tunesmith.models import tokenizer as tokenizers
from tunesmith.types import Tokenizer

Kind = Literal["f32", "f16", "bf16", "q8_0", "q4_k_m"]


class _Stored(NamedTuple):
    """What one type is like."""

    bound: Bound
    bits: float
    """Of a weight."""


KINDS: dict[Kind, _Stored] = {
    "f32": _Stored(Bound("f32", 2e-5, 1e-8), 32),
    "f16": _Stored(Bound("f16", 0.01, 1e-3), 16),
    "bf16": _Stored(Bound("bf16", 0.05, 0.01), 16),
    "q8_0": _Stored(Bound("q8_0", 0.15, 0.02), 8.5),
    "q4_k_m": _Stored(Bound("q4_k_m", 0.75, 0.25), 5.5),
}
"""Bounds of few bits: twice the largest share and three times the largest divergence that was
measured (docs/log.md)."""
_TABLE_OF_GELU = 2e-3
"""llama.cpp looks GELU up in a table of f16, whatever the weights are."""
FILE_TYPES: dict[Kind, int] = {"f32": 0, "f16": 1, "q8_0": 7, "q4_k_m": 15, "bf16": 32}
"""`general.file_type` of each, the `llama_ftype` of llama.h."""
OF_DTYPE: dict[torch.dtype, Kind] = {
    torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16",
}  # fmt: skip
"""The type that rounds nothing of what a merged export stores."""


def file_name(kind: Kind) -> str:
    """Of the file in its directory."""
    return f"model-{kind}.gguf"


def check(kind: Kind, job: Job) -> Sequence[str]:
    """Refuse a family, config or tokenizer that cannot be written, before anything is loaded."""
    where = f"{job.model_dir}/config.json"
    gguf_shape.family(job.config, where)
    if kind == "q4_k_m":
        gguf_few_bits.require()
    words = taken_for_ends(job.serving.tokenizer)
    taken = [f"llama.cpp takes {' '.join(words)} in a text for a control token"] if words else []
    return [*vocabulary(job).notes, *taken]


def vocabulary(job: Job, *, rows: int = 0, begins: bool = True) -> gguf_vocabulary.Vocabulary:
    """The keys of the tokenizer.

    Args:
        job: what is exported.
        rows: of the embedding; 0: not known yet, as many as there are tokens.
        begins: whether a begin token is put in front as the tokenizer itself does; `False`: never.
    """
    serving = job.serving
    last = max(serving.tokenizer.backend.get_vocab().values())
    made = gguf_vocabulary.vocabulary(
        serving.tokenizer,
        rows=rows or last + 1,
        chat_template=serving.template,
        stops=serving.stops,
        texts=job.texts,
    )
    return made if begins else made._replace(keys=made.keys | {_ADD_BOS: False})


_ADD_BOS = "tokenizer.ggml.add_bos_token"


def write(kind: Kind, job: Job, model: Any, place: Path, *, begins: bool = True) -> Written:
    """Write the file into a directory."""
    words = vocabulary(job, rows=int(model.config.vocab_size), begins=begins)
    path = place / file_name(kind)
    whole = OF_DTYPE[job.stored] if kind == "q4_k_m" else kind
    first = path if whole == kind else place / "whole.gguf"
    gguf_weights.write(
        first,
        model,
        kind=cast("gguf_weights.Kind", whole),
        vocabulary=words.keys,
        name=job.about.name,
        where=str(job.model_dir),
    )
    if first != path:
        gguf_few_bits.quantise(first, path)
        first.unlink()
    return Written(path, kind)


def bound(kind: Kind, job: Job) -> Bound:
    """How far a file of the type may be from what was tuned."""
    stored = KINDS[kind].bound
    _, family = gguf_shape.family(job.config, str(job.model_dir))
    if kind == "f32" and family.activation != gguf_families.ARCHITECTURES["llama"].activation:
        return stored._replace(share=_TABLE_OF_GELU, kl=1e-6)
    return stored


def bytes_of(kind: Kind, job: Job, weights: int) -> int:
    """Of the largest moment of the disk."""
    bits = KINDS[kind].bits + (8 * job.stored.itemsize if kind == "q4_k_m" else 0)
    return int(weights * bits / 8)


def composed(job: Job, questions: Questions, said: Said) -> tuple[Questions, Said]:
    """Texts as llama.cpp can be asked for them; the notes of `check` say what it does otherwise.

    It puts none into a normal form, and takes words that end an answer elsewhere for control tokens
    wherever the vocabulary has them, whatever type the file gives them. Where it cuts words at
    combining marks, the probes are asked without: rows of the run are asked as they are.
    """
    backend = job.serving.tokenizer.backend
    texts = questions.texts
    for word in taken_for_ends(job.serving.tokenizer):
        texts = [text.replace(word, "") for text in texts]
    normal = backend.normalizer
    if normal is not None and normal.normalize_str("e\u0301") == "\u00e9":
        texts = [unicodedata.normalize("NFC", text) for text in texts]
    if gguf_vocabulary.cut_at_marks(job.serving.tokenizer):
        texts = [_bare(text) if text in tokenizers.PROBE else text for text in texts]
    if texts == questions.texts:
        return questions, said
    if said.ids is not None:
        ids = [
            backend.encode(text, add_special_tokens=special).ids
            for text in texts
            for special in (False, True)
        ]
        said = said._replace(ids=ids)
    return questions._replace(texts=texts), said


def _bare(text: str) -> str:
    return "".join(c for c in text if not unicodedata.category(c).startswith("M"))


_ENDS_ELSEWHERE = ("</s>", "<EOT>", "_<EOT>", "<eot>", "<|end|>", "<|eot_id|>", "<end_of_turn>")


def taken_for_ends(tokenizer: Tokenizer) -> list[str]:
    """Plain tokens that llama.cpp takes for control tokens by their text."""
    special = {token.content for token in tokenizer.backend.get_added_tokens_decoder().values()}
    known = [word for word in _ENDS_ELSEWHERE if tokenizer.id_of(word) is not None]
    return [word for word in known if word not in special]


def _of(kind: Kind) -> Format:
    def named(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: function(kind, *given)

    return Format(
        f"gguf-{kind}",
        check=named(check),
        write=named(write),
        bound=named(bound),
        bytes_of=named(bytes_of),
        opens="gguf",
        rounds=kind in ("q8_0", "q4_k_m"),
        asks=composed,
    )


FORMATS: Mapping[str, Format] = {f"gguf-{kind}": _of(kind) for kind in KINDS}
