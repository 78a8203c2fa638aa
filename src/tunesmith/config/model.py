"""What is trained, how it answers, and what is exported."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal, NamedTuple

from annotated_types import Le
from pydantic import BeforeValidator, Field

from tunesmith.config.kinds import (
    Count,
    Flag,
    Folder,
    Names,
    Natural,
    Positive,
    Says,
    Secret,
    Section,
    Text,
)


class Quantization(NamedTuple):
    """How the frozen weights of linear layers are held."""

    bits: Literal[4, 8]
    kind: Literal["nf4", "fp4", "int8", "fp8"]
    double: bool = False
    """Whether the scales are quantised too."""
    method: Literal["bnb", "fp8"] = "bnb"

    def __str__(self) -> str:
        if self.kind == "fp8":
            return "8-bit fp8"
        double = ", double quantisation" if self.double else ""
        return f"{self.bits}-bit {self.kind} ({self.method}{double})"


class Model(Section):
    """The model and its adapters: where they are and how they are loaded."""

    model_name_or_path: Text | None = None
    """The model: a local directory, a `.gguf` file, `package:NAME/FILE` (a file inside an
    installed Python package), or the id of a model on the hub."""
    adapter_name_or_path: Names = ()
    """LoRA adapters on top of the model: directories or hub ids. All but the last are merged;
    the last is trained on, unless `create_new_adapter` merges it too."""
    adapter_mismatch: Literal["refuse", "report"] = "refuse"
    """An adapter that was trained over other weights than those it is put on: an error, or told
    in a note. Weights are known by a fingerprint: other names, files or shards and fp32 in place
    of bf16 are the same model, one whose weights were rounded otherwise (fp16, 4 bits) is not."""
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    """Where a hub id is looked up. Not set: `USE_MODELSCOPE_HUB=1` in the environment
    chooses modelscope, with a note."""
    cache_dir: Folder | None = None
    """Directory for downloaded models. Not set: Tunesmith's own cache."""
    model_revision: Text = "main"
    """Branch, tag or commit of the model on the hub."""
    trust_remote_code: Flag = False
    """Run Python code that comes with the model. Leave it off unless the model needs it and
    you have read that code."""
    resize_vocab: Flag = False
    """Give new tokens rows in embedding and head: spare rows first, then new ones. Tokens of
    `add_tokens`, `add_special_tokens` and `new_special_tokens_config` need it; stop words of the
    template that are no tokens are added too. With LoRA the new rows are learned and saved."""
    add_tokens: Names = ()
    """Tokens added to the vocabulary that a decoder shows, separated by commas."""
    add_special_tokens: Names = ()
    """Control tokens added to the vocabulary, separated by commas."""
    new_special_tokens_config: Folder | None = None
    """YAML file of `token: description` lines: control tokens to add in place of
    `add_special_tokens`. A new row is the mean of the rows of its description's tokens; of all
    tokens where the description is empty."""
    flash_attn: Literal["auto", "disabled", "sdpa", "fa2", "fa3"] = "auto"
    """Attention kernel: the fastest that is here (`auto`), torch's (`sdpa`), FlashAttention 2 or
    3 (`fa2`, `fa3`; one that is not here is refused), or none (`disabled`). Documents are
    kept apart by every one."""
    quantization_bit: Literal[4, 8] | None = None
    """Hold the frozen weights in so many bits and train an adapter over them (QLoRA,
    arXiv:2305.14314). Needs `tunesmith[bnb]` unless the method is `fp8`. Not set: the weights
    stay as they are."""
    quantization_method: Literal["bnb", "fp8"] = "bnb"
    """Who quantises: bitsandbytes, while the model is loaded; or `fp8`, with 8 bits: weights are
    rounded once, products are in FP8. That takes the memory of bf16 and is meant for speed on GPUs
    that have such products (Ada, Hopper). The first rows are compared before the first step."""
    quantization_type: Literal["nf4", "fp4"] = "nf4"
    """What 4 bits stand for: quantiles of a normal distribution, or small floating-point
    numbers."""
    double_quantization: Flag = True
    """Hold the scales of 4 bits in 8 bits: 0.37 bits less for each weight."""
    disable_gradient_checkpointing: Flag = False
    """Never recompute activations in the backward pass: faster, more memory. Otherwise the
    plan recomputes only where memory demands it."""
    hf_hub_token: Secret | None = None
    """Access token of the Hugging Face hub. Never printed or stored; better set as `HF_TOKEN`
    in the environment."""
    ms_hub_token: Secret | None = None
    """Access token of the ModelScope hub. Never printed or stored."""

    @property
    def quantization(self) -> Quantization | None:
        """How the frozen weights are held; `None`: dense."""
        bits, method = self.quantization_bit, self.quantization_method
        if bits is None:
            return None
        if bits == 8:
            return Quantization(8, "fp8" if method == "fp8" else "int8", method=method)
        return Quantization(4, self.quantization_type, self.double_quantization, method)


