"""A trial: one layer of the very model, with the adapters of the run, on documents of the run.

What a plan predicts the time from. The layers are built from `config.json` with random weights
and run through the code that trains, so the speed of its products, its element-wise work, its
attention and its kernel starts are all in it. Nothing is fitted to runs. It takes about a second
for a large model, a tenth for a small one.
"""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tunesmith.compute import chance, experts
from tunesmith.compute.attention import decoder
from tunesmith.compute.fused import blocks
from tunesmith.compute.precision import Precision, speed
from tunesmith.compute.score import apply_head, hidden
from tunesmith.config.run import Run
from tunesmith.models import adapters, classes, freeze, load, quantize
from tunesmith.models.adapter_spec import LoraSpec
from tunesmith.models.facts import Facts
from tunesmith.training import update
from tunesmith.training.memory import machine
from tunesmith.training.pace import Pace, Passes
from tunesmith.training.remembered import remembered
from tunesmith.types import Batch

_SECONDS = 0.12
"""About what one pass of the trial may take; it makes about six."""
_REACHED = 0.4
"""Share of the speed of a small product, for choosing the size of the trial alone."""
_HELD = 3
"""Passes whose activations are held at one time: memory is touched as a deep model touches it."""
_TOKENS, _LEAST, _FEW = 2048, 64, 16
_LONGER = 4.0
_LAYERS = 4
_ROWS_OF_HEAD = 8192
_VOCAB = 512
_SHARE_OF_MEMORY = 0.25


class Measured(NamedTuple):
    """Seconds of a pass."""

    forward: float
    both: float


