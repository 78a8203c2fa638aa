"""Next-token logits of many requests in one forward pass, each as if it were alone.

`Packed` lays the new tokens of all requests end to end, without padding; their matrix products
share the weights, their attention does not share anything (`compute.cached_attention`). Products
of very few rows are computed by other kernels, so that there are never fewer than `ROWS`: then a
request gets the same logits to the last bit whatever is computed beside it, as far as a row of a
product does not depend on the number of rows. Whether that is so on this machine is tried out.

`Plain` calls the model once for every request, with transformers' own cache: for layers that carry
state, and attention that is not computed here.

Shape letters: T new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache

from tunesmith.compute.attention import documents
from tunesmith.compute.cached_attention import Kept, Piece, forget, tell
from tunesmith.compute.seen import suited
from tunesmith.types import Seen

ROWS = 4
"""Rows from which on a product on a processor computes each row in the same way, in fp32 as in
bf16 (measured with 1 to 64 rows; docs/log.md)."""
_NEAR = {torch.float32: 1e-4}  # of the norm; 16 bits: 0.06


class Forward(Protocol):
    """A model that goes on with many requests."""

    together: bool
    """Whether requests that share a pass cost less than a pass for each."""

    def begin(self) -> Any:
        """What one request keeps between passes."""
        ...

    def extend(self, new: Sequence[tuple[Any, Sequence[int]]]) -> list[Tensor]:
        """Add tokens to requests; the logits (V,) f32 after the last token of each.

        Where that fails and requests go together, none of them has been added to.
        """
        ...


class _Step(Cache):
    """Stands for the cache in one forward pass."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(layers=[])
        self._pieces = pieces

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        tell(self._pieces, layer_idx, key_states, value_states)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are given; nothing else asks


class Packed:
    """All requests in one pass; see above.

    Args:
        model: runs with the attention of `compute.attention`.
        rows: the fewest rows of a product.
    """

    together = True

    def __init__(self, model: Any, rows: int = ROWS) -> None:
        self._model, self._rows = model, rows

    def begin(self) -> Kept:
        """Nothing is kept yet."""
        return Kept()

    @torch.inference_mode()
    def extend(self, new: Sequence[tuple[Kept, Sequence[int]]]) -> list[Tensor]:
        """See `Forward`."""
        pieces = [Piece(kept, len(ids)) for kept, ids in new]
        lengths = [kept.length for kept, _ in new]
        ids = [i for _, added in new for i in added]
        places = [p for kept, added in new for p in range(kept.length, kept.length + len(added))]
        ends = torch.tensor([len(added) for _, added in new]).cumsum(0) - 1
        short = max(self._rows - len(ids), 0)
        if short:
            pieces.append(Piece(None, short))
            ids, places = [*ids, *[0] * short], [*places, *[0] * short]
        # as many logits as rows of a product need, too; what is not a request's is dropped
        wanted = torch.cat((ends, ends.new_zeros(max(self._rows - len(ends), 0))))
        device = self._model.device
        forget()
        try:
            out = self._model(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([places], device=device),
                attention_mask=documents((0, len(ids))),
                past_key_values=_Step(pieces),
                use_cache=True,
                logits_to_keep=wanted.to(device),
            )
        except Exception:
            for (kept, _), length in zip(new, lengths, strict=True):
                kept.cut(length)
            raise
        finally:
            forget()
        return list(out.logits[0, : len(new)].float())


class _Own:
    """The cache of one request, or all its tokens where the model has none."""

    def __init__(self, seen: Seen | None = None) -> None:
        self.cache: Any = None
        self.ids: list[int] = []
        self.seen = seen
        self.following: int | None = None
        """Position of the next token, where it is not the number of those before."""


class Plain:
    """One request after another; see above."""

    together = False

    def __init__(self, model: Any) -> None:
        self._model = model

    def begin(self, seen: Seen | None = None) -> _Own:
        """Nothing is kept yet.

        Args:
            seen: media of the prompt, whose first pass holds all of it then.
        """
        return _Own(seen)

    @torch.inference_mode()
    def extend(self, new: Sequence[tuple[_Own, Sequence[int]]]) -> list[Tensor]:
        """See `Forward`."""
        return [self._one(own, list(ids)) for own, ids in new]

    def _one(self, own: _Own, ids: list[int]) -> Tensor:
        own.ids += ids
        fresh = own.ids if own.cache is None else ids
        more = self._beside(own, len(fresh)) if own.seen else {}
        # no mask: one document without padding is all that there is
        out = self._model(
            input_ids=torch.tensor([fresh], device=self._model.device),
            past_key_values=own.cache,
            use_cache=True,
            logits_to_keep=1,
            **more,
        )
        # a few kinds of model (mamba) keep their state elsewhere: slow, but right
        own.cache = getattr(out, "past_key_values", None)
        return out.logits[0, -1].float()

    def _beside(self, own: _Own, count: int) -> dict[str, Tensor]:
        """What goes beside the ids of a prompt with media, or of a token that follows it."""
        seen, device = own.seen, self._model.device
        assert seen is not None
        if own.cache is None:
            positions, inputs = seen.positions, seen.inputs
            own.following = None if positions is None else int(positions.max()) + 1
        else:
            positions, inputs = None, seen.later
            if own.following is not None:
                rows = 1 if seen.positions is None else seen.positions.dim()
                positions = torch.arange(own.following, own.following + count)
                positions = positions.expand(3, -1) if rows == 2 else positions
                own.following += count
        more = suited(self._model, inputs)
        if positions is not None:
            places = positions[None] if positions.dim() == 1 else positions[:, None]
            more["position_ids"] = places.to(device)
        return more


def forward_for(model: Any) -> Forward:
    """The packed pass where the model's attention allows it, else one for each request."""
    return Packed(model) if packs(model) else Plain(model)


@torch.inference_mode()
def packs(model: Any) -> bool:
    """Whether requests that share passes, in chunks, get the logits that they get alone."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    long, short = ([i % vocabulary for i in ids] for ids in ((11, 5, 23, 7, 42, 3), (31, 8)))
    plain, packed = Plain(model), Packed(model)
    try:
        a, b = packed.begin(), packed.begin()
        packed.extend([(a, long[:4])])
        packed.extend([(b, short[:1]), (a, long[4:5])])
        found = packed.extend([(a, long[5:]), (b, short[1:])])
    except Exception:  # models ask caches for whatever they like
        return False
    near = _NEAR.get(model.dtype, 0.06)
    return all(
        bool((there - here).norm() <= near * there.norm())
        for here, ids in zip(found, (long, short), strict=True)
        for there in plain.extend([(plain.begin(), ids)])
    )


@torch.inference_mode()
def alone_or_not(forward: Forward) -> bool:
    """Whether a request's logits are the same to the last bit whatever shares its passes."""
    ids = [17, 3, 29, 11, 5]

    def said(beside: int) -> Tensor:
        asked, others = forward.begin(), [forward.begin() for _ in range(beside)]
        forward.extend([(asked, ids)])
        for number, other in enumerate(others):
            forward.extend([(other, ids[: 1 + number % 5])])
        return forward.extend([*((other, [7]) for other in others), (asked, [13])])[-1]

    alone = said(0)
    return all(torch.equal(alone, said(beside)) for beside in (1, 4, 15))
