"""Seconds from work: sums of parts, and the table's order of magnitude."""

import json

import pytest
import torch

from tiny_model import tiny_model
from tunesmith.models import facts as model_facts
from tunesmith.training.devices import find
from tunesmith.training.flops import flops
from tunesmith.training.forecast import body_of
from tunesmith.training.pace import Cost, Pace, Passes, Work, of_table

PACE = Pace(0.5, Passes(0.25, 0.01, 0.001), Passes(0.0, 0.002, 0.0005), 0.1, "")
WORK = Work(steps=2, batches=4, tokens=100, squares=1000, trained_tokens=10)


def test_time_is_the_sum_of_the_parts():
    assert PACE.seconds(WORK) == pytest.approx(2 * 0.5 + 4 * 0.25 + 1 + 1 + 1)


def test_twice_the_work_takes_twice_the_time():
    assert PACE.seconds(WORK.times(2)) == pytest.approx(2 * PACE.seconds(WORK))


def test_recomputing_adds_the_forward_pass_of_the_body_alone():
    more = PACE.seconds(WORK, recompute=1.0) - PACE.seconds(WORK)
    assert more == pytest.approx(100 * 0.002 + 1000 * 0.0005)


def test_layers_without_a_gradient_take_the_forward_share():
    half = PACE.seconds(WORK) - PACE.seconds(WORK, reached=0.5)
    assert half == pytest.approx(0.5 * (4 * 0.25 + 0.8 + 0.5))


def test_a_pace_comes_back_from_json():
    assert Pace.of(json.loads(json.dumps(PACE))) == PACE


def of(name, known, *, dtype=torch.bfloat16, held=None):
    device = find(name)
    assert device is not None
    one = flops(
        tokens=1, squares=1, trained_tokens=1, body=body_of(known), head=known.head_parameters,
        attention_width=known.layers * known.heads * known.head_dim, own_weights=False,
        recompute=0,
    )  # fmt: skip
    cost = Cost(one.layers, one.attention, one.head)
    return of_table(device, known, cost, dtype=dtype, per_step=0.001, held=held)


def test_the_table_gives_the_published_speed_of_an_8b_model_on_an_h100(tmp_path):
    """12,473 tokens/s under LoRA at 4,096 tokens: NVIDIA NeMo-Automodel, performance summary."""
    directory = tiny_model(tmp_path, "llama", tied=False)
    known = model_facts.facts(directory)._replace(
        parameters=8_030_261_248, embedding_parameters=525_336_576, head_parameters=525_336_576,
        layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, head_dim=128,
    )  # fmt: skip
    work = Work(1, 1, 4096, 4096**2, 4096)
    assert 4096 / of("h100", known).seconds(work) == pytest.approx(12_473, rel=0.1)


def test_a_faster_device_takes_less_time_and_fp32_more(tmp_path):
    known = model_facts.facts(tiny_model(tmp_path, "llama"))
    work = Work(1, 1, 1e6, 1e6, 1e5)
    names = ("h200", "a100-80", "4090", "l4", "t4")
    seconds = [of(name, known).seconds(work) for name in names]
    assert seconds == sorted(seconds)
    assert of("h200", known, dtype=torch.float32).seconds(work) > 2 * seconds[0]
    assert "H200 SXM" in of("h200", known).source


def test_few_bits_cost_the_same_for_each_micro_batch_however_long(tmp_path):
    known = model_facts.facts(tiny_model(tmp_path, "llama"))
    dense = of("h200", known)
    for held in ("nf4", "int8"):
        pace = of("h200", known, held=held)
        more = pace.both.per_batch - dense.both.per_batch
        assert more > 0
        assert pace.forward.per_batch - dense.forward.per_batch == pytest.approx(more / 2)
        assert pace.both[1:] == dense.both[1:]


def test_fp8_pays_in_large_products_and_not_in_small_ones(tmp_path):
    """The product grows with the square of the width, rounding its input with the width."""
    small = model_facts.facts(tiny_model(tmp_path, "llama"))
    wide = {
        name: kind._replace(
            shapes=tuple((256 * a, 256 * b) for a, b in kind.shapes),
            parameters=256**2 * kind.parameters,
        )
        for name, kind in small.linear.items()
    }
    inside = small.parameters - small.embedding_parameters
    large = small._replace(linear=wide, parameters=small.embedding_parameters + 256**2 * inside)

    def gain(known):
        return of("h100", known).both.per_token / of("h100", known, held="fp8").both.per_token

    assert gain(small) < 1 < gain(large) < 2
    assert of("a100", large, held="fp8").both.per_token > of("a100", large).both.per_token


def test_experts_are_counted_by_those_that_a_token_goes_through_and_read_all(tmp_path):
    keys = {"num_experts": 8, "moe_intermediate_size": 32, "intermediate_size": 32}
    two, all_of_them = (
        model_facts.facts(
            tiny_model(tmp_path, "qwen3_moe", name=str(used), num_experts_per_tok=used, **keys)
        )
        for used in (2, 8)
    )
    expert = 3 * 64 * 32
    assert two.idle_parameters == 2 * 6 * expert
    assert all_of_them.idle_parameters == 0
    assert body_of(all_of_them) - body_of(two) == two.idle_parameters
    ours, theirs = of("h200", two).both, of("h200", all_of_them).both
    assert ours.per_token < theirs.per_token
    assert ours.per_batch > theirs.per_batch
