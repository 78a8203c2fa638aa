"""What computes answers, and in which precision."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Le, Lt
from pydantic import BeforeValidator

from tunesmith.config.kinds import Count, Flag, Positive, Section, Table


def _backend(value: Any) -> Any:
    return "huggingface" if value == "hf" else value


class Infer(Section):
    """What computes answers, and in which precision."""

    infer_backend: Annotated[Literal["huggingface", "vllm"], BeforeValidator(_backend)] = (
        "huggingface"
    )
    """What answers in `serve` and `predict`: our own engine over transformers (`huggingface`, also
    `hf`), or vLLM in a process of its own (`vllm`; for GPUs, `tunesmith[vllm]`)."""
    infer_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Precision in which answers are computed; an export keeps that of its base. `auto`: as in
    training, so what `bf16` and `fp16` say, else bf16 where it is native."""
    vllm_maxlen: Count = 4096
    """Tokens of prompt and answer together that vLLM keeps room for; never more than the model's
    own context."""
    vllm_gpu_util: Annotated[Positive, Le(1)] = 0.7
    """Share of a GPU's memory that vLLM takes."""
    vllm_enforce_eager: Flag = False
    """vLLM starts sooner and answers slower: without CUDA graphs."""
    vllm_max_lora_rank: Annotated[Count, Lt(513)] = 32
    """Largest rank of the adapters that vLLM makes room for; raised to that of the adapters."""
    vllm_start_seconds: Count = 1800
    """After how many seconds a vLLM that does not answer is given up."""
    vllm_config: Table | None = None
    """Further options of vLLM's server by their names, such as `{tensor_parallel_size: 2}`."""
