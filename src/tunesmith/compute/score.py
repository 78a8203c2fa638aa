"""Log-probabilities at the trained positions only: the one primitive under every loss.

The head is never applied to a position that is not trained, and never to all trained positions at
once: it runs over chunks of tokens. Under a frozen head the gradient toward the hidden states is
computed in the forward pass, chunk by chunk, so that no logits are kept and none are computed
twice. Under a trained head the backward pass computes each chunk's logits again and adds up the
weight's gradient. Products are in the dtype of the hidden states, everything after them in fp32.

Shape letters: T tokens, P trained positions, C positions of a chunk, W width, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunesmith.compute import chance, routing, side_by_side, towers
from tunesmith.compute.attention import decoder, isolation, run
from tunesmith.compute.pretend import pretended
from tunesmith.compute.rows import slices
from tunesmith.compute.seen import suited
from tunesmith.compute.sharing import mask_of
from tunesmith.errors import ModelError
from tunesmith.types import Batch, Score

_LOGITS_AT_ONCE = 2**24


def score(
    model: Any, batch: Batch, *, chunk_tokens: int | None = None, want_correct: bool = False
) -> Score:
    """What a causal language model says about the trained tokens of a batch.

    The result does not depend on how examples fell into batches or on `chunk_tokens`. Every
    position's log-probability may be weighted as a loss pleases; no positions cost exactly 0.

    Args:
        model: a transformers causal language model, in training or evaluation mode.
        batch: examples laid end to end.
        chunk_tokens: positions that the head is applied to at once; by default as many as give
            16 Mi logits.
        want_correct: whether `correct_P` is asked for.

    Raises:
        ModelError: the head of the model is not one that is reproduced exactly.
    """
    head = check_head(model)
    size = chunk_tokens or max(16, _LOGITS_AT_ONCE // head.vocabulary)
    with chance.tokens(batch):
        hidden_PW = hidden(model, batch)
        if not head.plain:
            return _any_head(head, hidden_PW, batch, size=size, want_correct=want_correct)
    weight, bias = head.module.weight, getattr(head.module, "bias", None)
    dtype = hidden_PW.dtype
    if torch.is_autocast_enabled(hidden_PW.device.type):
        dtype = torch.get_autocast_dtype(hidden_PW.device.type)
    how = _How(head.scale, head.softcap, size, dtype, want_correct, torch.is_grad_enabled())
    logprob_P, correct_P = _Head.apply(hidden_PW, weight, bias, batch.labels_P, how)
    return Score(logprob_P, correct_P if want_correct else None)


def hidden(model: Any, batch: Batch) -> Tensor:
    """Hidden states that predict the trained tokens, below the head: (P, width)."""
    if batch.media:
        return _seeing(model, batch).index_select(0, batch.predict_P)
    body = decoder(model)
    if batch.until or isolation(model) == "varlen" or len(batch.offsets) == 2:
        alone = mask_of(model, batch)
        with routing.tokens():
            states_TW = run(body, batch.ids_T, batch.positions_T, alone)
    else:
        states_TW = side_by_side.hidden(model, batch)
    return states_TW.index_select(0, batch.predict_P)


def _seeing(model: Any, batch: Batch) -> Tensor:
    """Hidden states of every token of documents with media, (T, width)."""
    seen = batch.seen
    assert seen is not None, "media that nobody has read would be learned as their placeholders"
    one = len(batch.offsets) == 2
    assert one or not (seen.alone or isolation(model) != "varlen"), "documents see one another"
    alone = None if seen.alone else mask_of(model, batch)
    positions = batch.positions_T if seen.positions is None else seen.positions
    inputs = suited(model, seen.inputs)
    with routing.tokens(), towers.giving(model, seen.made):
        return run(model.base_model, batch.ids_T, positions, alone, **inputs)


class Head(NamedTuple):
    """The last step of a model, from hidden state to logits."""

    module: Any
    scale: float
    """Factor on the logits (cohere, granite, falcon)."""
    softcap: float | None
    """Logits are `softcap * tanh(logits / softcap)` (gemma2, recurrent_gemma)."""
    plain: bool
    """Whether the module is a matrix and perhaps a bias, nothing more."""
    vocabulary: int

    def logits(self, hidden_CW: Tensor) -> Tensor:
        """(C, V) f32."""
        return _shape_logits(self.module(hidden_CW).float(), self.scale, self.softcap)


_heads: weakref.WeakKeyDictionary[nn.Module, tuple[Any, Head]] = weakref.WeakKeyDictionary()


def check_head(model: Any) -> Head:
    """The head of a model, compared once with the model's own logits on loud hidden states.

    Raises:
        ModelError: the model does something else between hidden states and logits.
    """
    module = model.get_output_embeddings()
    if model in _heads and _heads[model][0] is module:
        return _heads[model][1]
    if module is None:
        raise ModelError(type(model).__name__, need="a model with a head over the vocabulary")
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    scale *= float(getattr(config, "lm_head_multiplier", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", getattr(config, "logits_soft_cap", None))
    rows = getattr(module, "out_features", None) or config.vocab_size
    head = Head(module, scale, cap, type(module) is nn.Linear, rows)
    if not pretended(model):
        _compare(model, head)
    _heads[model] = module, head
    return head


@torch.no_grad()
def _compare(model: Any, head: Head) -> None:
    loud: list[Tensor] = []

    def amplify(_module: nn.Module, _args: Any, out: Any) -> Any:
        """Loud hidden states make a cap bind and a scale show."""
        out.last_hidden_state = out.last_hidden_state * 8
        loud.append(out.last_hidden_state)
        return out

    ids = torch.tensor([[3, 14, 15, 9, 2, 6]], device=next(model.parameters()).device)
    training = model.training
    model.eval()
    hook = decoder(model).register_forward_hook(amplify)
    try:
        theirs = model(input_ids=ids % head.vocabulary, use_cache=False).logits[0].float()
        ours = head.logits(loud[-1][0])
    finally:
        hook.remove()
        model.train(training)
    near = 1e-4 if loud[-1].dtype == torch.float32 else 2e-2
    if ours.shape != theirs.shape or not (ours - theirs).norm() <= near * theirs.norm():
        raise ModelError(
            f"head of {type(model).__name__}",
            got="logits that differ from the model's own",
            need="hidden state times a matrix, with at most a bias, and the scale and soft-cap "
            "that config.json says",
            hint="take keys out of config.json that this model does not read: " + ", ".join(stray)
            if (stray := _shaping(model))
            else "a model of another architecture: this head would be learned wrongly",
        )


def _shaping(model: Any) -> list[str]:
    """Keys of the config that would shape logits."""
    config = model.config.get_text_config()
    keys = ("logit_scale", "logits_scaling", "lm_head_multiplier", "final_logit_softcapping")
    return [key for key in keys if getattr(config, key, None) not in (None, 1, 1.0)]


def _shape_logits(logits: Tensor, scale: float, softcap: float | None) -> Tensor:
    if scale != 1.0:
        logits = logits * scale
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


class _How(NamedTuple):
    scale: float
    softcap: float | None
    chunk: int
    dtype: torch.dtype
    want_correct: bool
    want_gradient: bool


class _Head(torch.autograd.Function):
    """Hidden states and a head's weight to log-probabilities of labels."""

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd calls it so)
        ctx: Any,
        hidden_PW: Tensor,
        weight_VW: Tensor,
        bias_V: Tensor | None,
        labels_P: Tensor,
        how: _How,
    ) -> tuple[Tensor, Tensor]:
        count = len(labels_P)
        trained = how.want_gradient and (
            weight_VW.requires_grad or (bias_V is not None and bias_V.requires_grad)
        )
        early = how.want_gradient and hidden_PW.requires_grad and not trained
        logprob_P = hidden_PW.new_empty(count, dtype=torch.float32)
        norm_P = torch.empty_like(logprob_P)
        correct_P = torch.empty(
            count if how.want_correct else 0, dtype=torch.bool, device=labels_P.device
        )
        toward_PW = torch.empty_like(hidden_PW, dtype=how.dtype) if early else None
        with torch.autocast(hidden_PW.device.type, enabled=False):
            states, weight = hidden_PW.detach().to(how.dtype), weight_VW.detach().to(how.dtype)
            for chunk, product_CV in _products(states, weight, how):
                for rows, part in _rows(chunk, product_CV):
                    logits = _logits(product_CV[rows], bias_V, how)
                    picked = logits.gather(1, labels_P[part, None]).squeeze(1)
                    if how.want_correct:
                        correct_P[part] = logits.argmax(1) == labels_P[part]
                    slope = _slope(logits, how)
                    top = logits.amax(1)
                    total = logits.sub_(top[:, None]).exp_().sum(1)
                    norm_P[part] = top + total.log()
                    logprob_P[part] = picked - norm_P[part]
                    if toward_PW is not None:
                        product_CV[rows] = _pull(logits.div_(total[:, None]), labels_P[part], slope)
                if toward_PW is not None:
                    torch.mm(product_CV, weight, out=toward_PW[chunk])
        if trained:
            ctx.save_for_backward(hidden_PW, weight_VW, bias_V, labels_P, norm_P)
        else:
            ctx.save_for_backward(toward_PW)
        ctx.trained, ctx.how, ctx.hidden_dtype = trained, how, hidden_PW.dtype
        ctx.mark_non_differentiable(correct_P)
        return logprob_P, correct_P

    @staticmethod
    def backward(ctx: Any, grad_P: Tensor, _correct: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.trained:
            (toward_PW,) = ctx.saved_tensors
            if toward_PW is None:
                return None, None, None, None, None
            return (toward_PW * grad_P[:, None]).to(ctx.hidden_dtype), None, None, None, None
        with torch.autocast(grad_P.device.type, enabled=False):
            return (*_trained_backward(ctx, grad_P), None, None)


def _trained_backward(
    ctx: Any, grad_P: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    hidden_PW, weight_VW, bias_V, labels_P, norm_P = ctx.saved_tensors
    how, needs = ctx.how, ctx.needs_input_grad
    states, weight = hidden_PW.to(how.dtype), weight_VW.to(how.dtype)
    grad_hidden = torch.empty_like(states) if needs[0] else None
    grad_weight = torch.zeros_like(weight_VW) if needs[1] else None
    grad_bias = torch.zeros_like(bias_V) if bias_V is not None and needs[2] else None
    for chunk, product_CV in _products(states, weight, how):
        for rows, part in _rows(chunk, product_CV):
            logits = _logits(product_CV[rows], bias_V, how)
            slope = _slope(logits, how)
            chance_of = logits.sub_(norm_P[part, None]).exp_()
            pull = _pull(chance_of, labels_P[part], slope).mul_(grad_P[part, None])
            if grad_bias is not None:
                grad_bias += pull.sum(0).to(grad_bias.dtype)
            product_CV[rows] = pull
        if grad_hidden is not None:
            torch.mm(product_CV, weight, out=grad_hidden[chunk])
        if grad_weight is not None:
            if how.dtype == grad_weight.dtype:
                grad_weight.addmm_(product_CV.T, states[chunk])
            else:
                grad_weight += product_CV.T @ states[chunk]
    return None if grad_hidden is None else grad_hidden.to(ctx.hidden_dtype), grad_weight, grad_bias


def _products(states_PW: Tensor, weight_VW: Tensor, how: _How) -> Iterator[tuple[slice, Tensor]]:
    """States times weight, chunk by chunk, in one memory that may be written over: (C, V)."""
    count = len(states_PW)
    size = min(how.chunk, count)
    memory = states_PW.new_empty(size, len(weight_VW))
    for start in range(0, count, how.chunk):
        chunk = slice(start, min(start + how.chunk, count))
        product_CV = memory[: chunk.stop - start]
        torch.mm(states_PW[chunk], weight_VW.T, out=product_CV)
        yield chunk, product_CV


def _rows(chunk: slice, product_CV: Tensor) -> Iterator[tuple[slice, slice]]:
    """A few rows of a chunk at a time, here and among all positions.

    In fp32 they stay in a processor's cache through all passes over them.
    """
    for rows in slices(len(product_CV), product_CV.shape[1], product_CV.device, times=4):
        yield rows, slice(chunk.start + rows.start, chunk.start + rows.stop)


def _logits(product_CV: Tensor, bias_V: Tensor | None, how: _How) -> Tensor:
    """(C, V) f32 that may be written over."""
    logits = product_CV.float()
    if bias_V is not None:
        logits += bias_V.detach().float()
    if how.scale != 1.0:
        logits *= how.scale
    return logits if how.softcap is None else logits.div_(how.softcap).tanh_().mul_(how.softcap)


def _slope(logits: Tensor, how: _How) -> Tensor | float:
    """Derivative of the logits with respect to the product, before they are written over."""
    if how.softcap is None:
        return how.scale
    return (1 - (logits / how.softcap) ** 2) * how.scale


def _pull(chance_of: Tensor, labels: Tensor, slope: Tensor | float) -> Tensor:
    """Derivative of the label's log-probability with respect to the product, in place."""
    pull = chance_of.neg_()
    pull.scatter_add_(1, labels[:, None], torch.ones_like(pull[:, :1]))
    return pull if isinstance(slope, float) and slope == 1.0 else pull.mul_(slope)


def _any_head(
    head: Head, hidden_PW: Tensor, batch: Batch, *, size: int, want_correct: bool
) -> Score:
    """A head that is more than a matrix (an adapter on it): chunks, each computed again."""

    def part(states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = head.logits(states)
        picked = logits.gather(1, labels[:, None]).squeeze(1)
        return picked - logits.logsumexp(1), logits.argmax(1) == labels

    parts = []
    columns = (hidden_PW, batch.labels_P, batch.predict_P)
    for states, labels, places in zip(*(x.split(size) for x in columns), strict=True):
        with chance.only(places):
            parts.append(
                checkpoint(
                    part, states, labels, use_reentrant=False, context_fn=chance.recompute_contexts
                )
            )
    logprob_P, correct_P = (torch.cat(column) for column in zip(*parts, strict=True))
    return Score(logprob_P, correct_P if want_correct else None)


def apply_head(
    hidden_PW: Tensor,
    weight_VW: Tensor,
    bias_V: Tensor | None,
    labels_P: Tensor,
    *,
    chunk_tokens: int,
) -> Tensor:
    """Log-probabilities of labels under a plain head alone, (P,) f32; what `score` ends with."""
    how = _How(1.0, None, chunk_tokens, hidden_PW.dtype, False, torch.is_grad_enabled())
    return _Head.apply(hidden_PW, weight_VW, bias_V, labels_P, how)[0]
