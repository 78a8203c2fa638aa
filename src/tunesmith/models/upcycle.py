"""A mixture of experts out of a dense model, which says the same until it is trained.

The feed-forward networks of some layers become experts, each a copy of the one that was there, and
a router with random weights chooses among them (sparse upcycling, arXiv:2212.05055). Weights of the
chosen experts add up to 1, so copies give what the one gave. The result is the plain class of
transformers that has experts in the place of the dense one's networks, its twin; inside a model
that sees, its text model is replaced by the twin.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.compute.attention import decoder
from tunesmith.errors import ModelError
from tunesmith.models import facts, files
from tunesmith.models.classes import auto_class, sees_or_hears
from tunesmith.models.load import explained, load_model, quiet, read_config, stored_dtype

Layers = Literal["all", "even", "odd", "first_half", "second_half"] | int | Sequence[int]

TWINS = {
    "llama": ("mixtral", "qwen2_moe"),
    "mistral": ("mixtral", "qwen2_moe"),
    "qwen2": (None, "qwen2_moe"),
    "qwen3": (None, "qwen3_moe"),
    "granite": ("granitemoe", None),
}
"""Dense family -> its twin where all layers have experts, its twin where any may; `None`: there is
none of that kind."""
_SPREAD = 0.02
"""Standard deviation of a router's first weights. Of zeros the same experts would win every tie."""
_NEAR = 1e-5
_BESIDE = ("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges",
           "generation_config", "preprocessor_config", "processor_config",
           "video_preprocessor_config")  # fmt: skip
"""How names of files begin that stand beside the weights."""
_OWN = {"model_type", "architectures", "transformers_version", "dtype", "_name_or_path", "auto_map"}
_SAME = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "context_length", "tied",
         "sliding_window", "windowed_layers")  # fmt: skip


class Upcycled(NamedTuple):
    """What was made."""

    directory: Path
    twin: str
    """Its `model_type`, or that of its text model."""
    layers: tuple[int, ...]
    """Those with experts, from 0."""
    experts: int
    per_token: int
    parameters: int
    active: int
    """Parameters that a token goes through."""
    dense_parameters: int
    difference: float
    """Largest difference of a logit, in fp32, to the dense model."""
    largest: float
    """Logit of the dense model; differences are measured in it, because fp32 rounds so."""
    modules: tuple[str, str]
    """What experts and routers are called in it, for `train_modules`."""


