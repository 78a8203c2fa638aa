"""What one micro-batch costs in memory, measured on the code itself: a step without numbers.

The model of the run is built without memory, its layers are thinned to one of each kind, and a
forward and a backward pass run on pretended tensors (`compute.pretend`). What each layer leaves
behind, and how much more it holds for a moment, is read off between the layers; so the figures
follow whatever the functions really save, of any architecture. Two sizes of micro-batch give what
grows with the tokens and what does not.

Shape letters: T tokens of a micro-batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute import chance
from tunesmith.compute.attention import decoder
from tunesmith.compute.fused import blocks
from tunesmith.compute.pretend import Counter, pretending, put_on
from tunesmith.models import acting
from tunesmith.types import Batch, Loss


class Costs(NamedTuple):
    """Bytes of one layer, for one micro-batch."""

    kept: float
    """What it leaves behind for the backward pass."""
    forward: float
    """The most that lives during its forward pass, beyond what lived before."""
    backward: float
    """The most that lives during its backward pass, its own gradients among it, beyond what lived
    before."""
    gradients: float = 0.0
    """Of its weights: what its backward pass leaves."""


class Measured(NamedTuple):
    """Bytes of one micro-batch of some size."""

    plain: tuple[Costs, ...]
    """Of each layer, where its activations are kept."""
    again: tuple[Costs, ...]
    """Of each layer, where they are computed again."""
    below: float
    """What embedding and positions leave behind."""
    head_kept: float
    """What everything above the layers leaves behind."""
    head: float
    """The most that lives there, forward or backward, beyond what the layers left."""
    carried: float
    """What comes down to the highest layer: the gradient of its output, and of weights above."""
    bottom: float = 0.0
    """The most that lives in the backward pass of what lies below the layers, beyond that."""
    products: float = 0.0
    """Kinds of matrix products in 16 bits; each has another kernel for each number of tokens."""


class Setting(NamedTuple):
    """What is rehearsed."""

    model: Any
    """On the meta device, with what is trained marked; it is left as it is."""
    dtype: torch.dtype
    """Of the weights that are not trained."""
    device: str
    """"cpu" or "cuda"."""
    context: Callable[[Any], AbstractContextManager[Any]]
    """What a forward pass runs in."""
    loss_of: Callable[[Any, Batch], Loss]
    trained_share: float
    """Of the tokens, 0 to 1."""
    longest: int
    """Tokens of a document."""
    fed: bool = False
    """Whether something learns whose output stands among the embeddings: gradients go all the way
    down then, whatever is frozen."""


class Profile(NamedTuple):
    """Measured at two sizes."""

    tokens: tuple[int, int]
    measured: tuple[Measured, Measured]

    @classmethod
    def of(cls, lists: Any) -> Profile:
        """From what JSON makes of one."""
        (small, large), measured = lists
        one, two = (
            Measured(tuple(Costs(*c) for c in plain), tuple(Costs(*c) for c in again), *rest)
            for plain, again, *rest in measured
        )
        return cls((small, large), (one, two))

    def at(self, tokens: int) -> Measured:
        """For a micro-batch of so many tokens: along the line through both."""
        (t1, t2), (one, two) = self.tokens, self.measured
        part = (tokens - t1) / (t2 - t1)
        return Measured(
            *(_between(a, b, part) for a, b in zip(one, two, strict=True))  # pyright: ignore
        )


def rehearse(setting: Setting, *, tokens: int) -> Profile:
    """Costs of micro-batches around a size.

    Args:
        setting: what is rehearsed.
        tokens: of the larger micro-batch; the other has half as many.
    """
    sizes = (max(tokens // 2, 16), max(tokens, 32))
    model = copy.deepcopy(setting.model)
    kinds, place = _thin(model, fed=setting.fed)
    with pretending() as counter, chance.aside():
        put_on(model, setting.device, setting.dtype)
        blocks.fuse(model)
        model.train()
        chance.seek(seed=0, step=1)
        found = [_measure(model, setting, size, counter) for size in sizes]
    whole = [
        m._replace(
            plain=tuple(m.plain[place[kind]] for kind in kinds),
            again=tuple(m.again[place[kind]] for kind in kinds),
        )
        for m in found
    ]
    return Profile(sizes, (whole[0], whole[1]))


def taken_past(model: Any) -> list[str]:
    """Kinds of layer whose weights the model takes past their adapters; see `models.acting`.

    Args:
        model: on the meta device, with its adapters; it is left as it is.
    """
    model = copy.deepcopy(model)
    _thin(model)
    with pretending(), chance.aside():
        put_on(model, "cpu", torch.float32)
        return acting.taken_past(model.eval(), _documents("cpu", tokens=24, longest=24, trained=24))


def layers_of(model: Any) -> nn.ModuleList:
    """The decoder's layers."""
    body, count = decoder(model), model.config.get_text_config().num_hidden_layers
    for module in body.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise LookupError(f"{type(model).__name__} has no list of {count} layers")


