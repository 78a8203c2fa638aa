"""Facts about one optimizer step, on a model of one weight and on a small linear one."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tiny_batch import batch_of as small_batch
from tiny_batch import random_examples
from tiny_model import tiny_model
from tunesmith.compute.attention import isolation
from tunesmith.compute.score import check_head
from tunesmith.errors import TrainError
from tunesmith.models.load import load_model
from tunesmith.stages import sft
from tunesmith.training.loop import LossScale, _gradient, _read, steps
from tunesmith.types import Batch, Loss

ROWS = 12


def batch_of(rows):
    """Rows are stood for by their numbers; the loss below looks at nothing else."""
    ids = torch.tensor(rows)
    return Batch(ids, ids, (0, len(rows)), ids, ids, tuple(rows))


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def squared(model, batch):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, 3, generator=generator)[batch.ids_T]
    weight = (torch.arange(ROWS) % 4 + 1.0)[batch.ids_T]
    total = (weight[:, None] * model(x) ** 2).sum()
    return Loss(total, weight.sum(), {"rows": torch.tensor(float(len(x)))})


def run(work, *, model=None, loss_of=squared, **options):
    model = model or linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    done = list(steps(model, optimizer, work, loss_of, learning_rate=lambda n: 0.1 / n, **options))
    return done, [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("sizes", [(12,), (6, 6), (4, 4, 4), (1,) * 12, (11, 1), (2, 7, 3)])
def test_one_step_does_not_depend_on_the_split(sizes):
    rows, micro = list(range(ROWS)), []
    for size in sizes:
        micro.append(batch_of(rows[:size]))
        rows = rows[size:]
    (whole,), expected = run([(1, [batch_of(list(range(ROWS)))])])
    (split,), weights = run([(1, micro)])
    assert math.isclose(split.loss, whole.loss, rel_tol=1e-6)
    assert split.weight == whole.weight
    assert split.metrics == whole.metrics
    torch.testing.assert_close(weights, expected)


def test_the_rate_of_each_step_is_the_one_asked_for():
    done, _ = run([(n, [batch_of([0])]) for n in (5, 6, 7)])
    assert [step.learning_rate for step in done] == [0.1 / 5, 0.1 / 6, 0.1 / 7]


def test_clipping_bounds_the_update_and_reports_the_norm_before():
    model = linear()
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    (step,), after = run([(1, [batch_of([0, 1])])], model=model, clip=1e-3)
    moved = torch.cat([p.flatten() for p in after]) - before
    assert step.grad_norm > 1e-3
    assert moved.norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_its_rows():
    def poisoned(model, batch):
        loss = squared(model, batch)
        return loss._replace(total=loss.total * (math.nan if 7 in batch.rows else 1.0))

    model = linear()
    before = [p.detach().clone() for p in model.parameters()]
    work = [(3, [batch_of([1, 2]), batch_of([7])])]
    with pytest.raises(TrainError) as caught:
        run(work, model=model, loss_of=poisoned, origin_of=lambda row: f"data.json:{row}")
    assert caught.value.where == "step 3"
    assert "data.json:7" in caught.value.need
    assert "data.json:1" not in caught.value.need
    torch.testing.assert_close([p.detach() for p in model.parameters()], before, rtol=0, atol=0)


def test_loss_scaling_repeats_an_overflowing_step_and_changes_nothing_else():
    def overflowing(model, batch):
        """A gradient that overflows fp16 while the loss itself is finite."""
        loss = squared(model, batch)

        class Cast(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, g):
                return g.half().float()

        return loss._replace(total=Cast.apply(loss.total))

    scale = LossScale(value=2.0**20)
    (scaled,), weights = run([(1, [batch_of([0, 1])])], loss_of=overflowing, loss_scale=scale)
    (plain,), expected = run([(1, [batch_of([0, 1])])])
    assert scale.value == 2.0**15
    assert scaled.loss == plain.loss
    torch.testing.assert_close(weights, expected)


def fused(model, late, **options):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    work = [(n, [batch_of([n]), batch_of([n + 1, n + 2])]) for n in range(1, 8)]
    rates = dict(learning_rate=lambda n: 0.1 / n)
    yield from steps(model, optimizer, work, squared, late=late, **rates | options)


def test_numbers_that_are_read_late_are_the_same_and_so_are_the_weights_between_two_steps():
    seen = {}
    for late in (False, True):
        model = linear()
        seen[late] = [(step, model.weight.tolist()) for step in fused(model, late)]
    assert seen[True] == seen[False]
    assert len(seen[True]) == 7


def test_the_rate_of_a_step_knows_what_came_of_the_step_before_it():
    for late in (False, True):
        told, seen = [], []

        def rate(number, told=told, seen=seen):
            told.append((number, len(seen)))
            return 0.1

        for step in fused(linear(), late, learning_rate=rate):
            seen.append(step)
        assert told == [(n, n - 1) for n in range(1, 8)]


@pytest.mark.parametrize("late", [False, True])
def test_after_a_gradient_that_is_not_finite_nothing_is_applied_any_more(late):
    def poisoned(model, batch):
        """The loss is finite, its gradient is not."""
        loss = squared(model, batch)
        if 5 in batch.rows:
            loss = loss._replace(total=loss.total + (0 * model.weight.sum()).sqrt())
        return loss

    model = linear()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    work = [(n, [batch_of([n])]) for n in range(3, 8)]
    run = steps(model, optimizer, work, poisoned, learning_rate=lambda n: 0.1, late=late)
    assert [next(run).number, next(run).number] == [3, 4]
    after_four = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(TrainError, match="step 5"):
        next(run)
    torch.testing.assert_close([p.detach() for p in model.parameters()], after_four, rtol=0, atol=0)
    assert {int(state["step"]) for state in optimizer.state.values()} == {2}


def small_llama(tmp_path):
    return load_model(tiny_model(tmp_path), dtype=torch.float32).train()


def moved(batch, device):
    """The batch on a device that holds no numbers, or on a GPU."""
    names = ("ids_T", "positions_T", "predict_P", "labels_P")
    return batch._replace(**{name: getattr(batch, name).to(device) for name in names})


def test_nothing_is_read_from_the_device_before_a_step_is_yielded(tmp_path, monkeypatch):
    """On the meta device there is nothing to read: whoever asks for a number raises."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # it does not know meta
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: nullcontext())
    model, loss_of = small_llama(tmp_path), sft.loss_of(want_correct=True)
    isolation(model)
    check_head(model)
    batches = [small_batch(random_examples(sizes)) for sizes in ((5, 9), (30,))]
    model.to("meta")
    batches = [moved(batch, "meta") for batch in batches]
    done = _gradient(model, 1, batches, loss_of, clip=1.0, loss_scale=None)
    assert done.not_finite().is_meta
    assert done.norm.is_meta
    assert done.metrics["correct"].is_meta
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        _read(done)


@pytest.mark.gpu
def test_a_gpu_is_never_waited_for_between_two_steps(tmp_path):
    model, loss_of = small_llama(tmp_path).cuda(), sft.loss_of()
    batches = [moved(small_batch(random_examples(sizes)), "cuda") for sizes in ((5, 9), (30,))]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for number in (1, 2, 3):
        torch.cuda.set_sync_debug_mode("error" if number > 1 else "default")
        try:
            done = _gradient(model, number, batches, loss_of, clip=1.0, loss_scale=None)
            optimizer.found_inf = done.not_finite()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert math.isfinite(_read(done).loss)
