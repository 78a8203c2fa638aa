"""From a run and what was found to what it needs of memory, component by component.

No weight is read: the model is the one on the meta device that the plan counted its parameters
on. What does not depend on the layout is added up from shapes; what a micro-batch costs is
rehearsed (`rehearse.py`). Where the code of a model asks for numbers that are not there, a formula
stands in, and the plan says so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn

from tunesmith.compute.bnb import library
from tunesmith.compute.lora import LoraLinear
from tunesmith.config.optimizers import OPTIMIZERS
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError
from tunesmith.models import quantize
from tunesmith.models.adapter_spec import token_modules
from tunesmith.models.adapters import trainable
from tunesmith.models.parts import parts
from tunesmith.stages import sft
from tunesmith.training.material import Material
from tunesmith.training.memory import machine
from tunesmith.training.memory.rehearse import (
    Costs,
    Measured,
    Profile,
    Setting,
    layers_of,
    optimizer_bytes,
    rehearse,
)
from tunesmith.training.memory.solve import (
    MICRO_BATCH_TOKENS,
    USUAL,
    Fixed,
    Layout,
    Need,
    Use,
    choose_layout,
    need,
)
from tunesmith.training.memory.towers import Towers, looks
from tunesmith.training.memory.towers import rehearse as rehearse_towers
from tunesmith.training.optim import optimizer_for
from tunesmith.training.remembered import remembered
from tunesmith.training.sights import sample_of

_FP32 = 4
_LOOKED_AT = 4
"""Media of the data that towers are rehearsed on."""
_LEAST_IN_8_BITS = 4096
"""Numbers of a parameter whose state bitsandbytes holds in 8 bits."""


class Estimate(NamedTuple):
    """What a run needs, for every layout of it."""

    fixed: Fixed
    profile: Profile
    device: str
    """"cpu" or "cuda"."""
    layers: int
    note: str = ""
    """Where a formula stands in for the rehearsal, or nothing does."""
    towers: Towers = Towers()

    def need(self, tokens: int, recompute: int, use: Use = USUAL) -> Need:
        """Of a micro-batch of so many tokens with so many layers computed again."""
        return need(
            self.fixed,
            self.profile,
            tokens=tokens,
            recompute=recompute,
            device=self.device,
            use=use,
            beside=self.towers.at(tokens, again=recompute > 0),
        )

    def layout(self, *, longest: int, step_tokens: int, may_recompute: bool, free: int) -> Layout:
        """See `solve.choose_layout`."""
        return choose_layout(
            self.need,
            device=self.device,
            layers=self.layers,
            longest=longest,
            step_tokens=step_tokens,
            may_recompute=may_recompute,
            free=free,
        )

    def keeping(
        self, layout: Layout, *, free: int, tokens: int | None = None, use: Use = USUAL
    ) -> Layout:
        """A layout with what it needs by today's estimate.

        Args:
            layout: which.
            free: bytes that the run could have in all.
            tokens: of the fullest micro-batch that the run has; `None`: as many as it may hold.
            use: what else is known of its micro-batches.
        """
        found = self.need(layout.tokens if tokens is None else tokens, layout.recompute, use)
        return layout._replace(
            needed=found.total, free=free, components=found.components, moment=found.moment
        )


def needs(run: Run, material: Material, *, device: str | None = None) -> Estimate:
    """What a run needs on a kind of device.

    Args:
        run: what was asked.
        material: what was found.
        device: "cpu" or "cuda", which need not be there; `None`: the run's own.
    """
    kind = device or material.precision.device.type
    model = material.skeleton
    setting, share = _setting(run, material, kind)
    profile, note = _profile(run, material, setting, kind=kind, share=share)
    beside, read, untold = _towers(run, material, setting)
    fixed = _fixed(run, material, model, kind)._replace(media=read if kind == "cpu" else 0)
    told = "; ".join(filter(None, (note, untold)))
    return Estimate(fixed, profile, kind, len(layers_of(model)), told, beside)


def _fixed(run: Run, material: Material, model: Any, kind: str) -> Fixed:
    _bring(run)
    learned = trainable(model)
    trained = sum(p.numel() for p in learned.values()) * _FP32
    kept, moment = _optimizer(run, model, learned)
    weights, spelled = _weights(run, material, model)
    return Fixed(
        process=machine.process_bytes(kind),
        weights=weights,
        trained=trained,
        gradients=trained,
        optimizer=kept,
        step=moment,
        spelled=spelled,
    )


def _bring(run: Run) -> None:
    """Import what the steps will use: what it takes is the process's."""
    quantization = run.model.quantization
    codes = quantization is not None and quantization.kind != "fp8"
    if codes or OPTIMIZERS[run.train.optimizer].extra:
        with suppress(ConfigError):  # a plan for another machine needs none; a run refuses later
            library("quantization_bit", instead="remove it")


