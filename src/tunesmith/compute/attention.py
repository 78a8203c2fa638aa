"""Attention that never crosses a document, on every device, without an O(T²) mask.

The model is run with `attn_implementation="tunesmith"`. Where the documents of a batch begin
travels as the attention mask itself: a tiny integer tensor of four dimensions, which transformers
hands unchanged to every layer, which gradient checkpointing saves and gives back, and which no real
mask resembles. Without it (generation with a cache) masks and attention are transformers' own.
Which model is isolated how is found by a probe.

Shape letters: T tokens, D documents, L tokens of a document, H query heads, K key heads, E width
of a head.
"""

from __future__ import annotations

import weakref
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tunesmith.compute import cached_attention, flash_cpu, tree_attention, tree_flex, varlen
from tunesmith.compute.attention_kernels import FLASH
from tunesmith.compute.pretend import pretended
from tunesmith.errors import ModelError

NAME = "tunesmith"

Isolation = Literal["varlen", "per_document_forward"]


def register(kernel: str = "auto") -> str:
    """Make the attention known to transformers; the name to give as `attn_implementation`.

    Args:
        kernel: what computes it; see `attention_kernels`.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    # transformers reads "sdpa" in a name as its own, which it refuses for some models
    name = NAME if kernel == "auto" else f"{NAME}_{kernel.replace('sdpa', 'torch')}"
    AttentionInterface.register(
        name, attend if kernel == "auto" else partial(attend, kernel=kernel)
    )
    AttentionMaskInterface.register(name, sdpa_mask)
    return name


def documents(offsets: tuple[int, ...]) -> Tensor:
    """The attention mask that says where documents begin: (1, 1, 1, D + 1) int32, on the CPU."""
    return torch.tensor(offsets, dtype=torch.int32).view(1, 1, 1, -1)


def attend(  # noqa: PLR0917 (transformers calls it so)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    kernel: str = "auto",
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of one layer, as transformers' attention registry calls it.

    Args:
        module: the attention layer.
        query: (1, H, T, E); key and value (1, K, T, E), or longer with a cache.
        key: see query.
        value: see query.
        attention_mask: `documents(...)`, or a mask of transformers' own.
        dropout: refused above 0: results would depend on the layout of the batch.
        scaling: factor on the scores; E ** -0.5 when not given.
        sliding_window: a token sees itself and this many less one before it.
        softcap: cap of the scores (gemma2).
        s_aux: sink logit of each head, (H,) (gpt-oss).
        kernel: what was asked for; see `attention_kernels`.
        kwargs: whatever else models hand along.

    Returns:
        (1, T, H, E), and no weights.

    Raises:
        ModelError: the model asks for attention that is not computed here.
    """
    if dropout > 0:
        raise ModelError(
            f"attention_dropout of {type(module).__name__}",
            got=dropout,
            need="0: dropout of attention weights is not reproducible across batch layouts",
            hint="set attention_dropout to 0 in the model's config.json",
        )
    if kwargs.get("position_bias") is not None:
        raise ModelError(
            type(module).__name__, got="a position bias", need="plain causal attention"
        )
    rule = Rule(scaling, sliding_window, softcap, s_aux)
    exact = softcap is not None or s_aux is not None
    told = cached_attention.take()
    if told is not None:
        eager = partial(_eager, rule=rule) if exact else None
        return cached_attention.attend(
            query, told, scaling=scaling, window=sliding_window, eager=eager
        ), None
    if exact and kernel in FLASH:
        raise ModelError(
            type(module).__name__, got=f"a cap or a sink of the scores, and flash_attn: {kernel}",
            need="scores that it computes exactly", hint="flash_attn: auto",
        )  # fmt: skip
    if (
        attention_mask is None
        or attention_mask.dtype.is_floating_point
        or attention_mask.dtype == torch.bool
    ):
        if exact:
            return _eager(query, key, value, attention_mask, rule=rule), None
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    _windows_seen.add(sliding_window)
    tree = tree_attention.read(attention_mask)
    if tree is not None:
        return _by_tree(query, key, value, tree=tree, rule=rule), None
    offsets = tuple(attention_mask.flatten().tolist())
    on_cpu = query.device.type == "cpu" and kernel not in FLASH
    if exact or on_cpu or kernel in ("sdpa", "disabled"):
        return _by_document(query, key, value, offsets=offsets, rule=rule, kernel=kernel), None
    return varlen.attend(
        query, key, value, offsets=offsets, scaling=scaling, window=sliding_window, asked=kernel
    ), None


