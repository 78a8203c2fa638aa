"""The learning rate is a function of the step, equal to what transformers would set."""

import subprocess
import sys
import warnings

import pytest
import torch
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType

from tunesmith.errors import ConfigError
from tunesmith.training.schedule import WATCHES_EVALUATION, schedule, warmup_steps_of

OPTIONS = {
    "cosine_with_min_lr": {"min_lr": 1e-5},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-5},
    "warmup_stable_decay": {"num_decay_steps": 6},
    "cosine_with_restarts": {"num_cycles": 2},
    "greedy": {"min_lr": 1e-6, "patience": 1},
    "reduce_lr_on_plateau": {"patience": 0},
}
NAMES = [kind.value for kind in SchedulerType]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in WATCHES_EVALUATION])
def test_every_step_has_the_rate_that_stepping_transformers_would_give(name):
    options = OPTIONS.get(name, {})
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    stepped = get_scheduler(name, optimizer, 4, 20, options)
    ours = schedule(name, learning_rate=3e-4, warmup_steps=4, steps=20, options=options)
    for number in range(1, 21):
        assert ours(number, ()) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stepped.step()


@pytest.mark.parametrize("name", ["constant", "constant_with_warmup", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 23, 30])
def test_the_usual_schedules_are_those_of_transformers_to_the_last_bit(name, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    theirs = get_scheduler(name, optimizer, warmup, 23).lr_lambdas[0]
    ours = schedule(name, learning_rate=3e-4, warmup_steps=warmup, steps=23)
    assert [ours(n, ()) for n in range(1, 24)] == [3e-4 * float(theirs(n)) for n in range(23)]


def test_the_usual_schedules_cost_no_import_of_a_trainer():
    code = (
        "import sys; from tunesmith.training.schedule import schedule; "
        "schedule('cosine', learning_rate=1, warmup_steps=1, steps=9)(3, ()); "
        "assert not {'transformers', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", WATCHES_EVALUATION)
def test_a_schedule_that_watches_evaluations_depends_on_them_alone(name):
    ours = schedule(name, learning_rate=1e-3, warmup_steps=0, steps=9, options=OPTIONS[name])
    assert ours(1, []) == ours(7, []) == 1e-3
    worse = [1.0, 2.0, 3.0, 4.0]
    assert ours(8, worse) < 1e-3
    assert ours(8, worse) == ours(9, worse)


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="lr_scheduler_kwargs"):
        schedule("cosine", learning_rate=1, warmup_steps=0, steps=2, options={"bogus": 1})


@pytest.mark.parametrize("name", NAMES)
def test_options_that_a_schedule_lacks_are_refused_also_where_transformers_ignores_them(name):
    with pytest.raises(ConfigError, match="bogus"):
        schedule(name, learning_rate=1, warmup_steps=0, steps=2, options={"bogus": 1})


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cosine", {"num_cycles": "two"}, "num_cycles"),
        ("cosine", {"num_cycle": 2}, "num_cycles"),
        ("polynomial", {"power": [1]}, "power"),
        ("polynomial", {"lr_end": 2.0}, "lr_end"),
        ("cosine_with_restarts", {"num_cycles": 1.5}, "num_cycles"),
        ("reduce_lr_on_plateau", {"factor": 1.5}, "Factor"),
        ("reduce_lr_on_plateau", {"mode": "most"}, "one of min, max"),
        ("warmup_stable_decay", {}, "num_decay_steps"),
        ("inverse_sqrt", {"timescale": 0}, "zero"),
        ("greedy", {"patience": True}, "patience"),
    ],
)
def test_a_value_that_a_schedule_cannot_use_is_refused_before_the_first_step(name, options, said):
    with pytest.raises(ConfigError) as caught:
        schedule(
            name, learning_rate=1, warmup_steps=0, steps=9, options=options,
            where="run.yaml:7: lr_scheduler_kwargs",
        )  # fmt: skip
    assert "run.yaml:7: lr_scheduler_kwargs" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"), [((0, 0.1), 46), ((7, 0.1), 7), ((0.5, 0.0), 227), ((0, 0.0), 0)]
)
def test_warm_up_is_a_count_or_a_share_rounded_up(given, expected):
    count, ratio = given
    assert warmup_steps_of(453, warmup_steps=count, warmup_ratio=ratio) == expected
