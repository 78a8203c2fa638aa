"""Proof that an exported model says what the tuned one said, door by door, on probe rows.

Both sides are computed in fp32 where memory allows, so that what is measured is the merge and
the rounding of the stored weights, not the noise of the computation.

Shape letters: L tokens of a probe, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith.config.model import Quantization
from tunesmith.errors import ModelError
from tunesmith.export import gate
from tunesmith.export import said as saying
from tunesmith.export.sights import Glance, Look, Sight, continued
from tunesmith.models import adapters, files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model
from tunesmith.types import Tokenizer

PROBES, PROBE_TOKENS = 8, 48
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_BEGUN, _NEW_TOKENS = 3, 8
_ERASED, _WORN = 0.9, 0.1


class Probe(NamedTuple):
    """A row to compare two models on."""

    ids: list[int]
    """As training made them."""
    messages: list[dict[str, str]] | None = None
    """The prompt as role and content: the exported template must give its ids."""
    prompt_tokens: int | None = None
    """So many of `ids` are the prompt; `None`: all."""

    @property
    def prompt(self) -> list[int]:
        """Ids of the prompt."""
        return self.ids[: self.prompt_tokens]


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
    kl: float = 0.0
    """Mean Kullback-Leibler divergence from the tuned model, in nats."""
    kl_bound: float = 0.0
    reader: str = ""
    """Who opened the export, in a process of its own."""
    doors: tuple[gate.Door, ...] = ()
    """Everything that was compared."""


class Asked(NamedTuple):
    """What the tuned model said before it was merged."""

    probes: list[Probe]
    tuned: list[Tensor]
    """(L, V) f32 for each probe."""
    base: list[Tensor] | None
    """The same without the adapter, where that can be asked."""
    answers: list[list[int]] | None = None
    """Greedy continuations of the first probes."""
    steps: list[Tensor] | None = None
    """The logits that they were chosen from."""
    sights: Sequence[Sight] = ()
    """Questions about pictures that it was asked."""
    seen: Sequence[Glance] = ()
    """What it said to each."""


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
    return saying.rows_of(model, [probe.ids[:PROBE_TOKENS] for probe in probes])


def ask(
    model: Any,
    probes: Sequence[Probe],
    *,
    based: bool,
    sights: Sequence[Sight] = (),
    look: Look | None = None,
) -> Asked:
    """Let the tuned model speak, and its base where there is an adapter that can be turned off.

    Args:
        model: with its adapter on.
        probes: rows.
        based: whether there is an adapter at all.
        sights: questions about pictures.
        look: how training reads those.
    """
    base = None
    if based:
        with suppress(ModelError), adapters.disabled(model):  # modules were trained in full
            base = logits(model, probes)
    answered = [saying.greedy(model, row, _NEW_TOKENS) for row in _begun(probes)]
    answers, steps = [ids for ids, _ in answered], [step for _, step in answered]
    seen = [see(model, sight, look) for sight in sights] if look else []
    said = logits(model, probes)
    return Asked(list(probes), said, base, answers, steps, sights if look else (), seen)


def see(model: Any, sight: Sight, look: Look, count: int = _NEW_TOKENS) -> Glance:
    """What the tuned model answers to a question about pictures, by the reading of training."""
    ids, seen = look(sight)
    return Glance(ids, *continued(model, ids, seen, count))


def _begun(probes: Sequence[Probe]) -> list[list[int]]:
    return [probe.ids[:PROBE_TOKENS] for probe in probes[:_BEGUN]]


def questions(
    tokenizer: Tokenizer, probes: Sequence[Probe], loading: Loading, sights: Sequence[Sight] = ()
) -> saying.Questions:
    """What every door of an export is asked."""
    own = [tokenizer.backend.decode(probe.ids, skip_special_tokens=False) for probe in probes]
    return saying.Questions(
        texts=list(dict.fromkeys([*tokenizers.PROBE, *own])),
        prompts=[probe.messages for probe in probes if probe.messages is not None],
        rows=[probe.ids[:PROBE_TOKENS] for probe in probes],
        begun=_begun(probes),
        new_tokens=_NEW_TOKENS,
        dtype=str(loading.dtype).removeprefix("torch."),
        device=loading.device,
        trust_remote_code=loading.trust_remote_code,
        sights=tuple(sights),
    )


def expected(
    asked: Asked, tokenizer: Tokenizer, template: str | None, texts: Sequence[str]
) -> saying.Said:
    """What they must say: the tuned model, its tokenizer, and the prompts of training."""
    backend = tokenizer.backend
    return saying.Said(
        reader="the tuned model",
        ids=[
            backend.encode(text, add_special_tokens=special).ids
            for text in texts
            for special in (False, True)
        ],
        prompts=[probe.prompt for probe in asked.probes if probe.messages is not None],
        template=template,
        rows=asked.tuned,
        answers=asked.answers,
        steps=asked.steps,
    ).looked(asked.seen)


def prove(
    asked: Asked,
    want: saying.Said,
    found: saying.Said,
    *,
    bound: gate.Bound,
    compute: torch.dtype,
    where: str,
    rounds: bool = False,
) -> Proof:
    """Hold what an export says against what the tuned model said.

    Args:
        asked: what the tuned model said.
        want: the same with ids, prompts and template.
        found: what the export says, opened anew.
        bound: what the format of its weights explains.
        compute: in which both were computed.
        where: names the export in an error.
        rounds: few bits were asked for: what they cost is told and not refused.

    Raises:
        ModelError: a door does not say the same, or rounding has undone the training.
    """
    name = str(compute).removeprefix("torch.")
    doors = gate.compare(want, found, bound.looser(name))
    gate.refuse(doors, where, reader=found.reader)
    numbers = next((door.numbers for door in doors if door.name == "logits"), {})
    assert numbers, "the doors of an export give logits"
    assert found.rows is not None, "as the numbers say"
    proof = Proof(
        positions=int(numbers["positions"]),
        largest_difference=numbers["largest_difference"],
        bound=numbers["bound"],
        argmax_equal=numbers["argmax_equal"],
        worn=_worn(torch.cat(asked.tuned), torch.cat(found.rows), asked.base),
        compute_dtype=name,
        kl=numbers["kl"],
        kl_bound=numbers["kl_bound"],
        reader=found.reader,
        doors=tuple(doors),
    )
    if proof.worn is not None and proof.worn >= _ERASED and not rounds:
        raise ModelError(
            where,
            got=f"rounding to {bound.name} undoes {min(proof.worn, 1):.0%} of what the adapter "
            "changed",
            need="a type in which the training survives",
            hint="export in float32, or serve the adapter beside its base",
        )
    return proof


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


def worn_note(proof: Proof, stored: str) -> list[str]:
    """What rounding costs, where it is worth a sentence."""
    if proof.worn is None or proof.worn < _WORN:
        return []
    if proof.worn >= 1:
        return [
            f"rounding to {stored} moves logits further than the adapter did: {proof.worn:.1f}x"
        ]
    return [f"rounding to {stored} costs {proof.worn:.0%} of what the adapter changed"]
