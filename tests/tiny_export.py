"""What tests of exports write: an adapter that changes something, GGUF files of every family."""

import torch

from tiny_model import tiny_model
from tunesmith.export import gguf_vocabulary, gguf_weights
from tunesmith.models import adapters
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.adapter_spec import LoraSpec
from tunesmith.models.load import load_model

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
NEAR = {"rope_type": "default", "rope_theta": 10000.0}
FAMILIES = {
    "llama": ("llama", {}),
    "llama, head of its own": ("llama", {"tied": False}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "head_dim": 32}),
    "llama, linear": ("llama", {"rope_parameters": LINEAR}),
    "mistral": ("mistral", {"head_dim": 32}),
    "qwen2": ("qwen2", {"tied": False}),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "gemma": ("gemma", {"head_dim": 32}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 16, "num_hidden_layers": 3}),
    "gemma3": ("gemma3_text", {"query_pre_attn_scalar": 16, "num_hidden_layers": 7}),
    "gemma3, linear": (
        "gemma3_text",
        {
            "query_pre_attn_scalar": 16,
            "num_hidden_layers": 7,
            "rope_parameters": {"full_attention": LINEAR, "sliding_attention": NEAR},
        },
    ),
}


def family(tmp_path, name):
    """A tiny model of an entry of `FAMILIES`, whose window is shorter than the test's text."""
    kind, more = FAMILIES[name]
    return tiny_model(tmp_path, kind, **more)


def written(directory, path, kind="f32", **more):
    """The file of a model directory."""
    model = load_model(directory, dtype=torch.float32)
    tokenizer = tokenizers.load(directory)
    words = gguf_vocabulary.vocabulary(
        tokenizer, rows=model.config.vocab_size, **({"chat_template": None} | more)
    )
    gguf_weights.write(
        path, model, kind=kind, vocabulary=words.keys, name="tiny", where=str(directory)
    )
    return path


def adapter(base, directory, *, seed=1, size=0.1, **spec):
    """An adapter that changes something, saved."""
    model = load_model(base, dtype=torch.float32)
    adapters.attach(model, LoraSpec(**({"rank": 4, "alpha": 8} | spec)), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapters.trainable(model).items():
        if name.endswith("lora_B"):
            parameter.data.normal_(std=size, generator=generator)
    directory.mkdir(parents=True)
    adapters.save_adapter(model, directory, str(base))
    return directory
