"""Documents side by side get what each gets alone, in models that carry state across tokens."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_batch import batch_of, random_examples
from tunesmith.compute import attention, chance, side_by_side
from tunesmith.compute.score import score
from tunesmith.models import adapters

pytestmark = pytest.mark.filterwarnings("ignore")
LENGTHS = (9, 4, 10, 9, 4)
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "intermediate_size": 48,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
GATED = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
MAMBA2 = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4,
    "mamba_chunk_size": 8,
}  # fmt: skip
FAMILIES = {
    "mamba": {"state_size": 4},
    "falcon_mamba": {"state_size": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "recurrent_gemma": {"lru_width": 32, "block_types": ["recurrent", "attention"]},
    "bamba": {**MAMBA2, "attn_layer_indices": [1]},
    "jamba": {
        "mamba_d_state": 4, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "num_experts": 2, "expert_layer_period": 2, "use_mamba_kernels": False,
    },
    "qwen3_next": {
        **GATED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
}  # fmt: skip


def model_of(kind="mamba"):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **FAMILIES[kind]})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.train()


def gradients(model, batches):
    """The summed log-probability of some batches, and its gradients."""
    model.zero_grad()
    total = sum(score(model, batch).logprob_P.sum() for batch in batches)
    total.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return total.item(), found


@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradients_are_those_of_documents_alone(kind):
    model, examples = model_of(kind), random_examples(LENGTHS, vocab=64)
    assert attention.isolation(model) == "per_document_forward"
    assert side_by_side.allowed(model)
    loss, got = gradients(model, [batch_of(examples)])
    alone_loss, want = gradients(model, [batch_of([example]) for example in examples])
    assert loss == pytest.approx(alone_loss, rel=1e-5)
    assert got.keys() == want.keys()
    scale = max(value.norm() for value in want.values())
    for name, value in want.items():
        assert (got[name] - value).norm() <= 1e-5 * max(value.norm(), 0.01 * scale), name


def test_a_pass_holds_several_documents():
    model, seen = model_of(), []
    side_by_side.allowed(model)
    model.backbone.register_forward_pre_hook(
        lambda _module, _args, keys: seen.append(keys.get("input_ids")), with_kwargs=True
    )
    batch = batch_of(random_examples(LENGTHS, vocab=64))
    score(model, batch)
    seen.clear()
    score(model, batch)
    assert [tuple(ids.shape) for ids in seen] == [(3, 10), (2, 4)]


def test_every_document_stands_once_and_little_is_filled_up():
    draw = torch.Generator().manual_seed(3)
    for count in (1, 2, 7, 50):
        lengths = torch.randint(1, 400, (count,), generator=draw).tolist()
        groups = side_by_side.together(lengths)
        assert sorted(row for rows in groups for row in rows) == list(range(count))
        for rows in groups:
            real = [lengths[row] for row in rows]
            assert max(real) * len(real) <= (1 + side_by_side.FILL) * sum(real)


def beside(out):
    return out + out.mean(0, keepdim=True)


def ahead(out):
    return out + torch.cat((out[:, 1:], torch.zeros_like(out[:, :1])), 1)


@pytest.mark.parametrize("looks", [beside, ahead])
def test_a_model_that_looks_at_other_rows_or_ahead_is_computed_one_by_one(looks):
    model = model_of()
    model.backbone.layers[0].register_forward_hook(lambda _module, _args, out: looks(out))
    assert not side_by_side.allowed(model)
    examples = random_examples(LENGTHS, vocab=64)
    together = score(model, batch_of(examples)).logprob_P
    alone = torch.cat([score(model, batch_of([example])).logprob_P for example in examples])
    torch.testing.assert_close(together, alone)


def test_dropout_does_not_see_the_layout():
    model, examples = model_of("lfm2"), random_examples(LENGTHS, vocab=64)
    adapters.attach(model, adapters.LoraSpec(4, 8, dropout=0.5), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    batch = batch_of(examples)
    chance.seek(seed=1, step=1)
    loss, got = gradients(model.train(), [batch])
    side_by_side._known[model] = False
    alone_loss, want = gradients(model, [batch])
    assert loss == pytest.approx(alone_loss, rel=1e-5)
    dry, _ = gradients(copy.deepcopy(model).eval(), [batch])
    assert loss != pytest.approx(dry, rel=1e-3)
    for name, value in want.items():
        assert (got[name] - value).norm() <= 1e-4 * value.norm(), name