def _weights(run: Run, material: Material, model: Any) -> tuple[int, int]:
    """Of what is not trained, each parameter once: (bytes, bytes spelled out for a moment)."""
    each, quantization = material.precision.dtype.itemsize, run.model.quantization
    dense = codes = spelled = 0
    seen: set[int] = set()
    outside = token_modules(model)
    for name, module in model.named_modules():
        for key, weight in module._parameters.items():
            if weight is None or weight.requires_grad or id(weight) in seen:
                continue
            seen.add(id(weight))
            linear = isinstance(module, nn.Linear | LoraLinear) and key == "weight"
            if quantization is not None and linear and name not in outside:
                codes += weight.numel()
                dense_for_a_moment = weight.numel() * each if quantization.kind != "fp8" else 0
                spelled = max(spelled, dense_for_a_moment)
            else:
                dense += weight.numel() * each
    return dense + (quantize.bytes_of(codes, quantization) if quantization else 0), spelled


def _optimizer(run: Run, model: Any, learned: dict[str, nn.Parameter]) -> tuple[int, int]:
    """(what it keeps, what it holds for a moment more), by a step without numbers."""
    shapes = [(name, tuple(p.shape)) for name, p in learned.items()]

    def build(parameters: dict[str, nn.Parameter]) -> Any:
        return optimizer_for(
            run.train.optimizer,
            parameters,
            learning_rate=run.train.learning_rate,
            weight_decay=run.train.weight_decay,
            betas=(run.train.adam_beta1, run.train.adam_beta2),
            epsilon=run.train.adam_epsilon,
            args=run.train.optim_args,
            by_token=[f"{name}.weight" for name in token_modules(model)],
        )

    settings = [run.train.optimizer, run.train.weight_decay > 0, run.train.optim_args, shapes]
    try:
        key = json.dumps(["optimizer", settings], default=str)
        kept, more = remembered(key, lambda: optimizer_bytes(build, shapes))
        return int(kept), int(more)
    except Exception:  # kernels of other libraries want memory to work on
        by_token = {f"{name}.weight" for name in token_modules(model)}
        least = (run.train.optim_args or {}).get("min_8bit_size", _LEAST_IN_8_BITS)
        return optimizer_by_formula(
            run.train.optimizer, shapes, by_token=by_token, least=int(least)
        ), 0


def optimizer_by_formula(
    kind: str,
    shapes: Sequence[tuple[str, Sequence[int]]],
    *,
    by_token: Collection[str],
    least: int = _LEAST_IN_8_BITS,
) -> int:
    """Bytes that an optimizer of bitsandbytes keeps.

    In 8 bits: a byte for each number and state and one fp32 scale for a block of 256; but for
    matrices with a row for each token, and for what has fewer numbers than `least`, 32 bits.

    Args:
        kind: name of the optimizer.
        shapes: (name, shape) of each parameter.
        by_token: names of embedding and head.
        least: numbers of a parameter from which on it is held in 8 bits.
    """
    states = 3 if "ademamix" in kind else 1 if "lion" in kind or "rmsprop" in kind else 2
    found = 0.0
    for name, shape in shapes:
        count, of_tokens = prod(shape), name in by_token or name.endswith(".token_rows")
        few = "8bit" in kind and not of_tokens and count >= least
        found += states * count * ((1 + _FP32 / 256) if few else _FP32)
    return int(found)


