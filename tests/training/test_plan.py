"""The plan's numbers, and what makes two runs the same."""

import math

import pytest

from tunesmith.config.load import load
from tunesmith.training.plan import LEARNED, cadence, identity, steps_of

PRINTS = {
    "model": "m", "adapter": "", "data": "d", "global_batch": 8, "packing": False,
    "precision": "fp32",
}  # fmt: skip


def test_the_tutorials_run_has_453_steps():
    held_out = math.ceil(4019 * 0.1)
    assert held_out == 402
    assert steps_of(4019 - held_out, global_batch=8, epochs=1, max_steps=None) == (453, 453)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "steps"), [(1, None, 13), (0.5, None, 7), (3, None, 39), (3, 5, 5)]
)
def test_steps_follow_epochs_unless_they_are_given(epochs, max_steps, steps):
    assert steps_of(100, global_batch=8, epochs=epochs, max_steps=max_steps) == (13, steps)


def test_a_cadence_below_one_is_a_share_of_all_steps():
    assert cadence(0.1, steps=453) == 46
    assert cadence(500, steps=453) == 500


@pytest.mark.parametrize(
    "override",
    [
        {"logging_steps": 1}, {"save_steps": 7}, {"plot_loss": True}, {"run_name": "x"},
        {"preprocessing_num_workers": 2}, {"save_total_limit": 1}, {"num_train_epochs": 9},
        {"max_steps": 900}, {"per_device_eval_batch_size": 2}, {"output_dir": "elsewhere"},
        {"disable_gradient_checkpointing": True}, {"eval_steps": 10},
    ],
)  # fmt: skip
def test_what_changes_nothing_learned_is_not_in_the_identity(override):
    common = {"dataset": "x", "val_size": 0.1}
    base = identity(load(None, common), **PRINTS)
    assert identity(load(None, {**common, **override}), **PRINTS) == base


@pytest.mark.parametrize(
    "override",
    [
        {"learning_rate": 1.0}, {"seed": 1}, {"lora_rank": 4}, {"lora_dropout": 0.1},
        {"lr_scheduler_type": "cosine"}, {"max_grad_norm": 0.5}, {"weight_decay": 0.1},
        {"finetuning_type": "full"}, {"warmup_ratio": 0.1}, {"adam_beta2": 0.95},
        {"greater_is_better": True}, {"moe_aux_loss_coef": 0.01}, {"moe_aux_loss_coef": 0},
    ],
)  # fmt: skip
def test_what_changes_what_is_learned_is(override):
    assert identity(load(None, override), **PRINTS) != identity(load(None), **PRINTS)


def test_the_modules_that_learn_are_part_of_it_in_any_order():
    def of(*names):
        keys = {"finetuning_type": "full", "train_modules": list(names)}
        return identity(load(None, keys), **PRINTS)

    assert of("gate", "experts") == of("experts", "gate")
    assert len({str(of()), str(of("gate")), str(of("gate", "experts"))}) == 3


@pytest.mark.parametrize(("packing", "same"), [(False, True), (True, False)])
def test_the_cutoff_is_part_of_the_identity_where_it_decides_the_packs(packing, same):
    prints = {**PRINTS, "packing": packing}
    one, other = (identity(load(None, {"cutoff_len": n}), **prints) for n in (64, 96))
    assert (one == other) is same


@pytest.mark.parametrize("part", sorted(PRINTS))
def test_so_are_model_data_batch_and_precision(part):
    run = load(None)
    assert identity(run, **{**PRINTS, part: "other"}) != identity(run, **PRINTS)


def test_the_keys_of_the_identity_exist():
    every = {
        **load(None).method.model_dump(),
        **load(None, {"finetuning_type": "freeze"}).method.model_dump(),
    }
    run = load(None)
    for section in (run.model, run.train, run.eval, run.dataset):
        every |= section.model_dump()
    assert set(LEARNED) <= set(every)


def test_epochs_beyond_all_numbers_are_still_a_number_of_steps():
    assert steps_of(12, global_batch=4, epochs=1e308, max_steps=None)[1] == 10**18