def measure(
    run: Run,
    directory: Path,
    known: Facts,
    precision: Precision,
    *,
    lengths: np.ndarray,
    batch_tokens: int,
    head_tokens: int,
    trainable: int,
    kind: str,
    spec: LoraSpec | None,
    free: int,
) -> Pace | str:
    """The pace of this machine; or why it was not measured, for the reader of a plan.

    Args:
        run: what was asked.
        directory: with `config.json`.
        known: the model's facts.
        precision: of the run, on a device that is here.
        lengths: tokens of documents of the run, (N,) int, in a random order.
        batch_tokens: tokens of a usual micro-batch.
        head_tokens: trained tokens of a usual chunk of the head.
        trainable: parameters that are trained.
        kind: `lora`, `full` or `freeze`.
        spec: adapters of the run; `None`: the model's own weights learn.
        free: bytes of memory.
    """
    inside = known.parameters - known.embedding_parameters - known.aside_parameters
    inside -= 0 if known.tied else known.head_parameters
    if (inside // known.layers) * 8 > free * _SHARE_OF_MEMORY:
        return "one layer is too large to be tried here"
    asked = [_architecture(directory), kind, str(spec), precision.name, _machine(precision.device)]
    asked += [batch_tokens, head_tokens, hashlib.sha256(lengths.tobytes()).hexdigest()]
    asked += [str(run.model.quantization), run.train.optimizer, str(run.train.optim_args)]

    def make() -> Pace:
        _Here.tried = True
        per_layer = max(1, (inside - known.idle_parameters) // known.layers)
        tokens, layers = _size(
            precision, known, per_layer, batch_tokens, long=usual(lengths), adapters=bool(spec)
        )
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            model = _model(run, directory, precision, layers=layers, spec=spec)
            return _pace(
                run, model, known, precision, documents=sample(lengths, tokens), layers=layers,
                head_tokens=head_tokens, kind=kind, trainable=trainable,
            )  # fmt: skip

    try:
        return Pace.of(remembered(json.dumps(["trial", *asked]), make))
    except Exception as error:  # a model may not run with fewer layers than it has
        return f"its layers do not run alone ({type(error).__name__}: {error})"[:120]


class _Here:
    tried = False


def made_here() -> bool:
    """Whether this process made a trial: a processor keeps the kernels of its products."""
    return _Here.tried


def _size(
    precision: Precision,
    known: Facts,
    per_layer: int,
    batch_tokens: int,
    *,
    long: int,
    adapters: bool,
) -> tuple[int, int]:
    """(tokens, layers) of a trial that takes about as long as it may.

    A usual document is worth several times as long: attention on a part of it is another one.
    """
    reached = 2 * speed(precision.device, precision.dtype) * _REACHED
    second_of_token = (4 if adapters else 6) * per_layer / reached
    most = min(max(batch_tokens, _LEAST), _TOKENS)
    tokens = int(np.clip(_SECONDS / second_of_token, _LEAST, most))
    tokens = max(tokens, min(long, _TOKENS, int(_LONGER * tokens)))
    layers = int(np.clip(_SECONDS / (tokens * second_of_token), 1, min(known.layers, _LAYERS)))
    return tokens, layers


def _machine(place: torch.device) -> list[Any]:
    """What the pace depends on beside what is asked: another one measures anew."""
    if place.type == "cuda":
        return [torch.cuda.get_device_name(place)]
    return [platform.machine(), machine.processor(), torch.get_num_threads()]


def usual(lengths: np.ndarray) -> int:
    """Tokens of the document in which the middle one of all squares falls.

    >>> usual(np.array([3, 3, 3, 3, 100]))
    100
    """
    ordered = np.sort(lengths).astype(float)
    middle = np.searchsorted(np.cumsum(ordered**2), (ordered**2).sum() / 2)
    return int(ordered[min(int(middle), len(ordered) - 1)])


def sample(lengths: np.ndarray, tokens: int) -> list[int]:
    """Documents of together at most `tokens` tokens, the first of `lengths` that fit.

    >>> sample(np.array([5, 90, 3]), 10)
    [5, 3]
    >>> sample(np.array([50, 90]), 10)
    [10]
    """
    chosen, left = [], tokens
    for length in lengths[: 4 * tokens].tolist():
        if length <= left:
            chosen.append(int(length))
            left -= length
        if left < tokens // 20:
            break
    return chosen or [tokens]


def _architecture(directory: Path) -> dict[str, Any]:
    raw = json.loads((directory / "config.json").read_text(encoding="utf8"))
    return {key: value for key, value in raw.items() if key not in ("_name_or_path",)}


def _model(
    run: Run, directory: Path, precision: Precision, *, layers: int, spec: LoraSpec | None
) -> Any:
    """The first layers of the model, with random weights, as the run would train them."""
    from transformers.initialization import no_init_weights

    trust = run.model.trust_remote_code
    config = copy.deepcopy(load.read_config(directory, trust_remote_code=trust))
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size = layers, _VOCAB
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, 0)  # some take no `None`
    kinds = getattr(text, "layer_types", None)
    if kinds and len(kinds) != layers:  # of some models it follows from the number of layers
        text.layer_types = kinds[:layers]
    with load.quiet(), no_init_weights():
        model: Any = classes.auto_class(config).from_config(
            config,
            dtype=precision.dtype,
            attn_implementation=load.own_attention(config),
            trust_remote_code=trust,
        )
    experts.prepare(model)
    model = model.to(precision.device)
    draw = torch.Generator(precision.device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.uniform_(-0.03, 0.03, generator=draw)
            else:
                parameter.fill_(1.0)
    if run.model.quantization is not None:
        quantize.in_place(model, run.model.quantization)
    if spec is None:
        asked = getattr(run.method, "train_modules", ())
        freeze.full(model, frozen=run.method.frozen_parts, only=freeze.there(model, asked))
    else:
        # the start of an adapter and rows of new tokens do not change the pace
        adapters.attach(
            model, spec._replace(pissa=None, additional_target=(), token_ids=()), seed=0
        )
    if not any(p.requires_grad for p in decoder(model).parameters()):  # it is before the text model
        model.get_input_embeddings().weight.requires_grad_(True)
    model.config.use_cache = False
    blocks.fuse(model)
    return model.train()


def _pace(
    run: Run,
    model: Any,
    known: Facts,
    precision: Precision,
    *,
    documents: Sequence[int],
    layers: int,
    head_tokens: int,
    kind: str,
    trainable: int,
) -> Pace:
    """The pace of the whole model."""
    deep, tokens = known.layers / layers, sum(documents)
    other = [tokens] if 2 * _squares(documents) < tokens**2 else _cut(tokens)
    sets = ([_FEW], documents, other)
    with chance.here(seed=0, step=1):
        found = [_timed(model, precision, s, times=n) for s, n in zip(sets, (5, 3, 3), strict=True)]
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        per_step = update.seconds(
            run, model, learned, deep=deep, trainable=trainable,
            timed=lambda once: _median(once, precision),
        )  # fmt: skip
        forward = [one.forward for one in found]
        if kind == "freeze":  # below what learns, weights stay in the dtype of the products
            frozen = model.requires_grad_(False).to(precision.dtype)
            forward = [_forward_alone(frozen, precision, s) for s in sets]
    return Pace(
        per_step=per_step,
        both=_passes([one.both for one in found], documents, other, deep=deep),
        forward=_passes(forward, documents, other, deep=deep),
        per_trained_token=_head(known, precision, tokens=head_tokens, trained=kind == "full"),
        source=f"measured on this {precision.device.type}: "
        f"{'all' if layers == known.layers else layers} of {known.layers} layers, "
        f"{tokens:,} tokens in {len(documents)} documents",
    )


def _passes(
    seconds: Sequence[float], documents: Sequence[int], other: Sequence[int], *, deep: float
) -> Passes:
    """Seconds of all layers by those of a few tokens, of documents, and of others as long."""
    (little, real, again), tokens = seconds, sum(documents)
    more = _squares(documents) - _squares(other)
    per_square = max((real - again) / more, 0.0) if more else 0.0
    left = real - little - per_square * _squares(documents)
    per_token = max(left, 0.1 * real) / tokens
    return Passes(little * deep, per_token * deep, per_square * deep)


def _squares(documents: Sequence[int]) -> int:
    return sum(length**2 for length in documents)


def _cut(tokens: int) -> list[int]:
    """Short documents of unlike lengths, together as many tokens."""
    part = max(1, tokens // 8)
    lengths = [part + (i % 3) - 1 for i in range(8)] if part > 2 else [part]
    return [*lengths, *([left] if (left := tokens - sum(lengths)) > 0 else [])]


def _timed(
    model: Any, precision: Precision, documents: Sequence[int], *, times: int = _HELD
) -> Measured:
    """A pass over a micro-batch of these documents, the middle one of some after one that warms up.

    All are forward before the first goes back: memory is touched as a deep model touches it.
    """
    batch = _batch(documents, precision)

    def forward() -> Tensor:
        with chance.tokens(batch):
            return hidden(model, batch).float().sum()

    with precision.context(model):
        forward().backward()
        made, back = [], []
        for _ in range(times):
            clock = _Clock(precision)
            made.append((forward(), clock.seconds()))
        while made:
            out, ahead = made.pop()
            clock = _Clock(precision)
            out.backward()
            back.append((ahead, clock.seconds()))
    ahead, behind = (statistics.median(seconds) for seconds in zip(*back, strict=True))
    return Measured(ahead, ahead + behind)


def _forward_alone(model: Any, precision: Precision, documents: Sequence[int]) -> float:
    """Seconds of a forward pass that leaves nothing for a backward pass."""
    batch = _batch(documents, precision)

    def once() -> None:
        with chance.tokens(batch), torch.no_grad():
            hidden(model, batch)

    return _median(once, precision)


def _batch(documents: Sequence[int], precision: Precision) -> Batch:
    """Documents end to end, of arbitrary words."""
    offsets = np.concatenate(([0], np.cumsum(documents)))
    count = int(offsets[-1])
    place = precision.device
    ids = torch.arange(count, device=place) * 7919 % _VOCAB
    positions = np.concatenate([np.arange(length) for length in documents])
    return Batch(
        ids_T=ids,
        positions_T=torch.from_numpy(positions).to(place),
        offsets=tuple(int(offset) for offset in offsets),
        predict_P=torch.arange(count, device=place),
        labels_P=ids,
        rows=tuple(range(len(documents))),
    )


def _head(known: Facts, precision: Precision, *, tokens: int, trained: bool) -> float:
    """Seconds of the head for one trained token: a part of its rows, a chunk of tokens."""
    rows, place = min(known.vocab, _ROWS_OF_HEAD), precision.device
    weight = torch.full((rows, known.hidden), 0.01, dtype=precision.dtype, device=place)
    states = torch.full((tokens, known.hidden), 0.01, dtype=precision.dtype, device=place)
    weight.requires_grad_(trained)
    states.requires_grad_(True)
    labels = torch.zeros(tokens, dtype=torch.long, device=place)

    def once() -> None:
        apply_head(states, weight, None, labels, chunk_tokens=tokens).sum().backward()

    return _median(once, precision) / tokens * known.vocab / rows


def _median(once: Callable[[], None], precision: Precision, times: int = 3) -> float:
    once()
    seconds = []
    for _ in range(times):
        clock = _Clock(precision)
        once()
        seconds.append(clock.seconds())
    return statistics.median(seconds)


class _Clock:
    """Seconds since it was made; other programs' share of the processor is left out.

    A processor that is busy with something else is busy now, not for the whole run. With several
    threads their sum exceeds the time that passes, which then counts.
    """

    def __init__(self, precision: Precision) -> None:
        self._device = precision.device
        self._wait()
        self._passed, self._worked = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        self._wait()
        passed = time.perf_counter() - self._passed
        if self._device.type != "cpu":
            return passed
        return min(passed, time.process_time() - self._worked)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
