"""A kernel that is asked for is used or refused with what to do; all of them compute the same."""

import sys
import types
from itertools import pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_batch import batch_of, random_examples
from tiny_model import tiny_model
from tunesmith.compute import attention, varlen
from tunesmith.compute.attention_kernels import FLASH, NAMES, available, check
from tunesmith.errors import ConfigError, ModelError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def asked(kernel, device=CUDA, dtype=torch.bfloat16, head_dim=64):
    check(kernel, device=device, dtype=dtype, head_dim=head_dim)


def refused(kernel, **keys):
    with pytest.raises(ConfigError, match="flash_attn") as caught:
        asked(kernel, **keys)
    assert caught.value.got == kernel
    return caught.value


@pytest.fixture
def gpu(monkeypatch):
    """A machine that says it has a GPU and FlashAttention."""

    def have(*capability, modules=("flash_attn", "flash_attn_interface")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        for name in ("flash_attn", "flash_attn_interface"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        for name in modules:
            module = types.ModuleType(name)
            module.__spec__ = types.SimpleNamespace(name=name)
            monkeypatch.setitem(sys.modules, name, module)

    return have


def test_every_name_of_the_key_is_told():
    from typing import get_args

    from tunesmith.config.model import Model

    assert set(NAMES) == set(get_args(Model.model_fields["flash_attn"].annotation))


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "disabled"])
def test_what_torch_brings_is_there_on_every_device_in_every_precision(kernel):
    asked(kernel, device=CPU, dtype=torch.float32, head_dim=512)


@pytest.mark.parametrize("kernel", FLASH)
def test_without_a_gpu_the_rest_is_named(kernel):
    error = refused(kernel, device=CPU)
    assert "this run is on cpu; what is here: auto, sdpa, disabled" in error.need


@pytest.mark.parametrize(
    ("kernel", "capability", "there"),
    [
        ("fa2", (7, 0), False), ("fa2", (8, 0), True), ("fa2", (9, 0), True),
        ("fa3", (8, 9), False), ("fa3", (9, 0), True), ("fa3", (10, 0), False),
    ],
)  # fmt: skip
def test_each_is_for_the_gpus_that_it_was_written_for(gpu, kernel, capability, there):
    gpu(*capability)
    assert (kernel in available(CUDA)) == there
    if there:
        asked(kernel)
    else:
        assert f"this is {capability[0]}.{capability[1]}" in refused(kernel).need


@pytest.mark.parametrize("kernel", FLASH)
def test_one_that_is_not_installed_comes_with_its_command(gpu, kernel):
    gpu(9, 0, modules=())
    error = refused(kernel)
    assert "not installed" in error.need
    assert error.hint.startswith(FLASH[kernel].install)


def test_precision_and_head_are_those_that_the_kernels_know(gpu):
    gpu(9, 0)
    assert "fp32" in refused("fa2", dtype=torch.float32).need
    assert "this model has 512" in refused("fa3", head_dim=512).need


def load(directory, kernel):
    name = attention.register(kernel)
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=name, dtype=torch.float32
    ).eval()


@pytest.mark.parametrize("kernel", ["sdpa", "disabled"])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "gemma3_text"])
@torch.no_grad()
def test_every_kernel_computes_the_same_and_keeps_documents_apart(tmp_path, kind, kernel):
    directory, batch = tiny_model(tmp_path, kind), batch_of(random_examples((5, 31, 17, 17)))
    found = []
    for name in ("auto", kernel):
        model = load(directory, name)
        assert attention.isolation(model) == "varlen"
        mask = attention.documents(batch.offsets)
        body = attention.decoder(model)
        found.append(attention.run(body, batch.ids_T, batch.positions_T, mask))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "calls"), [("sdpa", "scaled_dot_product_attention"),
                                               ("disabled", "_eager")])  # fmt: skip
@torch.no_grad()
def test_the_kernel_that_is_asked_for_is_the_one_that_runs(tmp_path, monkeypatch, kernel, calls):
    used, real = [], getattr(attention, calls)
    monkeypatch.setattr(attention, calls, lambda *a, **k: used.append(calls) or real(*a, **k))
    other = "_eager" if kernel == "sdpa" else "scaled_dot_product_attention"
    monkeypatch.setattr(attention, other, None)
    monkeypatch.setattr(attention.flash_cpu, "attend", None)
    batch, model = batch_of(random_examples((5, 9))), load(tiny_model(tmp_path), kernel)
    mask = attention.documents(batch.offsets)
    attention.run(attention.decoder(model), batch.ids_T, batch.positions_T, mask)
    assert len(used) == 2 * 2, "two layers, two documents"


@pytest.mark.parametrize("kernel", FLASH)
@pytest.mark.parametrize("window", [None, 4])
def test_flash_attention_is_called_as_it_documents(monkeypatch, kernel, window):
    """A stand-in that takes what the real one does: (T, H, E), starts, lengths, options."""
    called = []

    def stand_in(q, k, v, from_q, from_k, longest_q, longest_k, *, softmax_scale, causal,
                 window_size):  # fmt: skip
        called.append(window_size)
        assert causal
        assert from_q.tolist() == from_k.tolist() == [0, 3, 14, 20]
        assert from_q.dtype == torch.int32
        assert longest_q == longest_k == 11
        parts = []
        for start, end in pairwise(from_q.tolist()):
            x = [y[start:end].transpose(0, 1)[None] for y in (q, k, v)]
            left = None if window_size[0] < 0 else window_size[0] + 1
            mask = attention.causal_mask(end - start, left, q.device)
            out = torch.nn.functional.scaled_dot_product_attention(
                *x, mask, scale=softmax_scale, enable_gqa=True
            )
            parts.append(out[0].transpose(0, 1))
        found = torch.cat(parts)
        return (found, None) if kernel == "fa3" else found

    module = types.ModuleType(FLASH[kernel].module)
    module.flash_attn_varlen_func = stand_in
    monkeypatch.setitem(sys.modules, FLASH[kernel].module, module)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 20, 8, generator=draw).bfloat16() for n in (4, 2, 2))
    got = varlen.attend(q, k, v, offsets=(0, 3, 14, 20), scaling=None, window=window, asked=kernel)
    want = varlen._per_document(q, k, v, offsets=(0, 3, 14, 20), scaling=None, window=window)
    torch.testing.assert_close(got, want, rtol=0.02, atol=0.02)
    assert called == [(-1 if window is None else window - 1, 0)]


@torch.no_grad()
def test_a_model_that_caps_its_scores_is_not_given_a_kernel_that_does_not(tmp_path):
    model = load(tiny_model(tmp_path, "gemma2"), "fa2")
    with pytest.raises(ModelError, match="fa2"):
        model(torch.arange(5)[None])
