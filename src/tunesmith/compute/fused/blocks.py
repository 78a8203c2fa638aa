"""Puts the fused functions under the modules of a transformers model, where they are the same.

A module is taken where its code uses nothing that is not reproduced here, and where it then
computes, forward and backward, on random input, what it computed before: within 1e-5 in fp32, and
where its weights are in 16 bits also there, no further off its fp32 copy than twice what rounding
made it before. Every other module stays as it is, with a reason. Names, parameters and files of the
model do not change; what a module is made of is looked up anew in each call, so that adapters come,
go and are switched off as before, and a module that is no longer known runs its own code.

What a decoder layer keeps for the backward pass, in numbers per token, with W the width, Q and K
the widths of queries and keys, I the inner width, R the rank, all by reference and in the dtype of
the products: norms 2 W (their inputs) and 8 bytes; query, key, value 3 R (their shared input is
made of what a norm keeps); attention 2 Q + 2 K (turned queries and keys, values, output) and 4
bytes a head; output projection R (its input is the attention's output); gated block 2 I, 3 R; the
angles once for all layers.

Shape letters: T tokens, W width, H heads, E width of a head.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute import attention
from tunesmith.compute.fused.gated import gated
from tunesmith.compute.fused.linears import read, together
from tunesmith.compute.fused.norm import rms_norm
from tunesmith.compute.fused.rotary import rotate
from tunesmith.compute.pretend import pretended

NORM = {"dtype", "float32", "mean", "pow", "rsqrt", "to", "torch", "variance_epsilon", "weight"}
GATED = {"act_fn", "down_proj", "gate_proj", "up_proj"}
ATTENTION = {
    *("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"),
    *("head_dim", "scaling", "layer_idx", "sliding_window", "use_rope", "config", "training"),
    *("attention_dropout", "_attn_implementation", "ALL_ATTENTION_FUNCTIONS", "get_interface"),
    *("eager_attention_forward", "apply_rotary_pos_emb", "update", "getattr"),
    *("shape", "view", "transpose", "reshape", "contiguous"),
}
"""Names that the code of a module may use: with any other it does something more."""
_ROTARY, _HALF = {"unsqueeze", "rotate_half"}, {"shape", "torch", "cat"}
_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh"}


class Fused(NamedTuple):
    """What became of a model."""

    taken: dict[str, int]
    """Kind of module -> how many are fused."""
    left: dict[str, str]
    """Class of a module that was looked at and left alone -> why."""

    absent: tuple[str, ...] = ()
    """Kinds of which no module was found."""

    @property
    def note(self) -> str:
        """What is left to the model's own code, for the reader of a plan; "" where nothing is."""
        parts = [f"{name} ({why})" for name, why in self.left.items()]
        parts += [f"{_NAMES[kind]} (of another form)" for kind in self.absent]
        said = "computed by the model's own code, not by fused functions, which are faster"
        return f"{said}: {', '.join(parts)}" if parts else ""


def fuse(model: nn.Module) -> Fused:
    """Fuse what can be, in place. A second call looks again; `plain` undoes it.

    Args:
        model: a transformers model with weights, with or without adapters.
    """
    proved: dict[tuple[Any, ...], str | None] = {}

    def differs(module: nn.Module, kind: str) -> str | None:
        like = (type(module), *_traits(module))
        if like not in proved:
            proved[like] = None if pretended(module) else _differs(module, kind)
        if proved[like] is None:
            module.forward = MethodType(_FORWARD[kind], module)
        return proved[like]

    return _sorted(model, differs)


def look(model: nn.Module) -> Fused:
    """What `fuse` will do by what the code of the modules says; nothing is computed or changed.

    Args:
        model: without weights (on the meta device), or with them.
    """
    return _sorted(model, lambda module, kind: None)


def _sorted(model: nn.Module, differs: Callable[[nn.Module, str], str | None]) -> Fused:
    taken: dict[str, int] = {}
    left: dict[str, str] = {}
    absent = dict.fromkeys(_FORWARD)
    for module in list(model.modules()):
        kind = _kind(module)
        if kind is None:
            continue
        absent.pop(kind, None)
        reason = _unknown(module, kind) or differs(module, kind)
        if reason is not None:
            left[type(module).__name__] = reason
        else:
            taken[kind] = taken.get(kind, 0) + 1
    return Fused(taken, left, tuple(absent))


