"""What happens between two steps depends on the plan and on what was seen, not on restarts."""

import pytest

from tunesmith.training.journal import Journal, read
from tunesmith.training.metrics import Progress
from tunesmith.training.report import Silent
from tunesmith.training.watch import Watch, Watched
from tunesmith.types import Step


class Cadences:
    """The part of a plan that the watch looks at."""

    def __init__(self, **changes):
        self.steps, self.steps_per_epoch = 10, 5
        self.log_every, self.eval_every = 3, None
        vars(self).update(changes)


def step(number):
    return Step(number, 1.0 / number, 0.5, 1e-4, 2.0, 10, {})


def watch(tmp_path, values=None, **options):
    cadences = {key: options.pop(key) for key in ("eval_every", "log_every") if key in options}
    given = iter(values or ())
    evaluate = None if values is None else lambda: {"eval_loss": next(given)}
    journal = Journal(tmp_path / "trainer_log.jsonl")
    return Watch(Cadences(**cadences), journal, Silent(), evaluate=evaluate, **options)


def run(watched, numbers):
    for number in numbers:
        watched.step(step(number), seconds=1.0)


def test_logs_come_every_so_many_steps_and_after_the_last(tmp_path):
    run(watch(tmp_path), range(1, 11))
    records = read(tmp_path / "trainer_log.jsonl")
    assert [r["current_steps"] for r in records] == [3, 6, 9, 10]
    assert records[0]["loss"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3, abs=1e-6)


@pytest.mark.parametrize("at", range(1, 10))
def test_a_restart_between_two_log_records_loses_nothing(tmp_path, at):
    straight = watch(tmp_path)
    run(straight, range(1, 11))
    expected = read(tmp_path / "trainer_log.jsonl")
    (tmp_path / "again").mkdir()
    first = watch(tmp_path / "again")
    run(first, range(1, at + 1))
    kept = Watched.of(first.seen.as_dict())
    lines, length = first.journal.mark()
    second = Watch(
        Cadences(),
        Journal(tmp_path / "again" / "trainer_log.jsonl", lines=lines, length=length),
        Silent(),
        watched=kept,
    )
    run(second, range(at + 1, 11))
    assert read(tmp_path / "again" / "trainer_log.jsonl") == expected
    assert second.seen.progress == straight.seen.progress


def test_evaluation_comes_at_its_cadence_and_after_the_last_step(tmp_path):
    watched = watch(tmp_path, [3.0, 2.0, 4.0], eval_every=4)
    run(watched, range(1, 11))
    assert watched.seen.evaluations == [(4, 3.0), (8, 2.0), (10, 4.0)]
    assert watched.seen.best == (8, 2.0)
    assert watched.metrics_so_far == [3.0, 2.0, 4.0]


def test_greater_can_be_better(tmp_path):
    watched = watch(tmp_path, [3.0, 2.0, 4.0], eval_every=4, greater_is_better=True)
    run(watched, range(1, 11))
    assert watched.seen.best == (10, 4.0)


def test_patience_counts_evaluations_without_a_better_one(tmp_path):
    watched = watch(tmp_path, [3.0, 2.0, 2.5, 2.1], eval_every=1, patience=2)
    stops = []
    for number in range(1, 5):
        run(watched, [number])
        stops.append(watched.should_stop)
    assert stops == [False, False, False, True]


def test_a_metric_that_is_not_a_number_is_never_the_best(tmp_path):
    watched = watch(tmp_path, [float("nan"), 2.0], eval_every=1)
    run(watched, [1, 2])
    assert watched.seen.best == (2, 2.0)


def test_nothing_seen_is_the_start():
    assert Watched().progress == Progress()
    assert Watched.of(Watched().as_dict()) == Watched()
