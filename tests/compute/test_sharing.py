"""Rows that share their beginnings have the loss and the gradients that each has alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from alike import alike
from tiny_batch import batch_of
from tiny_model import tiny_model
from tunesmith.compute import attention, chance, sharing
from tunesmith.compute.fused import blocks
from tunesmith.compute.score import hidden, score
from tunesmith.data.batches import lay_out
from tunesmith.errors import ModelError, TrainError
from tunesmith.models import adapters

KINDS = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {},
    "mistral": {"sliding_window": 8},
    "gemma": {},
    "gemma2": {"attn_logit_softcapping": 0.5},
    "gemma3_text": {},
    "phi3": {"sliding_window": 8},
    "gpt2": {},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "tied": False},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmo2": {},
    "granite": {"logits_scaling": 6.0},
    "cohere": {},
}


def load(tmp_path, kind="llama", dtype=torch.float32, **keys):
    directory = tiny_model(tmp_path, kind, tokenizer=False, **keys)
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=dtype
    ).train()


def learned(model, batches, weights=None):
    """Sum of the log-probabilities of each row, and the gradients of their sum."""
    model.zero_grad()
    rows = {}
    for batch in batches:
        said = score(model, batch).logprob_P
        sums = torch.stack([part.sum() for part in said.split(batch.num_trained)])
        if weights is not None:
            (sums * weights[list(batch.rows)]).sum().backward()
        else:
            sums.sum().backward()
        rows |= dict(zip(batch.rows, sums.detach().tolist(), strict=True))
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return [rows[row] for row in sorted(rows)], gradients


def one_by_one(examples):
    """Each row in a batch of its own, by hand."""
    return [
        batch_of([e], [i])._replace(num_trained=(int(e.trained[1:].sum()),))
        for i, e in enumerate(examples)
    ]


def without_first(examples):
    """`batch_of` believes what is marked; the first token of a row never is."""
    for example in examples:
        example.trained[0] = False
    return examples


def assert_equal(got, want, limit=1e-5):
    torch.testing.assert_close(torch.tensor(got[0]), torch.tensor(want[0]), rtol=limit, atol=limit)
    assert got[1].keys() == want[1].keys()
    for name, value in want[1].items():
        assert (got[1][name] - value).norm() <= limit * value.norm().clamp_min(1e-12), name


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_each_row_alone(tmp_path, kind):
    model = load(tmp_path, kind, **KINDS[kind])
    assert sharing.shares(model)
    examples = without_first(alike(8, count=9))
    batches = lay_out(examples, range(9), max_tokens=10_000, share=True)
    assert sum(batch.saved for batch in batches) > 0.3 * sum(len(e.ids) for e in examples)
    assert_equal(learned(model, batches), learned(model, one_by_one(examples)))


@pytest.mark.parametrize("max_tokens", [10_000, 150, 60])
@pytest.mark.parametrize("seed", range(3))
def test_any_tree_any_weight_of_rows_and_any_split_into_micro_batches(tmp_path, seed, max_tokens):
    model = load(tmp_path)
    examples = without_first(alike(seed, count=16))
    weights = torch.rand(16, generator=torch.Generator().manual_seed(seed)) - 0.3
    batches = lay_out(examples, range(16), max_tokens=max_tokens, share=True)
    want = learned(model, one_by_one(examples), weights)
    assert_equal(learned(model, batches, weights), want)


def test_hidden_states_are_equal_to_ten_digits_in_fp64(tmp_path):
    model = load(tmp_path, "gpt2", dtype=torch.float64)  # others round to fp32 in their norms
    examples = without_first(alike(1, count=12))
    (batch,) = lay_out(examples, range(12), max_tokens=10_000, share=True)

    def of(batches):
        model.zero_grad()
        parts = {}
        for one in batches:
            states = hidden(model, one)
            parts |= dict(zip(one.rows, states.split(one.num_trained), strict=True))
        states = torch.cat([parts[row] for row in sorted(parts)])
        generator = torch.Generator().manual_seed(0)
        (states * torch.randn(states.shape, generator=generator)).sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        return [states.detach(), *gradients]

    got = of([batch])
    # documents(...) has no backward in fp64 on a processor: their own attention is transformers'
    model.config._attn_implementation = "sdpa"
    want = of(one_by_one(examples))
    for a, b in zip(got, want, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()


def test_recomputed_layers_give_the_same(tmp_path):
    model = load(tmp_path)
    examples = without_first(alike(2))
    batches = lay_out(examples, range(12), max_tokens=10_000, share=True)
    want = learned(model, one_by_one(examples))
    chance.enable_checkpointing(model)
    assert_equal(learned(model, batches), want)


@pytest.mark.parametrize("fused", [False, True])
def test_adapters_learn_the_same(tmp_path, fused):
    model = load(tmp_path)
    model.requires_grad_(False)
    adapters.attach(model, adapters.LoraSpec(4, 8), seed=0)
    for name in adapters.attached(model):
        torch.nn.init.normal_(model.get_submodule(name).lora_B, std=0.1)
    examples = without_first(alike(4))
    batches = lay_out(examples, range(12), max_tokens=10_000, share=True)
    want = learned(model, one_by_one(examples))
    if fused:
        blocks.fuse(model)
        assert sharing.shares(model)
    assert_equal(learned(model, batches), want)


def test_bf16_is_as_near_to_fp32_as_without_sharing(tmp_path):
    model = load(tmp_path)
    examples = without_first(alike(5))
    plain = lay_out(examples, range(12), max_tokens=10_000)
    shared = lay_out(examples, range(12), max_tokens=10_000, share=True)
    (exact, truth), rough = learned(model, plain), model.to(torch.bfloat16)
    errors = []
    for batches in (plain, shared):
        sums, gradients = learned(rough, batches)
        loss = abs(sum(sums) - sum(exact)) / abs(sum(exact))
        far = sum((gradients[n].float() - g).norm() ** 2 for n, g in truth.items()) ** 0.5
        errors.append((loss, float(far / sum(g.norm() ** 2 for g in truth.values()) ** 0.5)))
    (plain_loss, plain_far), (loss, far) = errors
    assert loss < 0.002 > plain_loss
    assert far < 1.5 * plain_far < 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_is_refused_where_rows_share(tmp_path, dropout):
    """Each row would drop something else of a token that they share."""
    model = load(tmp_path)
    adapters.attach(model, adapters.LoraSpec(4, 8, dropout), seed=0)
    (batch,) = lay_out(alike(6), range(12), max_tokens=10_000, share=True)
    chance.seek(seed=1, step=1)
    try:
        if dropout:
            with pytest.raises(TrainError, match="dropout"):
                score(model, batch)
        else:
            score(model, batch)
    finally:
        chance._Now.draw = None


def test_layers_that_are_not_told_of_the_tree_are_found_out(tmp_path):
    model = load(tmp_path)
    (batch,) = lay_out(alike(7), range(12), max_tokens=10_000, share=True)
    body, forward = attention.decoder(model), attention.decoder(model).forward

    def deaf(*args, attention_mask=None, **keys):
        if attention_mask is not None and attention_mask.shape[2] == 2:
            attention_mask = attention.documents((0, int(attention_mask[0, 0, 0, -1])))
        return forward(*args, attention_mask=attention_mask, **keys)

    body.forward = deaf
    assert attention.isolation(model) == "varlen"
    assert not sharing.shares(model)
    with pytest.raises(ModelError, match="LlamaForCausalLM") as caught:
        score(model, batch)
    assert caught.value.hint == "prefix_sharing: false"


def test_a_model_that_takes_one_document_at_a_time_does_not_share(tmp_path):
    model = load(tmp_path)
    model.config.layer_types = ["full_attention", "chunked_attention"]
    assert not sharing.shares(model)
    (batch,) = lay_out(alike(7), range(12), max_tokens=10_000, share=True)
    with pytest.raises(ModelError):
        score(model, batch)


def test_the_mode_of_the_model_is_left_as_it_was(tmp_path):
    for mode in (True, False):
        model = load(tmp_path).train(mode)
        sharing.shares(model)
        assert model.training is mode