def gradients_of(module: nn.Module) -> int:
    """Bytes of the gradients of what a module trains, in fp32."""
    return 4 * sum(p.numel() for p in module.parameters() if p.requires_grad)


def _thin(model: Any, *, fed: bool = False) -> tuple[list[Any], dict[Any, int]]:
    """Leave one layer of each kind; (kind of every layer, where each kind is measured)."""
    config, layers = model.config.get_text_config(), layers_of(model)
    learns = [any(p.requires_grad for p in layer.parameters()) for layer in layers]
    first = learns.index(True) if any(learns) else len(layers)
    inside = {id(p) for layer in layers for p in layer.parameters()}
    lower = [p for p in decoder(model).parameters() if id(p) not in inside]
    if fed or any(p.requires_grad for p in lower):
        first = -1
    kinds = [_kind(layer, (i > first) - (i < first)) for i, layer in enumerate(layers)]
    chosen: list[int] = []
    for i, kind in enumerate(kinds):
        before = [j for j in chosen if kinds[j] == kind]
        # without gradient what comes in is held by nobody but the one who handed it in: the first
        # layer of all does not show it
        if not before or (len(before) == 1 and i < first):
            chosen.append(i)
    place = {kinds[i]: number for number, i in enumerate(chosen)}
    types = getattr(config, "layer_types", None)
    if len(chosen) < len(layers):
        layers._modules = {str(n): layers[i] for n, i in enumerate(chosen)}
        config.num_hidden_layers = len(chosen)
        if types and len(config.layer_types) != len(chosen):  # some count the layers themselves
            config.layer_types = [types[i] for i in chosen]
    return kinds, place


def _kind(layer: nn.Module, above: int) -> Any:
    """Layers with one answer cost the same."""
    shapes = tuple((n, tuple(p.shape), p.requires_grad) for n, p in layer.named_parameters())
    marks = tuple(
        (name, key, value)
        for name, module in layer.named_modules()
        for key, value in sorted(vars(module).items())
        if isinstance(value, int | float | str | None)
        and not key.startswith("_")
        and key not in ("layer_idx", "layer", "layer_number", "idx")
    )
    return shapes, marks, above


def _measure(model: Any, setting: Setting, tokens: int, counter: Counter) -> Measured:
    counter.products.clear()
    once = _once(model, setting, tokens, counter, again=False)
    again = _once(model, setting, tokens, counter, again=True)
    return once._replace(again=again.plain, products=len(counter.products))


def _once(model: Any, setting: Setting, tokens: int, counter: Counter, *, again: bool) -> Measured:
    """One forward and backward pass with all layers kept, or all computed again, as `plain`."""
    layers = layers_of(model)
    chance.enable_checkpointing(model, None if again else 0)
    batch = _batch(setting, tokens)
    watch = _Watch(counter, len(layers))
    hooks = [
        layer.register_forward_pre_hook(partial(watch.enters, number), with_kwargs=True)
        for number, layer in enumerate(layers)
    ]
    hooks.append(layers[-1].register_forward_hook(watch.leaves))
    if setting.fed:
        hooks.append(model.get_input_embeddings().register_forward_hook(_fed))
    start = counter.mark()
    try:
        with setting.context(model):
            loss = setting.loss_of(model, batch)
        above, top = counter.live, counter.peak
        counter.mark()
        if loss.total.requires_grad:
            loss.total.backward()
    finally:
        for hook in hooks:
            hook.remove()
    watch.ended()
    for parameter in model.parameters():
        parameter.grad = None
    kept = [b - a for a, b in zip(watch.before, watch.before[1:], strict=False)]
    costs = tuple(
        Costs(kept[i], watch.forward[i] - watch.before[i], watch.backward[i], gradients_of(layer))
        for i, layer in enumerate(layers)
    )
    after = watch.before[-1]
    head = max(top, watch.top or counter.peak) - after
    carried = max(0.0, (watch.down if watch.down is not None else above) - after)
    below, head_kept = watch.before[0] - start, above - after
    return Measured(costs, (), below, head_kept, head, carried, watch.bottom)


