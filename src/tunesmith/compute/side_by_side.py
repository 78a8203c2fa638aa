"""Documents one below another, for models that cannot read several as one text.

Layers that carry state from token to token (linear attention, SSM, short convolutions) or attend in
chunks would carry it from one document into the next. Documents of like length are computed as one
rectangle instead, the shorter ones filled at their ends: in a causal model nothing looks there.
Whether a model keeps to that is probed; if not, documents are computed one by one.

Shape letters: T tokens of the batch, W width, B documents, L tokens of the longest.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.compute import chance, routing
from tunesmith.compute.attention import decoder
from tunesmith.compute.pretend import pretended
from tunesmith.types import Batch

FILL = 0.25
"""Most positions that a document is filled up by, as a share of its tokens."""
_known: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def hidden(model: Any, batch: Batch) -> Tensor:
    """Hidden states of every token, (T, W), as if each document had been computed alone."""
    lengths = np.diff(batch.offsets).tolist()
    groups = together(lengths) if allowed(model) else [[i] for i in range(len(lengths))]
    device = batch.ids_T.device
    parts, places = [], []
    for rows in groups:
        longest = max(lengths[row] for row in rows)
        along_L = np.arange(longest)
        ends_B1 = np.array([lengths[row] for row in rows])[:, None]
        starts_B1 = np.array([batch.offsets[row] for row in rows])[:, None]
        place_BL = starts_B1 + np.minimum(along_L, ends_B1 - 1)
        real = along_L < ends_B1  # found here, not asked of the device
        at_BL = torch.from_numpy(place_BL).to(device)
        positions_BL = torch.from_numpy(along_L).to(device).expand(place_BL.shape)
        with chance.only(at_BL.flatten()), routing.tokens():
            out_BLW = _states(decoder(model), batch.ids_T[at_BL], positions_BL)
        kept = torch.from_numpy(np.flatnonzero(real)).to(device)
        routing.keep(kept)
        parts.append(out_BLW.flatten(0, 1).index_select(0, kept))
        places.append(place_BL[real])
    order_T = torch.from_numpy(np.concatenate(places).argsort()).to(device)
    routing.order(order_T)
    return torch.cat(parts).index_select(0, order_T)


def together(lengths: Sequence[int]) -> list[list[int]]:
    """Documents of like length: none is filled up by more than `FILL` of its tokens.

    >>> together([10, 3, 9, 3, 10])
    [[0, 4, 2], [1, 3]]
    """
    groups: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if groups and longest <= (1 + FILL) * lengths[row]:
            groups[-1].append(row)
        else:
            groups.append([row])
            longest = lengths[row]
    return groups


@torch.no_grad()
def allowed(model: Any) -> bool:
    """Whether the model gets for a document beside another one what it gets for it alone."""
    if pretended(model):
        return True
    if model not in _known:
        _known[model] = _probe(model)
    return _known[model]


def _probe(model: Any) -> bool:
    """A document beside a longer one, and beside another of that length, against itself alone."""
    device, size = next(model.parameters()).device, model.config.get_text_config().vocab_size
    short, long, other = (
        torch.tensor(ids, device=device) % size
        for ids in ((11, 5, 23, 7, 42), (19, 2, 29, 13, 37, 4, 41), (3, 31, 8, 17, 6, 30, 9))
    )
    filled = torch.cat((short, short[-1:].expand(2)))
    body, training = decoder(model), model.training
    positions = torch.arange(7, device=device).expand(2, 7)
    model.eval()
    try:
        alone = [_states(body, ids[None], positions[:1, : len(ids)])[0] for ids in (short, long)]
        beside = _states(body, torch.stack((filled, long)), positions)
        again = _states(body, torch.stack((filled, other)), positions)
    except Exception:  # whatever the code of a model cannot do with several rows
        return False
    finally:
        model.train(training)
    near = 1e-4 if alone[0].dtype == torch.float32 else 0.06
    pairs = ((beside[0, :5], alone[0], near), (beside[1], alone[1], near))
    pairs += ((beside[0, :5], again[0, :5], near / 10),)
    return all(bool((a - b).norm() <= within * b.norm()) for a, b, within in pairs)


def _states(body: nn.Module, ids_BL: Tensor, positions_BL: Tensor) -> Tensor:
    out = body(input_ids=ids_BL, position_ids=positions_BL, attention_mask=None, use_cache=False)
    return out.last_hidden_state
