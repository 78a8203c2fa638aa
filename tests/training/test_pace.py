"""Seconds from work: sums of parts, and the table's order of magnitude."""

import pytest
import torch

from tiny_model import tiny_model
from tunesmith.models import facts as model_facts
from tunesmith.training.devices import find
from tunesmith.training.flops import flops
from tunesmith.training.forecast import body_of
from tunesmith.training.pace import Cost, Pace, Work, of_table

PACE = Pace(0.5, 0.25, 0.01, 0.001, 0.1, 0.25, "")
WORK = Work(steps=2, batches=4, tokens=100, squares=1000, trained_tokens=10)


def test_time_is_the_sum_of_the_parts():
    assert PACE.seconds(WORK) == pytest.approx(2 * 0.5 + 4 * 0.25 + 1 + 1 + 1)


def test_twice_the_work_takes_twice_the_time():
    assert PACE.seconds(WORK.times(2)) == pytest.approx(2 * PACE.seconds(WORK))


def test_recomputing_adds_the_forward_pass_of_the_body_alone():
    more = PACE.seconds(WORK, recompute=1.0) - PACE.seconds(WORK)
    assert more == pytest.approx(0.25 * (4 * 0.25 + 1 + 1))


def test_layers_without_a_gradient_take_the_forward_share():
    half = PACE.seconds(WORK) - PACE.seconds(WORK, reached=0.5)
    assert half == pytest.approx(0.5 * 0.75 * (4 * 0.25 + 1 + 1))


def of(name, known, *, dtype=torch.bfloat16):
    device = find(name)
    assert device is not None
    one = flops(
        tokens=1, squares=1, trained_tokens=1, body=body_of(known), head=known.head_parameters,
        attention_width=known.layers * known.heads * known.head_dim, own_weights=False,
        recompute=0,
    )  # fmt: skip
    cost = Cost(one.layers, one.attention, one.head)
    return of_table(device, known, cost, dtype=dtype, trained_bytes=0)


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