def _setting(run: Run, material: Material, kind: str) -> tuple[Setting, float]:
    """(what is rehearsed, share of the tokens that is trained)."""
    train, model, precision = material.data.train, material.skeleton, material.precision
    share = float(train.num_trained.sum()) / max(int(train.lengths.sum()), 1)
    if kind != precision.device.type or material.elsewhere:  # what is not here is rehearsed here
        precision = precision._replace(device=torch.device("cpu"))
    of = parts(model)
    fed = train.num_media.any() and any(
        of(name) != "language_model" for name, p in model.named_parameters() if p.requires_grad
    )
    setting = Setting(
        model=model,
        dtype=precision.dtype,
        device=precision.device.type,
        context=precision.context,
        loss_of=sft.loss_of(),
        trained_share=-(-share * 8 // 1) / 8,
        longest=1 << max(int(train.lengths.max()) - 1, 15).bit_length(),
        fed=bool(fed),
    )
    return setting, share


def _key(setting: Setting, *more: Any) -> str:
    """All that a rehearsal depends on."""
    model = setting.model
    learned = [name for name, p in model.named_parameters() if p.requires_grad]
    shapes = [list(p.shape) for p in model.parameters()]
    config = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"}
    said = [config, learned, shapes, str(setting[1:3]), setting[5:], *more]
    return json.dumps(said, default=str)


def _profile(
    run: Run, material: Material, setting: Setting, *, kind: str, share: float
) -> tuple[Profile, str]:
    """(of one micro-batch, a note where it is by formula)."""
    most = int(material.data.train.lengths.max())
    tokens = max(most, min(MICRO_BATCH_TOKENS[kind], run.global_batch() * most))
    size = max(1 << (tokens - 1).bit_length(), setting.longest)
    try:
        made = remembered(_key(setting, size), lambda: rehearse(setting, tokens=size))
        return Profile.of(made), ""
    except Exception as error:  # the code of a model may ask for numbers that are not there
        told = f"memory is estimated by a formula here ({_told(error)})"
        return _by_formula(material, share), told


def _towers(run: Run, material: Material, setting: Setting) -> tuple[Towers, int, str]:
    """(of the media of a micro-batch, bytes read for two steps, a note where it is not known)."""
    family, train = material.family, material.data.train
    media = sample_of(train, _LOOKED_AT) if family is not None else []
    if run.media.cache_vision_features:  # what is kept of them is read in their place
        media = [medium for medium in media if medium.kind != "image"]
    if family is None or not media:
        return Towers(), 0, ""
    seen = looks(family, media)
    with_media = train.num_media > 0
    per_token = float(train.num_media.sum()) / max(int(train.lengths[with_media].sum()), 1)
    of_step = run.global_batch() * float(train.num_media.mean())
    if run.dataset.packing:
        of_step = run.global_batch() * run.dataset.cutoff_len * per_token
    size = sum(t.nbytes for look in seen for t in look.all.values()) / len(media)
    read = int(2 * of_step * size)
    try:
        key = _key(setting, "towers", [look.shapes() for look in seen])
        found = remembered(key, lambda: rehearse_towers(setting, seen))
    except Exception as error:  # the code of a model may ask for numbers that are not there
        return Towers(), read, f"what towers take is not in the memory here ({_told(error)})"
    fixed, each = (tuple(Costs(*c) for c in pair) for pair in found)
    return Towers(fixed, each, per_token), read, ""  # pyright: ignore[reportArgumentType]


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def _by_formula(material: Material, share: float) -> Profile:
    """A decoder of the usual kind: inputs of norms, projections and attention (about ten times
    the hidden width), keys and values before and after rotation, gate, up, their activation and
    product; of the head a chunk of 16 Mi logits, three times in fp32.
    """
    known, each = material.facts, material.precision.dtype.itemsize
    intermediate = known.intermediate or 4 * known.hidden
    wide = 10 * known.hidden + 4 * known.kv_heads * known.head_dim + 5 * intermediate

    def at(tokens: int) -> Measured:
        layer, hidden = tokens * each * wide, tokens * each * known.hidden
        logits = 3 * _FP32 * min(int(tokens * share), max(16, (1 << 24) // known.vocab))
        return Measured(
            plain=(Costs(layer, layer, layer / 2),) * known.layers,
            again=(Costs(hidden, layer, 1.5 * layer),) * known.layers,
            below=hidden,
            head_kept=hidden,
            head=logits * known.vocab + 2 * hidden,
            carried=hidden,
        )

    return Profile((1024, 2048), (at(1024), at(2048)))