class Generate(Section):
    """How answers are drawn in chat; what is not set comes from the model's own settings."""

    do_sample: Flag | None = None
    """Draw tokens at random (true) or always take the most probable one (false)."""
    max_new_tokens: Count = 1024
    """Longest answer, in tokens."""
    temperature: Positive | None = None
    """Softness of the draw: below 1 prefers probable tokens, above 1 flattens. For the most
    probable token always, set `do_sample: false`."""
    top_p: Annotated[Positive, Le(1)] | None = None
    """Draw only from the most probable tokens that together have this probability."""
    top_k: Natural | None = None
    """Draw only from this many most probable tokens; 0: from all."""
    repetition_penalty: Positive | None = None
    """Divides the scores of tokens that already occurred; 1.0 changes nothing."""


EXPORT_FORMATS = (
    "merged", "adapter",
    "gguf-f32", "gguf-f16", "gguf-bf16", "gguf-q8_0", "gguf-q4_k_m",
    "ollama", "ollama-q8_0", "ollama-q4_k_m",
    "bnb-4bit", "bnb-8bit",
)  # fmt: skip
"""What a tuned model can be exported as."""


def _formats(value: object) -> object:
    """Names as everywhere, each one that there is."""
    names = [n.strip() for n in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    unknown = [n for n in names if n not in EXPORT_FORMATS]
    if unknown:
        near = get_close_matches(str(unknown[0]), EXPORT_FORMATS, n=1)
        raise ValueError(f"{unknown[0]} is not one of them" + (f"; {near[0]}?" if near else ""))
    return tuple(names)


class Export(Section):
    """What `tunesmith export` makes of a tuned model, and where it puts it."""

    export_format: Annotated[
        Names, BeforeValidator(_formats), Says(f"one or several of {', '.join(EXPORT_FORMATS)}")
    ] = ()
    """What the tuned model is exported as, one or several: a plain transformers directory
    (`merged`), the adapter alone, a GGUF file, a directory for Ollama, or a directory whose
    weights bitsandbytes holds. Several get a directory of their name each. Not set: `merged`."""
    export_dir: Folder | None = None
    """Directory for the export. Not set: `export` in `output_dir`."""
    export_size: Count = 5
    """Largest size of one weight file, in GB."""
    export_device: Literal["cpu", "auto"] = "cpu"
    """Device on which adapters are merged; `auto` is the GPU where there is one."""
    export_quantization_bit: Literal[4, 8] | None = None
    """LLaMA-Factory's word for a quantised export. Here 4 means `export_format: bnb-4bit` and 8
    `bnb-8bit`, by bitsandbytes, which needs no calibration rows. Not set: what
    `export_format` says."""
    export_hub_model_id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    """Repository on the Hugging Face hub that the export is uploaded to, `owner/name`; made where
    it is missing. The token is `hf_hub_token` or `HF_TOKEN`. Not set: nothing is uploaded."""
    hub_private_repo: Flag = True
    """A repository that the upload makes is for its owner alone; false: for everybody to read. One
    that is there stays as it is."""

    @property
    def formats(self) -> tuple[str, ...]:
        """What is exported."""
        if self.export_quantization_bit is not None:
            return (f"bnb-{self.export_quantization_bit}bit",)
        return tuple(dict.fromkeys(self.export_format)) or ("merged",)