def chosen(asked: Layers, count: int) -> tuple[int, ...]:
    """Numbers of the layers that a word or a list stands for.

    >>> chosen("even", 5), chosen("second_half", 5), chosen([3, 1], 5)
    ((0, 2, 4), (2, 3, 4), (1, 3))

    Raises:
        ModelError: a layer that is not there, twice the same, or none.
    """
    named = {
        "all": range(count),
        "even": range(0, count, 2),
        "odd": range(1, count, 2),
        "first_half": range(count // 2),
        "second_half": range(count // 2, count),
    }
    asked = [asked] if isinstance(asked, int) else asked
    numbers = named[asked] if isinstance(asked, str) else asked
    if (
        not numbers
        or len(set(numbers)) < len(numbers)
        or not 0 <= min(numbers) <= max(numbers) < count
    ):
        raise ModelError(
            "moe_layers", got=asked if isinstance(asked, str) else list(asked),
            need=f"one or more of the layers 0 to {count - 1}, each once, or one of "
            f"{', '.join(named)}",
        )  # fmt: skip
    return tuple(sorted(numbers))


def upcycle(
    source: Path,
    out: Path,
    *,
    layers: Layers,
    experts: int,
    per_token: int,
    coefficient: float,
    seed: int,
) -> Upcycled:
    """Write the mixture into a directory that the caller publishes, and prove it.

    Args:
        source: plain directory of a dense model.
        out: exists, is empty.
        layers: which of them get experts.
        experts: in each of these layers.
        per_token: how many of them a token goes through.
        coefficient: `router_aux_loss_coef` of its config.
        seed: of the routers' weights.

    Raises:
        ModelError: a family without a twin; a model that its twin cannot say; other logits.
    """
    config = read_config(source)
    text = config.get_text_config()
    refuse(source)
    if not 2 <= per_token <= experts:
        raise ModelError(
            "num_experts_per_tok", got=per_token,
            need=f"2 to num_experts ({experts}): the weight of a single expert is always 1, and "
            "its router would learn nothing",
        )  # fmt: skip
    numbers = chosen(layers, text.num_hidden_layers)
    mixed = _config(text, numbers, experts=experts, per_token=per_token, coefficient=coefficient)
    stored = stored_dtype(source)
    dense: Any = load_model(source, dtype=stored, attention="eager")
    whole = mixed
    if config is not text:
        whole = copy.deepcopy(dense.config)
        whole.text_config = mixed
    with quiet(), explained(source, whole):
        made: Any = (
            type(dense)(whole) if config is not text else auto_class(whole).from_config(whole)
        ).to(stored)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fill(made, dense, numbers, source)
    made.tie_weights()
    sizes = sum(p.numel() for p in made.parameters()), sum(p.numel() for p in dense.parameters())
    modules = _names(made)
    with quiet():
        made.save_pretrained(out)
    del made
    _copy_beside(source, out)
    files.readable(out)
    difference = _prove(source, out, dense.float())
    idle = facts.facts(out).idle_parameters
    return Upcycled(
        out, mixed.model_type, numbers, experts, per_token, sizes[0], sizes[0] - idle, sizes[1],
        *difference, modules,
    )  # fmt: skip


def refuse(source: Path) -> None:
    """Refuse a model that has no twin, by its config.

    Raises:
        ModelError: with the list of what works.
    """
    text = read_config(source).get_text_config()
    kind = text.model_type
    if getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None):
        raise ModelError(str(source), got=f"{kind}, which has experts", need="a dense model")
    if kind not in TWINS:
        raise ModelError(
            str(source), got=kind,
            need=f"a family that transformers has with experts too: {', '.join(TWINS)}",
        )  # fmt: skip


def _config(
    text: Any, numbers: Sequence[int], *, experts: int, per_token: int, coefficient: float
) -> Any:
    """The twin's config."""
    from transformers import AutoConfig

    every = len(numbers) == text.num_hidden_layers
    whole, some = TWINS[text.model_type]
    kind = whole if every and whole else some
    if kind is None:
        raise ModelError(
            "moe_layers", got=f"{len(numbers)} of {text.num_hidden_layers} layers",
            need=f"all: the twin of {text.model_type}, {whole}, has experts in every layer",
        )  # fmt: skip
    known = set(AutoConfig.for_model(kind).to_dict()) - _OWN | {"head_dim"}
    kept = {key: value for key, value in text.to_dict().items() if key in known}
    said: dict[str, Any] = {
        "num_experts_per_tok": per_token, "router_aux_loss_coef": coefficient,
        "output_router_logits": False,
    }  # fmt: skip
    if kind in ("mixtral", "granitemoe"):
        said |= {"num_local_experts": experts}
    else:
        others = [n for n in range(text.num_hidden_layers) if n not in numbers]
        said |= {
            "num_experts": experts, "moe_intermediate_size": text.intermediate_size,
            "mlp_only_layers": others, "decoder_sparse_step": 1, "norm_topk_prob": True,
        }  # fmt: skip
    if kind == "qwen2_moe":
        said |= {"shared_expert_intermediate_size": text.intermediate_size, "qkv_bias": True}
        if getattr(text, "sliding_window", None) and not getattr(text, "layer_types", None):
            said |= {
                "use_sliding_window": True, "max_window_layers": 0,
                "layer_types": ["sliding_attention"] * text.num_hidden_layers,
            }  # fmt: skip
    return AutoConfig.for_model(kind, **kept | said)


@torch.no_grad()
def _fill(made: Any, dense: Any, numbers: Sequence[int], source: Path) -> None:
    """Every weight of the twin, from the dense model or as it begins.

    Raises:
        ModelError: a weight of one that the other has no place for.
    """
    root = _path(made, decoder(made))
    blocks = {f"{root}.layers.{number}." for number in numbers}
    left = dict(dense.state_dict())
    networks = {
        block: {
            name: left.pop(f"{block}mlp.{name}_proj.weight", None)
            for name in ("gate", "up", "down")
        }
        for block in blocks
    }
    here = made.state_dict()
    for name, parameter in here.items():
        block = next((block for block in blocks if name.startswith(block)), None)
        if name in left:
            parameter.copy_(left.pop(name))
        elif block and ".self_attn." not in name:
            halved = f"{block}mlp.shared_expert_gate.weight" in here
            parameter.copy_(_expert(name, parameter, networks[block], halved=halved))
        elif name.endswith("_proj.bias") and ".self_attn." in name:
            parameter.zero_()  # the twin has biases where the dense model has none
        else:
            raise _misfit(source, name)
    if left:
        raise _misfit(source, min(left))


def _expert(name: str, like: Tensor, network: dict[str, Tensor], *, halved: bool) -> Tensor:
    """A weight of a layer with experts.

    Args:
        name: of the weight.
        like: of its shape.
        network: what the dense model has there.
        halved: an expert that every token goes through says half, by a gate of zeros, and the
            others say the other half: a power of two, so that no weight is rounded.
    """
    end = name.rpartition("mlp.")[2].rpartition("block_sparse_moe.")[2]
    gate, up, down = (network[key] for key in ("gate", "up", "down"))
    shared = ".mlp.shared_expert" in name
    if end == "experts.gate_up_proj":
        return torch.cat((gate, up)).expand_as(like)
    if end == "experts.down_proj":
        return (down * 0.5 if halved else down).expand_as(like)
    if end in ("gate.weight", "router.weight", "router.layer.weight"):
        return torch.empty_like(like, dtype=torch.float32).normal_(std=_SPREAD)
    if shared and end == "shared_expert_gate.weight":
        return torch.zeros_like(like)
    return {"gate_proj": gate, "up_proj": up, "down_proj": down}[end.split(".")[1]]


def _misfit(source: Path, name: str) -> ModelError:
    return ModelError(
        str(source), got=f"{name}, which its twin has no place for",
        need="a model that is built as others of its family (no biases in feed-forward networks)",
    )  # fmt: skip


def _names(made: Any) -> tuple[str, str]:
    """What experts and routers are called."""
    names = [name for name, _ in made.named_parameters()]
    router = next(n for n in names if n.endswith((".mlp.gate.weight", ".router.weight")))
    return "experts", router.split(".")[-2]


def _path(model: nn.Module, module: nn.Module) -> str:
    return next(name for name, found in model.named_modules() if found is module)


def _copy_beside(source: Path, out: Path) -> None:
    """Tokenizer, processor, chat template and how answers are drawn, byte for byte."""
    for path in sorted(source.iterdir()):
        name = path.name
        belongs = name.startswith(_BESIDE) and path.suffix in (".json", ".jinja", ".txt", ".model")
        if belongs and path.is_file():
            (out / name).write_bytes(path.read_bytes())


@torch.inference_mode()
def _prove(source: Path, out: Path, dense: Any) -> tuple[float, float]:
    """Open what was written, and hold it against the dense model: difference, largest logit.

    Raises:
        ModelError: other logits, or another reach of its layers.
    """
    ours, theirs = facts.facts(source), facts.facts(out)
    for key in _SAME:
        if getattr(ours, key) != getattr(theirs, key):
            raise ModelError(
                str(source), got=f"{key} {getattr(ours, key)}, which would become "
                f"{getattr(theirs, key)}", need="a model that its twin can be",
            )  # fmt: skip
    made: Any = load_model(out, dtype=torch.float32, attention="eager")
    made.eval()
    dense.eval()
    size = min(ours.vocab, 50_000)
    ids = torch.tensor([[(7 * i * i + 13 * i + 3) % size for i in range(48)]])
    image = getattr(dense.config, "image_token_id", None)
    if sees_or_hears(dense.config) and image is not None:
        ids[ids == image] = 3
    logits, others = dense(input_ids=ids).logits, made(input_ids=ids).logits
    difference = float((logits - others).abs().max())
    largest = float(logits.abs().max())
    if not difference <= _NEAR * max(1.0, largest):
        raise ModelError(
            str(source), got=f"logits that differ by {difference:.3g} with experts",
            need="a model whose twin says the same before it is trained",
        )  # fmt: skip
    return difference, largest
