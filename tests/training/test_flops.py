"""The formula of operations, against torch's own count of a real model."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tiny_model import tiny_model
from tunesmith.models import facts as model_facts
from tunesmith.training.flops import flops
from tunesmith.training.forecast import body_of

COMMON = {"tokens": 100, "trained_tokens": 100, "squares": 0, "body": 7, "head": 3,
          "attention_width": 0, "recompute": 0.0}  # fmt: skip


def test_an_adapter_costs_4n_and_full_training_6n():
    assert flops(**COMMON, own_weights=False).total == 100 * 4 * 10
    assert flops(**COMMON, own_weights=True, own_head=True).total == 100 * 6 * 10


def test_recomputing_costs_the_forward_pass_of_the_layers_again():
    more = flops(**{**COMMON, "recompute": 0.5}, own_weights=True)
    assert more.recompute == 0.5 * 100 * 2 * 7
    with_attention = flops(**{**COMMON, "recompute": 1.0, "squares": 10, "attention_width": 4},
                           own_weights=True)  # fmt: skip
    assert with_attention.recompute == 100 * 2 * 7 + with_attention.attention / 3


def test_tokens_without_loss_cost_no_head():
    assert flops(**{**COMMON, "trained_tokens": 25}, own_weights=False).head == 25 * 4 * 3


def test_below_what_learns_there_is_the_forward_pass_alone():
    half = flops(**{**COMMON, "head": 0}, own_weights=True, reached=0.5)
    assert half.total == 100 * 7 * (0.5 * 6 + 0.5 * 2)


@pytest.mark.parametrize("own", [True, False])
def test_it_is_what_torch_counts(tmp_path, own):
    """Products and attention of one document, all of it trained; torch counts all of L x L."""
    from transformers import AutoModelForCausalLM

    directory = tiny_model(tmp_path, "llama")
    known = model_facts.facts(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")
    model.train()
    if not own:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
    length = 64
    embedded = torch.randn(1, length, known.hidden, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embedded).logits.sum().backward()
    expected = flops(
        tokens=length, squares=length**2, trained_tokens=length, body=body_of(known),
        attention_width=known.layers * known.heads * known.head_dim, head=known.head_parameters,
        own_weights=own, own_head=own, recompute=0.0,
    )  # fmt: skip
    counted = counter.get_total_flops() - expected.attention  # ours counts the half that is seen
    norms = 2 * known.layers * known.hidden
    assert counted == pytest.approx(expected.total, rel=0.02 + norms / body_of(known))
