"""What routers choose: heard once, counted right, and as uneven as stock transformers says."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from tiny_batch import batch_of, random_examples
from tiny_experts import FAMILIES, SIZES
from tunesmith.compute import attention, chance, routing
from tunesmith.compute.score import score
from tunesmith.models.load import own_attention
from tunesmith.stages import sft

pytestmark = pytest.mark.filterwarnings("ignore")
LENGTHS = (9, 4, 10, 9, 5)


def model_of(kind="mixtral", **keys):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **FAMILIES[kind], **keys})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=own_attention(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.train()


def heard(model, examples):
    """What the routers of a model said about a batch of these, and the batch."""
    batch = batch_of(examples)
    with routing.hearing(model) as ears:
        score(model, batch)
    return ears.choices(), batch


def router_gradients(model, batches, *, balance=1.0):
    """Gradients of the routers alone, of the imbalance alone."""
    model.zero_grad()
    stage = sft.loss_of(balance=balance)
    sum(stage(model, batch).penalty for batch in batches).backward()
    return [p.grad.clone() for module in routing.routers(model) for p in module.parameters()]


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_imbalance_of_a_document_is_that_of_stock_transformers(kind):
    model = model_of(kind)
    (example,) = random_examples((11,), vocab=64)
    choices, batch = heard(model, [example])
    assert len(choices) == 2, "every layer has a router"
    theirs = model(input_ids=batch.ids_T[None], output_router_logits=True).router_logits
    want = sum(load_balancing_loss_func((layer,), 4, 2) for layer in theirs) / 2
    got = routing.imbalance(choices, batch.offsets)
    assert got.item() == pytest.approx(want.item(), rel=1e-5)
    assert got.item() > 2, "and not even, which would be 2"


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_layout_changes_the_imbalance_or_its_gradient(kind):
    model, examples = model_of(kind), random_examples(LENGTHS, vocab=64)
    state = "varlen" if kind != "qwen3_next" else "per_document_forward"
    assert attention.isolation(model) == state
    whole, alone = [batch_of(examples)], [batch_of([example]) for example in examples]
    one, many = (
        sum(sft.loss_of(balance=1.0)(model, batch).metrics["aux_loss"] for batch in batches)
        for batches in (whole, alone)
    )
    assert one.item() == pytest.approx(many.item(), rel=1e-5)
    for got, want in zip(
        router_gradients(model, whole), router_gradients(model, alone), strict=True
    ):
        assert want.norm() > 1e-4
        assert (got - want).norm() <= 1e-4 * want.norm()


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_next"])
def test_the_gradient_reaches_routers_whose_layers_are_computed_again(kind):
    examples = random_examples(LENGTHS, vocab=64)
    model, batch = model_of(kind), batch_of(examples)
    plain = router_gradients(model, [batch])
    chance.enable_checkpointing(model, 2)
    again = router_gradients(model, [batch])
    loads = sft.loss_of()(model, batch).metrics["router_load"]
    for got, want in zip(again, plain, strict=True):
        assert want.norm() > 1e-4
        torch.testing.assert_close(got, want)
    assert loads.sum(1).tolist() == [2 * sum(LENGTHS)] * 2, "no layer is heard twice"


def test_every_choice_is_counted_and_none_is_dropped():
    model = model_of()
    choices, batch = heard(model, random_examples(LENGTHS, vocab=64))
    found = routing.routing(choices, batch)
    wanted = torch.stack([torch.bincount(c.chosen_TK.flatten(), minlength=4) for c in choices])
    assert found.load_LE.tolist() == wanted.tolist()
    assert found.dropped.item() == 0
    assert found.tokens.item() == sum(LENGTHS)
    odd = [choices[0], choices[1]._replace(chosen_TK=choices[1].chosen_TK[:, :1])]
    assert routing.routing(odd, batch).dropped.item() == sum(LENGTHS), "and it would be seen"


def test_even_routers_cost_as_many_as_a_token_has_experts_and_know_nothing():
    logits = torch.zeros(8, 4)
    chosen = torch.tensor([[0, 1], [2, 3]] * 4)
    batch = batch_of(random_examples((8,), vocab=64))
    found = routing.routing([routing.Choice(logits, chosen)], batch)
    assert found.entropy.item() == pytest.approx(8), "of each of 8 tokens the largest"
    assert routing.imbalance([routing.Choice(logits, chosen)], (0, 8)).item() == pytest.approx(2)
    sure = torch.full((8, 4), -50.0)
    sure[:, 0] = 50
    assert routing.routing([routing.Choice(sure, chosen)], batch).entropy.item() < 1e-6


def test_probes_of_the_model_are_no_part_of_the_batch():
    """The first score of a model compares its head and its attention before it begins."""
    model = model_of()
    choices, batch = heard(model, random_examples((7, 5), vocab=64))
    assert all(len(choice.chosen_TK) == batch.num_tokens for choice in choices)
    assert not any(module._forward_hooks for module in model.modules()), "and nobody listens on"


def test_experts_that_are_copies_teach_the_router_nothing_but_the_imbalance_does():
    model = model_of()
    with torch.no_grad():
        for layer in model.model.layers:
            for p in layer.mlp.experts.parameters():
                p.copy_(p[:1].expand_as(p))
    batch = batch_of(random_examples(LENGTHS, vocab=64))
    sft.loss_of()(model, batch).minimised.backward()
    learned = max(m.weight.grad.abs().max() for m in routing.routers(model))
    balanced = min(grad.abs().max() for grad in router_gradients(model, [batch]))
    assert learned < 1e-5 < 1e-3 < balanced


def test_a_dense_model_has_no_routers_and_its_loss_is_as_it_was():
    config = AutoConfig.for_model("llama", **SIZES)
    model = AutoModelForCausalLM.from_config(config)
    batch = batch_of(random_examples((7,), vocab=64))
    assert routing.routers(model) == []
    found = sft.loss_of(balance=0.5)(model, batch)
    assert found.penalty is None
    assert found.metrics == {}
    assert found.minimised is found.total


def test_the_loss_that_is_told_is_without_the_imbalance():
    model, batch = model_of(), batch_of(random_examples(LENGTHS, vocab=64))
    plain, balanced = (sft.loss_of(balance=weight)(model, batch) for weight in (0.0, 0.5))
    assert balanced.total.item() == plain.total.item()
    assert plain.penalty is None
    aux = balanced.metrics["aux_loss"]
    assert balanced.minimised.item() == pytest.approx((plain.total + 0.5 * aux).item())