def _fed(_module: Any, _args: Any, out: Tensor) -> Tensor:
    return out if out.requires_grad else out.detach().requires_grad_()


class _Watch:
    """Reads the counter when a layer begins, and when its backward pass does."""

    def __init__(self, counter: Counter, layers: int) -> None:
        self.counter = counter
        self.before: list[float] = []
        """What lived before each layer, and after the last."""
        self.forward: list[float] = []
        """The most that lived in each layer's forward pass."""
        self.backward = [0.0] * layers
        """The most in each layer's backward pass, beyond what lived at its beginning."""
        self.top: float | None = None
        self.down: float | None = None
        """What lived when the backward pass came to the highest layer."""
        self.bottom = 0.0
        """The most below the lowest layer, beyond what lived when the backward pass came there."""
        self._at: tuple[int, float] | None = None

    def enters(self, number: int, _module: Any, args: Any, kwargs: Any) -> None:
        if len(self.before) > number:  # computed again, in the backward pass
            return
        if number:
            self.forward.append(self.counter.peak)
        self.before.append(self.counter.mark())
        hidden = args[0] if args else kwargs.get("hidden_states")
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(partial(self._grad, number - 1))

    def leaves(self, _module: Any, _args: Any, out: Any) -> None:
        if self.top is not None or len(self.forward) == len(self.backward):
            return
        self.forward.append(self.counter.peak)
        self.before.append(self.counter.mark())
        hidden = out[0] if isinstance(out, tuple) else out
        if hidden.requires_grad:
            hidden.register_hook(partial(self._grad, len(self.backward) - 1))

    def _grad(self, below: int, _gradient: Tensor) -> None:
        """The gradient of what lies above layer `below` is there: that layer begins."""
        if self.down is None:
            self.top, self.down = self.counter.peak, self.counter.live
        self.ended()
        self._at = below, self.counter.mark()

    def ended(self) -> None:
        """The layer whose backward pass ran is done."""
        if self._at is not None:
            number, start = self._at
            if number >= 0:
                self.backward[number] = self.counter.peak - start
            else:
                self.bottom = self.counter.peak - start
        self._at = None


def _batch(setting: Setting, tokens: int) -> Batch:
    trained = max(1, int(tokens * setting.trained_share))
    return _documents(setting.device, tokens=tokens, longest=setting.longest, trained=trained)


def _documents(device: str, *, tokens: int, longest: int, trained: int) -> Batch:
    ends = [*range(0, tokens, min(longest, tokens)), tokens]
    place = torch.device(device)
    ids_T, predict_P = (torch.zeros(n, dtype=torch.int64, device=place) for n in (tokens, trained))
    return Batch(
        ids_T=ids_T,
        positions_T=torch.zeros_like(ids_T),
        offsets=tuple(ends),
        predict_P=predict_P,
        labels_P=torch.zeros_like(predict_P),
        rows=tuple(range(len(ends) - 1)),
    )


def _between(one: Any, two: Any, part: float) -> Any:
    if isinstance(one, tuple):
        values = [_between(a, b, part) for a, b in zip(one, two, strict=True)]
        return Costs(*values) if isinstance(one, Costs) else tuple(values)
    return max(0.0, one + (two - one) * part)


def optimizer_bytes(
    build: Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer], shapes: Sequence[Any]
) -> tuple[int, int]:
    """(what an optimizer keeps for parameters, what it holds for a moment more in a step).

    Args:
        build: from named parameters to the optimizer.
        shapes: (name, shape) of each.
    """
    with pretending() as counter:
        parameters = {name: nn.Parameter(torch.empty(shape)) for name, shape in shapes}
        for parameter in parameters.values():
            parameter.grad = torch.empty_like(parameter)
        start = counter.mark()
        optimizer = build(parameters)  # some keep what they need from the start
        optimizer.step()
        kept = counter.live - start
        middle = counter.mark()
        optimizer.step()
        return kept, counter.peak - middle
