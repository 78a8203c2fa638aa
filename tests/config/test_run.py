"""The run as an object: equality, places, batch sizes, secrets."""

import pytest
from pydantic import SecretStr, ValidationError

from tunesmith.config.load import load
from tunesmith.config.run import Run, fields, flat, is_secret, methods_of
from tunesmith.errors import ConfigError


def test_a_run_does_not_change():
    run = Run()
    with pytest.raises(ValidationError):
        run.train.seed = 1
    with pytest.raises(ValidationError):
        run.train = run.train


def test_runs_are_equal_by_their_resolved_values():
    assert load(None, {"lora_alpha": 16}) == Run()
    assert load(None, {"dataset": "a,b"}) == load(None, {"dataset": ["a", "b"]})
    assert load(None, {"lora_alpha": 17}) != Run()
    assert Run() != "run"


def test_every_key_stands_in_one_section_and_has_a_meaning():
    for key, (section, field) in fields().items():
        assert section in Run.model_fields, key
        assert field.description, f"{key} has no docstring"
        assert field.description.rstrip().endswith("."), key


def test_keys_of_one_method_are_told_apart():
    assert methods_of("lora_rank") == ("lora",)
    assert methods_of("freeze_trainable_layers") == ("freeze",)
    assert methods_of("stage") == ("lora", "full", "freeze")
    assert methods_of("seed") == ()


def test_exactly_the_secret_kinds_have_secret_names():
    for key, (_, field) in fields().items():
        assert is_secret(key) == ("SecretStr" in str(field.annotation)), key
    assert is_secret("swanlab_api_key")
    assert not is_secret("skip_special_tokens")


def test_a_secret_is_used_and_never_shown():
    run = load(None, ["hf_hub_token=hf_verysecret", "lora_rank=4"])
    assert isinstance(run.model.hf_hub_token, SecretStr)
    assert run.model.hf_hub_token.get_secret_value() == "hf_verysecret"
    for text in (repr(run), str(run), str(flat(run)), str(run.asked), run.model_dump_json()):
        assert "verysecret" not in text


@pytest.mark.parametrize(
    ("asked", "ranks", "total"),
    [
        ({}, 1, 8),
        ({}, 4, 32),
        ({"gradient_accumulation_steps": 4}, 2, 64),
        ({"global_batch_size": 16}, 1, 16),
        ({"global_batch_size": 16}, 2, 16),
        ({"global_batch_size": 16, "per_device_train_batch_size": 2}, 2, 16),
        (
            {
                "global_batch_size": 16,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 4,
            },
            2,
            16,
        ),
    ],
)
def test_global_batch_is_the_product_or_what_stands_for_it(asked, ranks, total):
    assert load(None, asked).global_batch(ranks) == total


def test_a_global_batch_that_contradicts_its_parts_is_refused():
    keys = {
        "global_batch_size": 16,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    with pytest.raises(ConfigError) as caught:
        load(None, keys).global_batch(1)
    assert caught.value.where == "argument: global_batch_size"
    with pytest.raises(ConfigError):
        load(None, {"global_batch_size": 15, "per_device_train_batch_size": 2})


@pytest.mark.parametrize(
    ("asked", "batch"),
    [
        ({"global_batch_size": 16}, (16, 1)),
        ({"global_batch_size": 16, "per_device_train_batch_size": 2}, (2, 8)),
        ({"global_batch_size": 16, "gradient_accumulation_steps": 4}, (4, 4)),
        ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}, (2, 3)),
    ],
)
def test_with_one_of_its_two_keys_a_global_batch_decides_the_other(asked, batch):
    assert load(None, asked).batch() == batch


def test_a_contradiction_names_both_numbers():
    keys = {"global_batch_size": 16, "per_device_train_batch_size": 3}
    with pytest.raises(ConfigError) as caught:
        load(None, keys)
    assert caught.value.got == 16
    assert "a multiple of 3, which per_device_train_batch_size 3 gives" in caught.value.need
    keys = {**keys, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    with pytest.raises(ConfigError) as caught:
        load(None, keys).batch()
    assert caught.value.need.startswith("8, which")


def test_cadence_of_evaluation_defaults_to_that_of_saving():
    assert Run().eval_every == 500
    assert load(None, {"save_steps": 20}).eval_every == 20
    assert load(None, {"eval_steps": 0.1}).eval_every == 0.1
    assert load(None, {"val_size": 0.1}).holds_out
    assert not Run().holds_out