class Rule(NamedTuple):
    """What a layer's attention does beyond being causal."""

    scaling: float | None
    window: int | None
    softcap: float | None
    sinks_H: Tensor | None


@lru_cache(maxsize=64)
def runs(offsets: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Neighbouring documents of one length, as (how many, tokens each).

    >>> runs((0, 3, 6, 10))
    ((2, 3), (1, 4))
    """
    found: list[list[int]] = []
    for start, end in pairwise(offsets):
        if found and found[-1][1] == end - start:
            found[-1][0] += 1
        else:
            found.append([1, end - start])
    return tuple((count, length) for count, length in found)


def _by_tree(
    query: Tensor, key: Tensor, value: Tensor, *, tree: tree_attention.Tree, rule: Rule
) -> Tensor:
    """Rows that share their beginnings; see `tree_attention`."""
    plain = rule.softcap is None and rule.sinks_H is None
    wide = rule.window is None or tree_attention.longest(tree) <= rule.window
    alike = query.dtype == key.dtype == value.dtype and query.shape[-1] == value.shape[-1]
    if plain and wide and alike and query.device.type == "cpu" and flash_cpu.available():
        shape = runs(tree.offsets)
        return tree_attention.by_merging(
            query, key, value, tree=tree, runs=shape, scaling=rule.scaling
        )

    if rule.sinks_H is None and query.device.type == "cuda" and tree_flex.available():
        return tree_flex.attend(
            query,
            key,
            value,
            tree=tree,
            scaling=rule.scaling,
            window=rule.window,
            softcap=rule.softcap,
        )

    def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        if not plain:
            return _eager(q, k, v, mask, rule=rule)
        gqa = q.shape[1] != k.shape[1]
        out = scaled_dot_product_attention(q, k, v, mask, scale=rule.scaling, enable_gqa=gqa)
        return out.transpose(1, 2)

    return tree_attention.by_segment(
        query, key, value, tree=tree, window=rule.window, masked=masked
    )


def _by_document(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    offsets: tuple[int, ...],
    rule: Rule,
    kernel: str = "auto",
) -> Tensor:
    """Each run of documents of one length is one batched attention."""
    shape = runs(offsets)
    plain = rule.softcap is None and rule.sinks_H is None
    wide = rule.window is None or max(length for _, length in shape) <= rule.window
    alike = query.dtype == key.dtype == value.dtype and query.shape[-1] == value.shape[-1]
    fast = kernel == "auto" and query.device.type == "cpu" and flash_cpu.available()
    if plain and wide and alike and fast:
        return flash_cpu.attend(query, key, value, runs=shape, scaling=rule.scaling)
    sizes = [count * length for count, length in shape]
    parts = []
    pieces = zip(shape, *(x[0].split(sizes, 1) for x in (query, key, value)), strict=True)
    for (count, length), *qkv in pieces:
        q, k, v = (x.unflatten(1, (count, length)).transpose(0, 1) for x in qkv)
        narrow = rule.window is not None and length > rule.window
        if not plain or kernel == "disabled":
            mask = causal_mask(length, rule.window, q.device)
            out = _eager(q, k, v, mask, rule=rule)
        else:
            mask = causal_mask(length, rule.window, q.device) if narrow else None
            out = scaled_dot_product_attention(
                q,
                k,
                v,
                mask,
                is_causal=mask is None,
                scale=rule.scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            ).transpose(1, 2)
        parts.append(out.flatten(0, 1))
    return torch.cat(parts)[None]


@lru_cache(maxsize=64)
def causal_mask(length: int, window: int | None, device: torch.device) -> Tensor:
    """Which key (column) a query (row) of one document sees, (L, L) bool."""
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril_()
    return mask if window is None else mask.triu_(1 - window)


def _eager(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    rule: Rule,
) -> Tensor:
    """Attention in plain operations, for what no kernel has: caps and sinks. (B, L, H, E)."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    factor = query.shape[-1] ** -0.5 if rule.scaling is None else rule.scaling
    scores = query @ key.transpose(2, 3) * factor
    if rule.softcap is not None:
        scores = torch.tanh(scores / rule.softcap) * rule.softcap
    seen = (
        causal_mask(key.shape[2], None, query.device)[-query.shape[2] :] if mask is None else mask
    )
    unseen = ~seen if seen.dtype == torch.bool else seen < -1e4
    scores = scores.masked_fill(unseen, float("-inf"))
    if rule.sinks_H is not None:
        sinks = rule.sinks_H.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat((scores, sinks), -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)[..., : key.shape[2]]
    return (weights @ value).transpose(1, 2)


_windows_seen: set[int | None] = set()
_known: weakref.WeakKeyDictionary[nn.Module, tuple[str, Isolation]] = weakref.WeakKeyDictionary()


def isolation(model: Any) -> Isolation:
    """How documents of one batch are kept apart in this model; probed once per model.

    "varlen": all documents in one forward pass. "per_document_forward": one pass for each, for
    layers that carry state across tokens (SSM, linear attention) or attend in chunks.

    Args:
        model: a transformers causal language model.
    """
    name = model.config._attn_implementation
    if model not in _known or _known[model][0] != name:
        _known[model] = name, _probe(model) if _ours(name) else "per_document_forward"
    return _known[model][1]


def _ours(name: str | None) -> bool:
    return name is not None and name.split("_")[0] == NAME


def decoder(model: Any) -> nn.Module:
    """The part of a causal language model below its head.

    Raises:
        ModelError: there is none to be found.
    """
    body = model.get_decoder()
    if body is model or body is None:
        raise ModelError(
            type(model).__name__, need="a causal language model with a decoder and a head"
        )
    return body


@torch.no_grad()
def _probe(model: Any) -> Isolation:
    """Lay two documents end to end: the second must be as it is alone, whatever the first is."""
    config = model.config.get_text_config()
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return "per_document_forward"
    if pretended(model):
        return "varlen"
    device = next(model.parameters()).device
    first, other, second = (
        torch.tensor(ids, device=device) % config.vocab_size
        for ids in ((11, 5, 23, 7, 42), (31, 8, 3, 17, 6), (19, 2, 29, 13, 37, 4, 41))
    )
    body, training = decoder(model), model.training
    model.eval()
    _windows_seen.clear()
    try:
        alone = run(body, second, torch.arange(7, device=device), None)
        ends = documents((0, 5, 12))
        places = torch.cat((torch.arange(5), torch.arange(7))).to(device)
        packed = run(body, torch.cat((first, second)), places, ends)[5:]
        beside = run(body, torch.cat((other, second)), places, ends)[5:]
    finally:
        model.train(training)
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window not in _windows_seen:
        return "per_document_forward"
    exact = packed.dtype == torch.float32 and not torch.is_autocast_enabled(device.type)
    near = 1e-4 if exact else 0.06
    equal = (packed - alone).norm() <= near * alone.norm() and (
        packed - beside
    ).norm() <= near / 10 * alone.norm()
    return "varlen" if bool(equal) else "per_document_forward"


def run(
    body: nn.Module, ids_T: Tensor, positions: Tensor, mask: Tensor | None, **more: Tensor
) -> Tensor:
    """Hidden states below the head, (T, width).

    Args:
        body: of the model, without its head.
        ids_T: token ids.
        positions: (T,), or (3, T) of a model that counts rows and columns.
        mask: what layers are told of the documents; `None`: there is one.
        more: what the model takes beside ids.
    """
    places = positions[None] if positions.dim() == 1 else positions[:, None]
    out = body(
        input_ids=ids_T[None], position_ids=places, attention_mask=mask, use_cache=False, **more
    )
    return out.last_hidden_state[0]
