import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_batch import batch_of, random_examples
from tiny_model import KINDS, tiny_model
from tunesmith.compute import attention, chance
from tunesmith.compute.fused import blocks
from tunesmith.models import adapters
from tunesmith.stages.sft import loss_of

WHOLE = {"attention": 2, "gated": 2, "norm": 5}
FAMILIES = {
    "llama": WHOLE,
    "qwen2": WHOLE,
    "qwen3": WHOLE | {"norm": 9},
    "mistral": WHOLE,
    "smollm3": WHOLE,
    "granite": WHOLE,
    "gemma": {"attention": 2, "gated": 2},
    "gemma2": {"gated": 2},
    "gemma3_text": {"attention": 2, "gated": 2},
    "phi3": {"norm": 5},
    "olmo2": {"gated": 2, "norm": 9},
    "cohere": {"gated": 2},
    "gpt2": {},
}
WINDOWED = {
    "mistral": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
}


def load(directory, dtype=torch.float32, rank=4, **keys):
    model = AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=dtype
    ).train()
    if rank:
        adapters.attach(model, adapters.LoraSpec(rank, 8, **keys), seed=0)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in adapters.trainable(model).values():
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return model


def step(model, batch, dtype=None):
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        loss = loss_of()(model, batch)
    loss.total.backward()
    return loss.total.detach(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def assert_same(got, want, near=1e-5):
    assert abs(got[0] - want[0]) <= near * abs(want[0])
    assert got[1].keys() == want[1].keys()
    for name, grad in want[1].items():
        assert (got[1][name] - grad).norm() <= near * grad.norm(), name


BATCH = batch_of(random_examples((5, 5, 30, 1, 17, 3)))


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_learns_as_it_did_before(tmp_path, kind):
    model = load(tiny_model(tmp_path, kind, tokenizer=False), rank=0 if kind == "gpt2" else 4)
    want = step(model, BATCH)
    fused = blocks.fuse(model)
    assert fused.taken == FAMILIES[kind]
    assert_same(step(model, BATCH), want)


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_window_is_kept(tmp_path, kind):
    model = load(tiny_model(tmp_path, kind, tokenizer=False, **WINDOWED[kind]))
    want = step(model, BATCH)
    assert blocks.fuse(model).taken == WHOLE
    assert_same(step(model, BATCH), want)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma"])
def test_all_weights_may_learn_also_under_autocast(tmp_path, kind):
    model = load(tiny_model(tmp_path, kind, tokenizer=False), rank=0)
    truth = step(model, BATCH)
    rough = step(model, BATCH, torch.bfloat16)
    blocks.fuse(model)
    assert_same(step(model, BATCH), truth)
    ours = step(model, BATCH, torch.bfloat16)
    for name, grad in truth[1].items():
        near = 1.5 * (rough[1][name] - grad).norm() + 0.004 * grad.norm()
        assert (ours[1][name] - grad).norm() <= near, name
        assert ours[1][name].dtype == torch.float32


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_in_bf16_it_is_no_further_from_fp32_than_before(tmp_path, kind):
    directory = tiny_model(tmp_path, kind, tokenizer=False)
    model = load(directory, torch.bfloat16)
    _, truth = step(copy.deepcopy(model).float(), BATCH)
    _, before = step(model, BATCH)
    assert blocks.fuse(model).taken == FAMILIES[kind]
    _, after = step(model, BATCH)

    def away(found):
        return sum(float((found[n] - truth[n]).norm() / truth[n].norm()) for n in truth)

    assert away(after) <= 1.1 * away(before)


def test_recomputed_layers_give_the_same_bits_and_dropout_drops_the_same(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False), dropout=0.3)
    try:
        chance.seek(seed=0, step=1)
        want = step(model, BATCH)
        assert blocks.fuse(model).taken == WHOLE
        got = step(model, BATCH)
        assert_same(got, want)
        assert chance.enable_checkpointing(model) == 2
        again = step(model, BATCH)
    finally:
        chance._Now.draw = None
    assert torch.equal(again[0], got[0])
    for name, grad in got[1].items():
        assert torch.equal(again[1][name], grad), name


@torch.no_grad()
def test_switched_off_adapters_answer_as_the_base(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False)).eval()
    blocks.fuse(model)
    ids = torch.arange(5, 25)[None]
    with adapters.disabled(model):
        off = model(input_ids=ids).logits
    assert not torch.allclose(model(input_ids=ids).logits, off, atol=1e-3)
    adapters.merge(model)
    merged = model(input_ids=ids).logits
    blocks.plain(model)
    torch.testing.assert_close(model(input_ids=ids).logits, merged, rtol=1e-5, atol=1e-5)


def test_names_parameters_and_files_stay(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    before = {name: p.data_ptr() for name, p in model.named_parameters()}
    blocks.fuse(model)
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == before
    assert "model.layers.0.mlp.gate_proj.lora_A" in before


@torch.no_grad()
def test_generation_with_a_cache_is_the_models_own(tmp_path):
    model = load(tiny_model(tmp_path, "qwen3", tokenizer=False)).eval()
    ids = torch.arange(5, 25)[None]
    call = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0,
            "attention_mask": torch.ones_like(ids)}  # fmt: skip
    want = model.generate(ids, **call)
    blocks.fuse(model)
    assert torch.equal(model.generate(ids, **call), want)


def test_a_module_that_computes_something_else_is_left_with_the_reason(tmp_path, monkeypatch):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False), rank=0)
    kind = type(model.model.layers[0].mlp)
    monkeypatch.setattr(kind, "forward", lambda self, x: self.down_proj(
        self.act_fn(self.up_proj(x)) * self.gate_proj(x)))  # fmt: skip
    found = blocks.fuse(model)
    assert "gated" not in found.taken
    assert "differs" in found.left["LlamaMLP"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_code_says_is_what_is_done(tmp_path, kind):
    model = load(tiny_model(tmp_path, kind, tokenizer=False), rank=0)
    before = [module.__dict__.get("forward") for module in model.modules()]
    looked = blocks.look(model)
    assert [module.__dict__.get("forward") for module in model.modules()] == before
    assert looked == blocks.fuse(model)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("llama", ""),
        ("gemma2", "Gemma2Attention (its code uses attn_logit_softcapping), norms (of another"),
        ("phi3", "feed-forward blocks (of another form), attention (of another form)"),
        ("gpt2", "norms (of another form), feed-forward blocks (of another form), attention"),
    ],
)
def test_what_is_left_is_noted_with_the_reason(tmp_path, kind, said):
    model = load(tiny_model(tmp_path, kind, tokenizer=False), rank=0)
    note = blocks.look(model).note
    assert said in note
    assert bool(note) is bool(said)


def test_a_watched_module_is_left(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False), rank=0)
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    found = blocks.fuse(model)
    assert found.taken["gated"] == 1
    assert "watched" in found.left["LlamaMLP"]


def test_a_layer_of_another_kind_within_is_computed_by_the_models_own_code(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False), rank=0)
    blocks.fuse(model)
    seen = []
    mlp, own = model.model.layers[0].mlp, model.model.layers[0].self_attn
    for layer in (mlp.down_proj, own.k_proj):
        layer.register_forward_hook(lambda module, *_: seen.append(module))
    want = step(model, BATCH)
    assert set(seen) == {own.k_proj, mlp.down_proj}
    blocks.plain(model)
    assert_same(step(model, BATCH), want)


def test_a_second_call_changes_nothing_and_plain_takes_it_back(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    assert blocks.fuse(model) == blocks.fuse(model)
    blocks.plain(model)
    assert not any("forward" in vars(module) for module in model.modules())
