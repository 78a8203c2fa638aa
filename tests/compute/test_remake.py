"""What is made again is what was there, bit by bit, and is not kept beside what it is made of."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_batch import batch_of, random_examples
from tiny_model import tiny_model
from tunesmith.compute import attention, chance, remake
from tunesmith.compute.fused import blocks
from tunesmith.compute.fused.norm import rms_norm
from tunesmith.compute.lora import LoraLinear
from tunesmith.models import adapters
from tunesmith.stages.sft import loss_of

BATCH = batch_of(random_examples((5, 5, 30, 1, 17, 3)))
TOKENS = 61
LORA = adapters.LoraSpec(4, 8, dropout=0.2)
CASES = {
    "lora, fp32": ("llama", torch.float32, LORA),
    "lora, bf16": ("llama", torch.bfloat16, LORA),
    "dora": ("llama", torch.bfloat16, adapters.LoraSpec(4, 8, dora=True)),
    "norms of heads": ("qwen3", torch.bfloat16, LORA),
    "layers one by one": ("phi3", torch.bfloat16, LORA),
    "full, autocast": ("qwen2", torch.float32, None),
}


@pytest.fixture
def kept(monkeypatch):
    """Inputs are kept in place of what they are made of."""
    return lambda: monkeypatch.setattr(remake, "how", lambda x: None)


def model_of(folder, case):
    kind, dtype, spec = CASES[case]
    model = AutoModelForCausalLM.from_pretrained(
        tiny_model(folder, kind, tokenizer=False), attn_implementation=attention.register(),
        dtype=dtype,
    ).train()  # fmt: skip
    if spec:
        adapters.attach(model, spec, seed=0)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in adapters.trainable(model).values():
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    assert blocks.fuse(model).taken["norm"]
    return model


def step(model, *, autocast=False):
    """(loss, gradients, bytes of the storages that are kept for the backward pass)."""
    saved = {}

    def look(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.zero_grad(set_to_none=True)
    with (
        chance.here(seed=0, step=1),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor),
    ):
        loss = loss_of()(model, BATCH)
    with chance.here(seed=0, step=1):
        loss.total.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.total.detach(), grads, sum(saved.values())


@pytest.mark.parametrize("case", CASES)
def test_the_step_has_the_same_bits_and_keeps_less(tmp_path, case, kept):
    model, mixed = model_of(tmp_path, case), CASES[case][2] is None
    ours = step(model, autocast=mixed)
    kept()
    theirs = step(model, autocast=mixed)
    assert torch.equal(ours[0], theirs[0])
    assert ours[1].keys() == theirs[1].keys()
    for name, grad in theirs[1].items():
        assert torch.equal(ours[1][name], grad), name
    assert ours[2] < theirs[2]


def test_of_each_layer_the_outputs_of_two_norms_are_not_kept(tmp_path, kept):
    model = model_of(tmp_path, "lora, bf16")
    ours = step(model)[2]
    kept()
    one = 2 * TOKENS * model.config.hidden_size
    # what comes from the embedding is held by nobody: the first norm's output is kept in its place
    assert step(model)[2] - ours == (2 * model.config.num_hidden_layers - 1) * one


def test_what_was_changed_in_place_is_kept_as_it_is():
    x = torch.randn(9, 16, requires_grad=True)
    layer = LoraLinear(torch.nn.Linear(16, 8), rank=2, scaling=1.0)
    torch.nn.init.normal_(layer.lora_A)
    torch.nn.init.normal_(layer.lora_B)

    def pull(change):
        out = change(rms_norm(x, torch.ones(16), 1e-6))
        return torch.autograd.grad(layer(out).square().sum(), layer.lora_A)[0]

    assert torch.equal(pull(lambda out: out.mul_(3)), pull(lambda out: out * 3))


def test_without_a_backward_pass_nothing_is_held():
    x = torch.randn(3, 8)
    assert remake.how(rms_norm(x, torch.ones(8), 1e-6)) is None
    with torch.no_grad():
        assert remake.how(rms_norm(x.requires_grad_(), torch.ones(8), 1e-6)) is None
    assert remake.how(rms_norm(x, torch.ones(8), 1e-6)) is not None


def test_rows_that_do_not_lie_end_to_end_are_copied_once():
    x = torch.randn(8, 6, requires_grad=True).T
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = rms_norm(x, torch.ones(8), 1e-6)
    made = remake.how(out)
    assert made.of[0].data_ptr() in {t.data_ptr() for t in saved}
    assert torch.equal(made.make(*made.of), out)
