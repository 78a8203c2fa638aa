"""Model, answers, export: defaults and leniences of their own."""

from pathlib import Path

import pytest

from tunesmith.config.load import load
from tunesmith.config.model import Export, Generate, Model
from tunesmith.errors import ConfigError


def test_nothing_is_trusted_or_guessed_by_default():
    assert Model().trust_remote_code is False
    assert Model().model_name_or_path is None
    assert Export().export_device == "cpu"


def test_answers_are_drawn_as_the_model_says_unless_asked():
    unset = Generate()
    assert (unset.do_sample, unset.temperature, unset.top_p, unset.top_k) == (None,) * 4
    assert load(None, ["temperature=0.6", "top_p=0.95"]).generate.temperature == 0.6


def test_several_adapters_may_be_given_and_paths_may_be_paths():
    run = load(None, {"model_name_or_path": Path("m"), "adapter_name_or_path": [Path("a"), "b"]})
    assert run.model.model_name_or_path == "m"
    assert run.model.adapter_name_or_path == ("a", "b")


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ({}, None),
        ({"quantization_bit": 4}, "4-bit nf4 (bnb, double quantisation)"),
        ({"quantization_bit": 4, "double_quantization": False}, "4-bit nf4 (bnb)"),
        (
            {"quantization_bit": 4, "quantization_type": "fp4"},
            "4-bit fp4 (bnb, double quantisation)",
        ),
        ({"quantization_bit": 8}, "8-bit int8 (bnb)"),
    ],
)
def test_the_keys_of_quantisation_are_one_thing(asked, held):
    found = load(None, asked).model.quantization
    assert (str(found) if found else None) == held


@pytest.mark.parametrize("bits", [2, 3, 16, "four", True])
def test_other_bits_are_refused(bits):
    with pytest.raises(ConfigError) as caught:
        load(None, {"quantization_bit": bits})
    assert caught.value.where == "argument: quantization_bit"
