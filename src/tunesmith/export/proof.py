"""Proof that an exported model says what the tuned one said: logits on probe rows.

Both sides are computed in fp32 where memory allows, so that what is measured is the merge and
the rounding of the stored weights, not the noise of the computation.

Shape letters: L tokens of a probe, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith.config.model import Quantization
from tunesmith.errors import ModelError
from tunesmith.models import adapters, files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import explained, load_model, quiet
from tunesmith.types import Tokenizer

PROBES, PROBE_TOKENS = 8, 48
_BOUNDS = {torch.float32: 2e-5, torch.float16: 0.01, torch.bfloat16: 0.05}
"""Largest difference of a logit that the stored type explains, as a share of the largest logit."""
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_COMPUTED_ROUGHLY = 3.0  # both sides in 16 bits: their own noise comes on top
_ERASED, _WORN = 0.9, 0.1


class Probe(NamedTuple):
    """A row to compare two models on."""

    ids: list[int]
    """Prompt ids as training made them."""
    messages: list[dict[str, str]] | None = None
    """The same conversation as role and content: the exported template must give `ids`."""


class Proof(NamedTuple):
    """How far an exported model is from the tuned one."""

    positions: int
    """Token positions compared, each over the whole vocabulary."""
    largest_difference: float
    """Of a logit, absolute."""
    bound: float
    """What was allowed."""
    argmax_equal: float
    """Share of positions with the same most probable token."""
    worn: float | None
    """Difference as a share of what the adapter changed (root mean squares); `None`: no adapter
    whose change can be measured."""
    compute_dtype: str


class Asked(NamedTuple):
    """What the tuned model said before it was merged."""

    probes: list[Probe]
    tuned: list[Tensor]
    """(L, V) f32 for each probe."""
    base: list[Tensor] | None
    """The same without the adapter, where that can be asked."""


class Loading(NamedTuple):
    """How both models are brought into memory."""

    dtype: torch.dtype = torch.float32
    """In which both compute."""
    device: str = "cpu"
    trust_remote_code: bool = False


def probes_of(tokenizer: Tokenizer, given: Sequence[Probe] = ()) -> list[Probe]:
    """The given probes, filled up with texts in many scripts; each cut to a few tokens."""
    texts = [Probe(tokenizer.backend.encode(text).ids) for text in tokenizers.PROBE]
    every = [probe for probe in (*given, *texts) if probe.ids]
    return every[:PROBES]


def logits(model: Any, probes: Sequence[Probe]) -> list[Tensor]:
    """(L, V) f32 on the CPU for each probe, alone and without padding."""
    found = []
    for probe in probes:
        ids = torch.tensor([probe.ids[:PROBE_TOKENS]], device=model.device)
        with torch.inference_mode():
            found.append(model(input_ids=ids, use_cache=False).logits[0].float().cpu())
    return found


def ask(model: Any, probes: Sequence[Probe], *, based: bool) -> Asked:
    """Let the tuned model speak, and its base where there is an adapter that can be turned off.

    Args:
        model: with its adapter on.
        probes: rows.
        based: whether there is an adapter at all.
    """
    base = None
    if based:
        with suppress(ModelError), adapters.disabled(model):  # modules were trained in full
            base = logits(model, probes)
    return Asked(list(probes), logits(model, probes), base)


def compare(
    asked: Asked,
    exported: Sequence[Tensor],
    *,
    dtype: torch.dtype,
    compute: torch.dtype,
    where: str,
) -> Proof:
    """Hold two models' logits against each other.

    Args:
        asked: what the tuned model said.
        exported: what the exported model says, loaded anew, (L, V) f32 each.
        dtype: in which the exported weights are stored.
        compute: in which both were computed.
        where: names the export in an error.

    Raises:
        ModelError: a logit differs by more than the stored type explains, or rounding has
            undone the training.
    """
    a, b = torch.cat(asked.tuned), torch.cat(list(exported))
    stored = str(dtype).removeprefix("torch.")
    if a.shape != b.shape:
        raise ModelError(where, got=f"logits {tuple(b.shape)}", need=f"{tuple(a.shape)}")
    share = _BOUNDS[dtype] * (1.0 if compute == torch.float32 else _COMPUTED_ROUGHLY)
    bound = share * max(1.0, float(a.abs().max()))
    difference = (a - b).abs()
    largest = float(difference.max())
    proof = Proof(
        positions=len(a),
        largest_difference=largest,
        bound=bound,
        argmax_equal=float((a.argmax(1) == b.argmax(1)).float().mean()),
        worn=_worn(a, b, asked.base),
        compute_dtype=str(compute).removeprefix("torch."),
    )
    if not math.isfinite(largest) or largest > bound:
        raise ModelError(
            where,
            got=f"the exported model is not the tuned one: a logit differs by {largest:.3g} "
            f"({len(a)} positions)",
            need=f"at most {bound:.3g}, which {stored} explains; nothing was exported",
        )
    if proof.worn is not None and proof.worn >= _ERASED:
        raise ModelError(
            where,
            got=f"rounding to {stored} undoes {min(proof.worn, 1):.0%} of what the adapter changed",
            need="a type in which the training survives",
            hint="export in float32, or serve the adapter beside its base",
        )
    return proof


def prove(
    directory: Path, asked: Asked, loading: Loading, *, dtype: torch.dtype, where: str
) -> Proof:
    """Load a directory as everybody does, with stock transformers, and compare.

    Raises:
        ModelError: it cannot be loaded, or see `compare`.
    """
    from transformers import AutoModelForCausalLM

    with quiet(), explained(directory, None):
        model = AutoModelForCausalLM.from_pretrained(
            str(directory),
            dtype=loading.dtype,
            local_files_only=True,
            trust_remote_code=loading.trust_remote_code,
        )
    said = logits(model.to(loading.device).eval(), asked.probes)
    return compare(asked, said, dtype=dtype, compute=loading.dtype, where=where)


def check_tokenizer(directory: Path, tokenizer: Tokenizer, probes: Sequence[Probe]) -> list[str]:
    """The exported tokenizer gives the ids of the trained one, its template those of the probes.

    Returns:
        A note where stock AutoTokenizer reads the directory wrongly, naming the right loader.

    Raises:
        ModelError: a text or a conversation gets other ids.
    """
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast.from_pretrained(str(directory), local_files_only=True)
    wrong = tokenizers.compare(tokenizer.backend, made, tokenizers.PROBE, limit=1)
    if wrong:
        raise ModelError(f"{directory}: tokenizer", got=wrong[0].other, need=str(wrong[0].ids))
    for probe in probes:
        if probe.messages is None:
            continue
        encoded = made.apply_chat_template(
            probe.messages, add_generation_prompt=True, return_dict=True
        )
        ids = list(encoded["input_ids"])
        if ids != probe.ids:
            raise ModelError(
                f"{directory}: chat_template.jinja",
                got=made.decode(ids),
                need=f"the prompt that training used: {made.decode(probe.ids)}",
            )
    try:
        differences = tokenizers.check_stock(directory)
    except ModelError as error:
        return [f"AutoTokenizer cannot open it ({error.got}); use {tokenizers.RIGHT_LOADER}"]
    if not differences:
        return []
    name = differences[0].loader
    return [f"AutoTokenizer takes {name} for it and gets other ids; use {tokenizers.RIGHT_LOADER}"]


def prove_merge(
    model_dir: Path,
    adapter_dirs: Sequence[Path],
    merged_dir: Path,
    *,
    probes: Sequence[Probe],
    loading: Loading | None = None,
) -> Proof:
    """Hold a merged directory against its base with the adapters on, from the files alone.

    Raises:
        ModelError: see `compare`.
    """
    loading = loading or Loading()
    model = tuned_model(model_dir, adapter_dirs, loading)
    asked = ask(model, probes, based=bool(adapter_dirs))
    del model
    dtype = stored_dtype(merged_dir)
    return prove(merged_dir, asked, loading, dtype=dtype, where=str(merged_dir))


def tuned_model(
    model_dir: Path,
    adapter_dirs: Sequence[Path],
    loading: Loading,
    *,
    quantization: Quantization | None = None,
) -> Any:
    """The base with its adapters: all but the last merged, the last one on."""
    model = load_model(
        model_dir,
        dtype=loading.dtype,
        device=loading.device,
        trust_remote_code=loading.trust_remote_code,
        quantization=quantization,
    )
    for directory in adapter_dirs[:-1]:
        adapters.load_adapter(model, directory, trainable=False)
        adapters.merge(model)
    if adapter_dirs:
        adapters.load_adapter(model, adapter_dirs[-1], trainable=False)
    return model


def stored_dtype(directory: Path) -> torch.dtype:
    """The type that most bytes of a model's weights have.

    Raises:
        ModelError: no weights, or a type that no arithmetic is done in (quantised).
    """
    bytes_of: dict[str, int] = {}
    for path in files.weight_files(directory):
        for info in files.read_header(path).values():
            bytes_of[info.dtype] = bytes_of.get(info.dtype, 0) + info.num_bytes
    name = max(bytes_of, key=lambda key: bytes_of[key], default="none")
    if name not in _STORED:
        raise ModelError(
            f"{directory}: weights",
            got=name,
            need=f"one of {', '.join(_STORED)}; merging into fewer bits would lose the training",
            hint="merge into the model that the quantised one was made from",
        )
    return _STORED[name]


def _worn(a: Tensor, b: Tensor, base: Sequence[Tensor] | None) -> float | None:
    if base is None:
        return None
    effect = float((a - torch.cat(list(base))).double().square().mean().sqrt())
    error = float((a - b).double().square().mean().sqrt())
    return error / effect if effect > 1e-6 else None


def worn_note(proof: Proof, dtype: torch.dtype) -> list[str]:
    """What rounding costs, where it is worth a sentence."""
    if proof.worn is None or proof.worn < _WORN:
        return []
    stored = str(dtype).removeprefix("torch.")
    return [f"rounding to {stored} costs {proof.worn:.0%} of what the adapter changed"]
