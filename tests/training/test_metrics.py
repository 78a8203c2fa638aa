"""Figures are sums over what was really done."""

import pytest

from tunesmith.training.metrics import (
    Progress,
    Window,
    clock,
    peak_memory,
    train_results,
    where,
)
from tunesmith.types import Step


def step(number, loss, weight, tokens=10):
    return Step(number, loss, 1.0, 1e-4, weight, tokens, {}, examples=2)


def test_the_logged_loss_is_the_mean_over_tokens_not_over_steps():
    window = Window()
    window.add(step(1, 2.0, 1), 1.0)
    window.add(step(2, 1.0, 3), 1.0)
    record = window.record(Progress(step=2, elapsed_seconds=2), steps=8, steps_per_epoch=4)
    assert record["loss"] == pytest.approx(1.25)
    assert record["throughput"] == pytest.approx(10)
    assert record["percentage"] == 25
    assert record["epoch"] == 0.5
    assert record["remaining_time"] == clock(6)


def test_the_sums_do_not_depend_on_where_the_run_was_interrupted():
    steps = [step(n, 1.0 / n, n, tokens=7 * n) for n in range(1, 6)]
    straight = Progress()
    for s in steps:
        straight = straight.after(s, seconds=0.5)
    resumed = Progress(*list(Progress()))
    for s in steps[:2]:
        resumed = resumed.after(s, seconds=0.5)
    resumed = Progress(**resumed._asdict())  # what a checkpoint holds
    for s in steps[2:]:
        resumed = resumed.after(s, seconds=0.5)
    assert resumed == straight
    results = train_results(straight, steps_per_epoch=5, parameters=10, flops=1.0)
    assert results["train_samples_per_second"] == pytest.approx(4)
    assert results["total_flos"] == 6 * 10 * straight.tokens


def test_time_left_is_unknown_before_the_first_step_and_zero_after_the_last():
    assert where(Progress(step=4, elapsed_seconds=9), steps=4, steps_per_epoch=4)[
        "remaining_time"
    ] == clock(0)


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory()
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_memory() >= before
    assert peak_memory() > 32 << 20


def test_a_time_beyond_all_clocks_is_shown_all_the_same():
    assert clock(3723) == "1:02:03"
    assert "days" in clock(1e30)
