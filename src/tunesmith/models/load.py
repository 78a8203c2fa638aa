"""Model directory -> a model in memory, every weight accounted for.

Only safetensors are opened. A weight that is missing or left over is an error, not a warning:
transformers would fill the hole with random numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tunesmith.compute import attention_kernels, experts
from tunesmith.config.model import Quantization
from tunesmith.errors import ModelError
from tunesmith.models import files, quantize
from tunesmith.models.classes import auto_class, class_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_SHOWN_NAMES = 6


def load_model(
    directory: Path,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    attention: str | None = None,
    quantization: Quantization | None = None,
    kernel: str = "auto",
) -> PreTrainedModel:
    """Load a language model, in evaluation mode, without gradients recorded so far.

    Args:
        directory: a plain transformers directory (see `source.fetch`).
        dtype: of the weights in memory.
        device: where they go.
        trust_remote_code: allow the directory's own Python code (`auto_map`).
        attention: name of an attention implementation; `None`: our own, which keeps documents
            apart, where the model takes it, else transformers' choice.
        quantization: hold the linear layers in fewer bits; see `quantize`.
        kernel: what computes our attention; see `compute.attention_kernels`.

    Raises:
        ConfigError: what quantises, or the kernel, is not there.
        ModelError: weights or architecture that cannot be used; names what is wrong.
    """
    directory = Path(directory)
    config = read_config(directory, trust_remote_code=trust_remote_code)
    files.weight_files(directory)
    attention_kernels.check(
        kernel, device=torch.device(device), dtype=dtype, head_dim=head_dim_of(config)
    )
    fewer = quantize.loading(quantization, device, dtype) if quantization else {}
    with quiet(), explained(directory, config):
        model, report = auto_class(config).from_pretrained(
            str(directory),
            config=config,
            dtype=dtype,
            attn_implementation=attention or own_attention(config, kernel),
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name and shapes
            **fewer,
        )
    _check_report(directory, report)
    check_tied(directory, model)
    experts.prepare(model)
    return model.to(device).eval()


def read_config(directory: Path, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's config, with an error that names the transformers version where it is unknown.

    Raises:
        ModelError: no config.json, one that cannot be read, or an unknown `model_type`.
    """
    import transformers

    raw = files.read_json(directory / "config.json")
    _refuse_old(directory, raw)
    refuse_remote_code(directory, raw, trust_remote_code=trust_remote_code)
    quantize.refuse_quantised(directory, raw)
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    model_type = raw.get("model_type")
    remote = bool(raw.get("auto_map")) and trust_remote_code
    if model_type not in known and not remote:
        raise ModelError(
            f"{directory}/config.json: model_type",
            got=model_type,
            need=f"an architecture that transformers {transformers.__version__} has"
            + files.nearest(str(model_type), list(known)),
            hint="upgrade transformers, or trust_remote_code=true if the model brings its code",
        )
    with explained(directory, model_type):
        return transformers.AutoConfig.from_pretrained(
            str(directory), trust_remote_code=trust_remote_code, local_files_only=True
        )


_OLD = {"minicpmv": "MiniCPM-V", "minicpmo": "MiniCPM-o"}
"""Models that come with code of their own, written for transformers 4: no later one runs it."""


def _refuse_old(directory: Path, config: dict[str, Any]) -> None:
    """Refuse a model whose code transformers has never taken in, with its successors that it has.

    Raises:
        ModelError: that is the case.
    """
    model_type = config.get("model_type")
    if model_type in _OLD:
        raise ModelError(
            f"{directory}/config.json: model_type",
            got=f"{model_type}: {_OLD[model_type]} with code of its own, for transformers 4",
            need="MiniCPM-V-4.6 (minicpmv4_6) or -4.7 (minicpmv4_7), which transformers 5.23 has",
            hint="model_name_or_path: openbmb/MiniCPM-V-4.6",
        )


def refuse_remote_code(directory: Path, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    """Refuse a model that runs its own Python code, unless that was asked for.

    Raises:
        ModelError: `auto_map` is there and `trust_remote_code` is not.
    """
    import transformers

    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    if config.get("auto_map") and not trust_remote_code and config.get("model_type") not in known:
        raise ModelError(
            f"{directory}/config.json: auto_map",
            got=", ".join(sorted({str(v) for v in config["auto_map"].values()})[:3]),
            need="a model that needs no Python code of its own",
            hint="trust_remote_code=true, if you trust whoever made it",
        )


def head_dim_of(config: PretrainedConfig) -> int:
    """Width of an attention head."""
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", 1)
    return getattr(text, "head_dim", None) or text.hidden_size // heads


def stored_dtype(directory: Path) -> torch.dtype:
    """The dtype that a model's `config.json` says it is stored in; fp32 where it says nothing."""
    config = files.read_json_if_there(Path(directory) / "config.json")
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return getattr(torch, name.removeprefix("torch."), torch.float32)


def own_attention(config: PretrainedConfig, kernel: str = "auto") -> str | None:
    """Name of our attention in transformers' registry; `None` for a model that ignores it.

    Raises:
        ModelError: a kernel was asked for, and the model ignores it.
    """
    from tunesmith.compute import attention

    if getattr(class_of(config), "_supports_attention_backend", False):
        return attention.register(kernel)
    if kernel != "auto":
        raise ModelError(
            "flash_attn", got=kernel, need=f"auto: {config.model_type} computes its own attention"
        )
    return None


@contextlib.contextmanager
def explained(
    directory: Path, config: Any, wanted: str = "a causal language model"
) -> Iterator[None]:
    """What transformers raises, as one error about the directory and what it should hold."""
    import transformers

    try:
        yield
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers and foreign code raise whatever they like
        kind = config if isinstance(config, str | None) else config.model_type
        raise ModelError(
            str(directory),
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}",
            need=f"{wanted} that transformers {transformers.__version__} can load "
            f"(model_type {kind!r})",
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bar and no load report of transformers; what matters is raised by us."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _check_report(directory: Path, report: Any) -> None:
    """Every tensor that the model wants was there, and every one that was there was wanted."""
    for key, wrong in (
        ("mismatched_keys", "weights have another shape than config.json says"),
        ("missing_keys", "weights that the model needs are not in the files"),
        ("unexpected_keys", "the files hold weights that the model has no place for"),
        ("error_msgs", "transformers could not convert weights"),
    ):
        names = sorted(_named(entry) for entry in (report.get(key) or ()))
        if names:
            shown = ", ".join(names[:_SHOWN_NAMES])
            more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
            raise ModelError(
                str(directory),
                got=f"{wrong}: {shown}{more}",
                need="weights and config.json of one and the same model",
                hint="fetch config.json and the weights again, from one source",
            )


def _named(entry: Any) -> str:
    """The name of a tensor; of one with another shape, transformers reports both shapes too."""
    if isinstance(entry, str):
        return entry
    name, stored, wanted = entry
    return f"{name} has {list(stored)}, not {list(wanted)}"


def check_tied(directory: Path, model: PreTrainedModel) -> None:
    """The head is the embedding exactly where config.json says so.

    Raises:
        ModelError: it says one thing and the model does the other.
    """
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    if head is None or embedding is None:
        return
    configs = (model.config.get_text_config(), model.config)  # one, of a model that only reads
    said = [bool(getattr(config, "tie_word_embeddings", False)) for config in configs]
    same = head.weight is embedding.weight
    if same not in said:
        raise ModelError(
            f"{directory}/config.json: tie_word_embeddings",
            got=said[0],
            need=f"{same}, which is what the loaded model does",
        )