def plain(model: nn.Module) -> None:
    """Give every module its own code back."""
    for module in model.modules():
        own = module.__dict__.get("forward")
        if isinstance(own, MethodType) and own.__func__ in _FORWARD.values():
            del module.forward


def _norm_forward(self: Any, hidden_states: Tensor) -> Tensor:
    return rms_norm(hidden_states, self.weight, self.variance_epsilon)


def _gated_forward(self: Any, x: Tensor) -> Tensor:
    gate_up, down = read((self.gate_proj, self.up_proj)), read((self.down_proj,))
    if gate_up is None or down is None:
        return type(self).forward(self, x)
    return gated(x, gate_up, down, _ACTIVATIONS[type(self.act_fn).__name__])


def _attention_forward(  # noqa: PLR0917 (transformers calls it so)
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    layers = read((self.q_proj, self.k_proj, self.v_proj))
    ours = (
        attention_mask is not None
        and attention_mask.dtype in (torch.int32, torch.int64)
        and self.config._attn_implementation == attention.NAME
        and past_key_values is None
        and position_embeddings is not None
    )
    if layers is None or not ours:
        return type(self).forward(
            self, hidden_states, position_embeddings=position_embeddings,
            attention_mask=attention_mask, past_key_values=past_key_values, **kwargs,
        )  # fmt: skip
    assert position_embeddings is not None, "checked above"
    shape = (*hidden_states.shape[:-1], -1, self.head_dim)
    query, key, value = (x.view(shape) for x in together(hidden_states, layers))
    if hasattr(self, "q_norm"):
        query, key = self.q_norm(query), self.k_norm(key)
    if getattr(self, "use_rope", True):
        query, key = (rotate(x, *position_embeddings).to(value.dtype) for x in (query, key))
    out, _ = attention.attend(
        self, *(x.transpose(1, 2) for x in (query, key, value)), attention_mask,
        dropout=self.attention_dropout if self.training else 0.0, scaling=self.scaling,
        sliding_window=_window(self), **kwargs,
    )  # fmt: skip
    return self.o_proj(out.reshape(*shape[:-2], -1)), None


_FORWARD: dict[str, Callable[..., Any]] = {
    "norm": _norm_forward,
    "gated": _gated_forward,
    "attention": _attention_forward,
}
_NAMES = {"norm": "norms", "gated": "feed-forward blocks", "attention": "attention"}


def _window(module: Any) -> int | None:
    """The window that the module's own code hands to the attention."""
    code = _code(module)
    if "sliding_window" in code.co_names:
        return module.sliding_window
    if "sliding_window" in code.co_consts:
        return getattr(module.config, "sliding_window", None)
    return None


def _kind(module: nn.Module) -> str | None:
    """What a module is by what it is made of; `None` for what is not looked at."""
    children = {name for name, _ in module.named_children()}
    if not children and hasattr(module, "variance_epsilon") and hasattr(module, "weight"):
        return "norm"
    if children == GATED:
        return "gated"
    if {"q_proj", "k_proj", "v_proj", "o_proj"} <= children:
        return "attention"
    return None


def _unknown(module: Any, kind: str) -> str | None:
    """What in a module's code is not reproduced here."""
    if module._forward_hooks or module._forward_pre_hooks or "forward" in _foreign(module):
        return "its forward is changed or watched"
    code, known = _code(module), {"norm": NORM, "gated": GATED, "attention": ATTENTION}[kind]
    if more := set(code.co_names) - known:
        return f"its code uses {', '.join(sorted(more)[:3])}"
    if kind == "gated":
        found = type(module.act_fn).__name__
        return None if found in _ACTIVATIONS else f"activation {found}"
    if kind == "attention":
        names = inspect.unwrap(type(module).forward).__globals__
        for function, limit in (("apply_rotary_pos_emb", _ROTARY), ("rotate_half", _HALF)):
            code = getattr(inspect.unwrap(names.get(function)), "__code__", None)
            if code is None or set(code.co_names) - limit:
                return f"another {function}"
    return None


def _foreign(module: nn.Module) -> set[str]:
    """A forward that somebody else put on this one module."""
    own = module.__dict__.get("forward")
    if own is None or (isinstance(own, MethodType) and own.__func__ in _FORWARD.values()):
        return set()
    return {"forward"}


def _code(module: nn.Module) -> Any:
    return inspect.unwrap(type(module).forward).__code__


def _traits(module: nn.Module) -> tuple[Any, ...]:
    """What may tell one layer from another of its class."""
    plain = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, int | float | str | None) and key != "layer_idx"
    }
    children = [(name, type(child).__name__) for name, child in module.named_children()]
    sizes = [(name, p.shape, p.dtype, str(p.device)) for name, p in module.named_parameters()]
    return (repr(sorted(plain.items())), tuple(children), tuple(sizes))


