"""What the routers of a mixture of experts choose, and how far from even that is.

Routers are asked for their words while the layers run: forward hooks for the time of one pass, so
that layers which are computed again in the backward pass are not heard twice, and the gradient of
what was heard still goes through them.

Shape letters: T tokens, D documents, L layers with experts, E experts, K experts of a token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute.attention import decoder
from tunesmith.types import Batch

COEFFICIENT = "router_aux_loss_coef"
"""In the config of a model whose routers are balanced by a loss."""


class Choice(NamedTuple):
    """What the router of one layer said."""

    logits_TE: Tensor
    """Before the softmax."""
    chosen_TK: Tensor
    """Which experts a token goes to, int64."""


class Routing(NamedTuple):
    """What the routers of a batch chose."""

    aux: Tensor
    """Sum over documents of their trained tokens times `imbalance`, () f32, with gradient."""
    load_LE: Tensor
    """How many tokens went to each expert, f32."""
    entropy: Tensor
    """Of a router's distribution over experts, as a share of the largest (ln E), mean over layers,
    summed over tokens, () f32."""
    dropped: Tensor
    """Choices of experts that no expert has computed, () f32."""
    tokens: Tensor
    """() f32."""


def routers(model: Any) -> list[nn.Module]:
    """The routers of a model, layer by layer; empty: it has none, or none that say their logits.

    They are those whose logits transformers records, and return (logits, weights, chosen).
    """
    body = decoder(model)
    recorded = (getattr(body, "_can_record_outputs", None) or {}).get("router_logits")
    kind = getattr(recorded, "target_class", None)
    if kind is None or getattr(recorded, "index", 0) != 0:
        return []
    return [module for module in body.modules() if isinstance(module, kind)]


def balanced_by_loss(config: Any) -> bool:
    """Whether the routers of a model are balanced by a loss over a softmax of their logits.

    Others choose by sigmoids and a bias (DeepSeek-V3), which a loss over a softmax would disturb.
    """
    return getattr(config.get_text_config(), COEFFICIENT, None) is not None


class Heard:
    """What routers say during passes over the tokens of a batch.

    Args:
        count: how many routers there are.
    """

    def __init__(self, count: int) -> None:
        self._now: list[list[Choice]] = [[] for _ in range(count)]
        self._kept: list[list[Choice]] = [[] for _ in range(count)]
        self.listening = False

    def hear(self, layer: int, out: tuple[Tensor, ...]) -> None:
        """A router has spoken."""
        if not self.listening:  # to a probe of the model, which is no part of the batch
            return
        logits, chosen = out[0], out[-1]
        self._now[layer].append(
            Choice(logits.reshape(-1, logits.shape[-1]), chosen.reshape(-1, chosen.shape[-1]))
        )

    def keep(self, rows: Tensor | None = None) -> None:
        """The pass is over; of its tokens only `rows` are those of the batch."""
        for layer, said in enumerate(self._now):
            for choice in said:
                self._kept[layer].append(choice if rows is None else _rows(choice, rows))
            said.clear()

    def order(self, order_T: Tensor) -> None:
        """Tokens kept so far stand in this order in the batch."""
        self._kept = [[_rows(_joined(said), order_T)] for said in self._kept]

    def choices(self) -> list[Choice]:
        """Of each layer, in the order of the batch."""
        self.keep()
        return [_joined(said) for said in self._kept]


_hearing: ContextVar[Heard | None] = ContextVar("hearing", default=None)


@contextmanager
def hearing(model: Any) -> Iterator[Heard | None]:
    """Routers are heard while this lasts; `None`: the model has none."""
    found = routers(model)
    if not found:
        yield None
        return
    heard = Heard(len(found))

    def hook(layer: int) -> Any:
        return lambda _module, _args, out: heard.hear(layer, out)

    handles = [module.register_forward_hook(hook(n)) for n, module in enumerate(found)]
    before = _hearing.set(heard)
    try:
        yield heard
    finally:
        _hearing.reset(before)
        for handle in handles:
            handle.remove()


@contextmanager
def tokens() -> Iterator[None]:
    """What is computed meanwhile are tokens of the batch: whoever hears, listens."""
    heard = _hearing.get()
    if heard is None:
        yield
        return
    heard.listening = True
    try:
        yield
    finally:
        heard.listening = False


def keep(rows: Tensor) -> None:
    """Whoever lays tokens out otherwise: of the pass just made these are tokens of the batch."""
    heard = _hearing.get()
    if heard is not None:
        heard.keep(rows)


def order(order_T: Tensor) -> None:
    """Whoever lays tokens out otherwise: the order in which those kept stand in the batch."""
    heard = _hearing.get()
    if heard is not None:
        heard.order(order_T)


def routing(choices: Sequence[Choice], batch: Batch) -> Routing:
    """What the routers chose, counted.

    Args:
        choices: of each layer, for every token of the batch.
        batch: whose documents do not share their beginnings.
    """
    layers, (tokens, experts) = len(choices), choices[0].logits_TE.shape
    device = choices[0].logits_TE.device
    loads, entropy = [], torch.zeros((), device=device)
    for logits, chosen in choices:
        loads.append(_counted(chosen.flatten(), experts))
        log_p = logits.detach().float().log_softmax(1)
        entropy = entropy - (log_p.exp() * log_p).sum() / math.log(experts)
    load = torch.stack(loads)
    made = layers * tokens * choices[0].chosen_TK.shape[1]
    dropped = made - load.sum()
    if batch.until:
        aux = torch.zeros((), device=device)
    else:
        ends = torch.tensor(batch.offsets[1:], device=device)
        places = torch.bucketize(batch.predict_P, ends, right=True)
        trained_D = _counted(places, len(ends))
        aux = (imbalance(choices, batch.offsets) * trained_D).sum()
    return Routing(aux, load, entropy / layers, dropped, load.new_tensor(float(tokens)))


def imbalance(choices: Sequence[Choice], offsets: Sequence[int]) -> Tensor:
    """How uneven the load of the experts is in each document, (D,) f32, mean over the layers.

    E · Σ f · P over the experts, f being the share of a document's tokens that go to an expert and
    P the mean probability that its router gave the expert there (Switch Transformer,
    arXiv:2101.03961, equations 4 to 6; for K experts a token, f adds up to K). It is K where all is
    even. Taken over each document alone, it does not depend on what stands beside it.
    """
    experts = choices[0].logits_TE.shape[1]
    lengths = torch.tensor([b - a for a, b in pairwise(offsets)])
    lengths = lengths.to(choices[0].logits_TE.device)
    total = torch.zeros(len(lengths), device=lengths.device)
    for logits, chosen in choices:
        went = torch.zeros(logits.shape, device=logits.device)
        went.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.float32))
        f_DE = torch.segment_reduce(went, "mean", lengths=lengths)
        p_DE = torch.segment_reduce(logits.float().softmax(1), "mean", lengths=lengths)
        total = total + experts * (f_DE * p_DE).sum(1)
    return total / len(choices)


def _counted(numbers: Tensor, count: int) -> Tensor:
    """How often each number below `count` occurs, f32; the host need not wait for it."""
    ones = torch.ones_like(numbers, dtype=torch.float32)
    return ones.new_zeros(count).scatter_add_(0, numbers, ones)


def _rows(choice: Choice, rows: Tensor) -> Choice:
    return Choice(*(column.index_select(0, rows) for column in choice))


def _joined(said: Sequence[Choice]) -> Choice:
    if len(said) == 1:
        return said[0]
    return Choice(*(torch.cat(column) for column in zip(*said, strict=True)))
