import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.compute import attention, precision
from tunesmith.compute.lora import LoraLinear
from tunesmith.errors import ConfigError

CPU = torch.device("cpu")


def test_nothing_asked_for_is_bf16_where_it_is_native_and_fp32_elsewhere(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"avx512_bf16"})
    assert precision.choose("cpu", bf16=None, fp16=None).dtype == torch.bfloat16
    assert precision.choose("cpu", bf16=False, fp16=None).dtype == torch.float32
    monkeypatch.setattr(precision, "_cpu_flags", set)
    assert precision.choose("cpu", bf16=None, fp16=None).dtype == torch.float32


def test_bf16_is_what_was_asked_for_native_or_not(monkeypatch):
    for flags, known in (({"amx_bf16", "avx512_bf16"}, "amx_bf16"), ({"bf16"}, "arm bf16")):
        monkeypatch.setattr(precision, "_cpu_flags", lambda flags=flags: flags)
        chosen = precision.choose("cpu", bf16=True, fp16=False)
        assert (chosen.name, chosen.instructions, chosen.note) == ("bf16", known, None)


def test_emulated_bf16_is_told_with_the_factor(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_flags", set)
    monkeypatch.setattr(
        precision, "speed", lambda _device, dtype: 1e9 if dtype == torch.bfloat16 else 3.2e9
    )
    chosen = precision.choose("cpu", bf16=True, fp16=False)
    assert chosen.dtype == torch.bfloat16
    assert chosen.note == "bf16 is emulated here; bf16: false multiplies 3.2 times as fast"


def test_fp32_where_bf16_is_faster_is_told(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"amx_bf16"})
    monkeypatch.setattr(
        precision, "speed", lambda _device, dtype: 5e9 if dtype == torch.bfloat16 else 1e9
    )
    chosen = precision.choose("cpu", bf16=False, fp16=False)
    assert chosen.dtype == torch.float32
    assert chosen.note == "bf16: true multiplies 5.0 times as fast here"


@pytest.mark.parametrize(
    ("asked", "name", "note"),
    [
        (None, "fp32", "fp16: true multiplies 7.0 times as fast here"),
        (False, "fp32", "fp16: true multiplies 7.0 times as fast here"),
        (True, "bf16", "bf16 is emulated here; fp16: true multiplies 14.0 times as fast"),
    ],
)
def test_a_gpu_without_bf16_is_told_of_fp16(monkeypatch, asked, name, note):
    """A V100, on which many have learned from the tutorial."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    speeds = {torch.float16: 98e12, torch.float32: 14e12, torch.bfloat16: 7e12}
    monkeypatch.setattr(precision, "speed", lambda _device, dtype: speeds[dtype])
    chosen = precision.choose("cuda", bf16=asked, fp16=None)
    assert (chosen.name, chosen.note, chosen.instructions) == (name, note, "cuda 7.0")
    chosen = precision.choose("cuda", bf16=None, fp16=True)
    assert (chosen.name, chosen.note) == ("fp16", None)
    assert "scaled" in chosen.reason


def test_fp16_is_refused_on_a_processor():
    with pytest.raises(ConfigError, match="fp16") as caught:
        precision.choose("cpu", bf16=False, fp16=True)
    assert caught.value.hint == "bf16: true"


def test_two_precisions_at_once_are_refused():
    with pytest.raises(ConfigError, match="bf16, fp16"):
        precision.choose("cpu", bf16=True, fp16=True)


def test_a_product_is_timed():
    assert precision.speed(CPU, torch.float32) > 1e7


def test_threads_are_what_was_said():
    before = torch.get_num_threads()
    try:
        assert precision.pin(1) == torch.get_num_threads() == 1
    finally:
        precision.pin(before)


def test_autocast_is_on_only_where_the_models_own_weights_learn_in_fp32():
    base = nn.Linear(4, 4, dtype=torch.bfloat16)
    adapted = nn.Sequential(LoraLinear(base, rank=2, scaling=1.0))
    run = precision.Precision(torch.bfloat16, CPU, "test", "test")
    with run.context(adapted):
        assert not torch.is_autocast_enabled("cpu")
    with run.context(nn.Sequential(nn.Linear(4, 4))):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    plain = precision.Precision(torch.float32, CPU, "test", "test")
    with plain.context(nn.Linear(4, 4)):
        assert not torch.is_autocast_enabled("cpu")


def test_an_update_within_the_context_is_seen_by_the_next_forward_pass():
    layer, x = nn.Linear(4, 4), torch.ones(1, 4)
    with precision.Precision(torch.bfloat16, CPU, "test", "test").context(layer):
        before = layer(x)
        with torch.no_grad():
            layer.weight.add_(1)
        after = layer(x)
    assert before.dtype == torch.bfloat16
    assert (after - before).min() > 3


def test_the_probe_tells_weights_apart_and_repeats_itself(tmp_path):
    directory = tiny_model(tmp_path, "llama", tokenizer=False)
    model = AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=torch.float32
    ).train()
    first = precision.probe(model)
    assert len(first) == 64
    assert first == precision.probe(model)
    assert model.training
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    assert precision.probe(model) != first


def test_the_processors_flags_are_read():
    known, name = precision.native_bf16(CPU)
    assert name
    assert known == bool(precision._cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"})