def _differs(module: Any, kind: str) -> str | None:
    """How the fused module differs from its own code; `None` where it does not."""
    own, fused = type(module).forward, _FORWARD[kind]
    sample = next(module.parameters())
    drops = module.training
    module.eval()  # dropout draws from the run's step, and there is none
    try:
        if sample.device.type == "meta":
            return "its weights are not there"
        call = _arguments(module, kind, sample)
        wide = sample.dtype in (torch.float32, torch.float64)
        exact = module if wide else copy.deepcopy(module).float()
        exact_call = call if wide else {key: _widened(value) for key, value in call.items()}
        truth, found = (_both_ways(exact, function, exact_call) for function in (own, fused))
        far = [_far(f, t) / 1e-5 for f, t in zip(found, truth, strict=True)]
        if not wide:
            theirs, ours = (_both_ways(module, function, call) for function in (own, fused))
            rounding = torch.finfo(sample.dtype).eps
            far += [
                _far(o, e) / (2 * _far(t, e) + rounding)
                for o, t, e in zip(ours, theirs, truth, strict=True)
            ]
            far += [
                0.0 if o.dtype == t.dtype else math.inf for o, t in zip(ours, theirs, strict=True)
            ]
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    finally:
        module.train(drops)
    if not max(far) <= 1:
        return f"its result differs, by {max(far):.1g} times what rounding does"
    return None


def _arguments(module: Any, kind: str, sample: Tensor) -> dict[str, Any]:
    """Loud input, the same for every model: three documents, the second longer than a window."""
    draw = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).to(sample.device, sample.dtype)

    if kind == "norm":
        return {"hidden_states": noise(1, 23, module.weight.shape[0]) * 8}
    if kind == "gated":
        return {"x": noise(1, 23, module.gate_proj.in_features) * 4}
    angles = torch.rand(1, 23, module.head_dim // 2, generator=draw).repeat(1, 1, 2) * 6.3
    turned = tuple(f(angles).to(sample.device, sample.dtype) for f in (torch.cos, torch.sin))
    return {
        "hidden_states": noise(1, 23, module.q_proj.in_features),
        "position_embeddings": turned,
        "attention_mask": attention.documents((0, 4, 17, 23)),
    }


def _both_ways(
    module: Any, function: Callable[..., Any], call: dict[str, Any]
) -> tuple[Tensor, ...]:
    """Output, and gradients toward the input and what learns, under one fixed weighting."""
    key = next(iter(call))
    x = call[key].detach().clone().requires_grad_(True)
    learned = [p for p in module.parameters() if p.requires_grad]
    with torch.enable_grad():
        out = function(module, **{**call, key: x})
        out = out[0] if isinstance(out, tuple) else out
        weights = torch.sin(torch.arange(out.numel(), device=out.device)).view_as(out).to(out.dtype)
        grads = torch.autograd.grad(out, [x, *learned], weights, allow_unused=True)
    return out.detach(), *(torch.zeros(()) if grad is None else grad for grad in grads)


def _widened(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_widened, value))
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _far(got: Tensor, want: Tensor) -> float:
    """Relative distance; of a wrong shape, infinite."""
    if got.shape != want.shape:
        return math.inf
    size = want.double().norm()
    away = float((got.double() - want.double()).norm())
    return away / float(size) if size > 0 else away
