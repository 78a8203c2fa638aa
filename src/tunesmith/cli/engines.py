"""vLLM over the models of a run: what it can serve, and the command that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError
from tunesmith.infer.hf import split_stops
from tunesmith.infer.vllm import Vllm
from tunesmith.infer.vllm_process import Child, require
from tunesmith.models.adapter_files import read_spec
from tunesmith.models.load import read_config

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found
    from tunesmith.config.run import Run

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM has kernels for."""
USUAL = "tunesmith-base"
"""What vLLM calls the model without an adapter."""


def uses_vllm(asked: Run) -> bool:
    """Whether a run asks for vLLM; refused at once where that is not there.

    Raises:
        ConfigError: it is asked for and not installed, or for what it cannot do.
    """
    if asked.infer.infer_backend != "vllm":
        return False
    if asked.model.quantization is not None:
        raise ConfigError(
            asked.where("quantization_bit"), got=f"{asked.model.quantization}, and vllm",
            need="weights in 16 or 32 bits: vLLM would round them otherwise than training did",
            hint="infer_backend: huggingface",
        )  # fmt: skip
    try:
        require()
    except ConfigError as error:
        error.where = asked.where("infer_backend")
        raise
    return True


def refuse_vllm(asked: Run, verb: str) -> None:
    """For verbs that look into the model.

    Raises:
        ConfigError: the run asks for vLLM.
    """
    if asked.infer.infer_backend == "vllm":
        raise ConfigError(
            asked.where("infer_backend"), got="vllm",
            need=f"huggingface: {verb} looks into the model",
            hint="infer_backend=huggingface on the command line; vllm is for serve and predict",
        )  # fmt: skip


def over_vllm(
    asked: Run, found: Found, adapters: Mapping[str | None, Path | None], report: Any
) -> Vllm:
    """VLLM started over a base and its adapters.

    Args:
        asked: what was asked.
        found: its own model.
        adapters: directories by the names that requests use; `None`: the base alone.
        report: what the user sees while it starts.

    Raises:
        ConfigError: an adapter that vLLM cannot serve.
        ModelError: it does not start.
    """
    _refuse_ours(asked)
    ranks = [rank_of(asked, path) for path in adapters.values() if path is not None]
    context = context_of(asked, found.directory)
    names = {key: USUAL if path is None else str(key or "own") for key, path in adapters.items()}
    options: dict[str, Any] = {
        "model": found.directory,
        "served-model-name": USUAL,
        "dtype": _dtype(asked),
        "max-model-len": context,
        "gpu-memory-utilization": asked.infer.vllm_gpu_util,
        "enforce-eager": asked.infer.vllm_enforce_eager or None,
        "trust-remote-code": asked.model.trust_remote_code or None,
        "generation-config": "vllm",  # nothing is drawn by a setting that we did not send
        "max-logprobs": 20,
        "structured-outputs-config": '{"backend": "guidance"}',
    }
    if ranks:
        options |= {
            "enable-lora": True,
            "max-lora-rank": _room_for(max(asked.infer.vllm_max_lora_rank, *ranks)),
            "max-loras": len(ranks),
            "lora-modules": [
                f"{names[key]}={path}" for key, path in adapters.items() if path is not None
            ],
        }
    options |= {
        key.replace("_", "-"): value for key, value in (asked.infer.vllm_config or {}).items()
    }
    child = Child(
        options,
        deadline=asked.infer.vllm_start_seconds,
        report=lambda seconds: report.work("starting vLLM", int(seconds), None),
    )
    stop_ids, stop_texts = split_stops(found.tokenizer, found.renderer.stop_words)
    return Vllm(
        child.address,
        found.tokenizer.backend,
        models=names,
        stop_ids=stop_ids,
        stop_texts=stop_texts,
        context=context,
        died=child.died,
        end=child.end,
    )


def context_of(asked: Run, directory: Path) -> int | None:
    """Tokens of prompt and answer together, of the engine that a run asks for.

    Args:
        asked: what was asked.
        directory: of the model.
    """
    config = read_config(directory, trust_remote_code=asked.model.trust_remote_code)
    own = getattr(config.get_text_config(), "max_position_embeddings", None)
    if asked.infer.infer_backend != "vllm":
        return own
    return min(asked.infer.vllm_maxlen, own or asked.infer.vllm_maxlen)


def _refuse_ours(asked: Run) -> None:
    """Where vLLM listens, for whom and with what is not for its options to say."""
    ours = {"host", "port", "api_key", "model", "served_model_name", "lora_modules"}
    taken = ours & {key.replace("-", "_") for key in asked.infer.vllm_config or {}}
    if taken:
        raise ConfigError(
            asked.where("vllm_config"), got=", ".join(sorted(taken)),
            need="options that say nothing of where vLLM listens and what it loads",
        )  # fmt: skip


def rank_of(asked: Run, path: Path) -> int:
    """Of an adapter that vLLM can serve.

    Args:
        asked: what was asked.
        path: directory of the adapter.

    Raises:
        ConfigError: it holds more than low-rank matrices.
    """
    spec = read_spec(path)
    more = {
        "DoRA": spec.dora,
        f"modules trained in full ({', '.join(spec.additional_target)})": spec.additional_target,
        "rows of new tokens": spec.token_ids,
    }
    for what, there in more.items():
        if there:
            raise ConfigError(
                asked.where("infer_backend"), got=f"vllm, and {what} in {path}",
                need="adapters of low-rank matrices alone",
                hint="export the run and serve what was exported, or infer_backend: huggingface",
            )  # fmt: skip
    rank = 2 * spec.rank if spec.is_pissa else spec.rank
    if rank > _RANKS[-1]:
        raise ConfigError(
            asked.where("infer_backend"), got=f"vllm, and rank {rank} in {path}",
            need=f"a rank of {_RANKS[-1]} at most",
            hint="export the run and serve what was exported, or infer_backend: huggingface",
        )  # fmt: skip
    return rank


def _room_for(rank: int) -> int:
    """The smallest rank that vLLM has kernels for."""
    return next(size for size in _RANKS if size >= rank)


def _dtype(asked: Run) -> str:
    if asked.infer.infer_dtype != "auto":
        return asked.infer.infer_dtype
    if asked.train.fp16:
        return "float16"
    return {True: "bfloat16", False: "float32", None: "auto"}[asked.train.bf16]
