"""Names of optimizers and their settings: those of the field, each understood or refused."""

import importlib.util
import re
from pathlib import Path

import pytest

from tunesmith.config.foreign import table
from tunesmith.config.load import load
from tunesmith.config.optimizers import OPTIMIZERS, SHORT
from tunesmith.errors import ConfigError


def test_every_optimizer_of_transformers_is_here_or_says_what_takes_its_place():
    home = importlib.util.find_spec("transformers").submodule_search_locations[0]
    source = (Path(home) / "training_args.py").read_text()
    body = source.split("class OptimizerNames")[1].split("\ndef ")[0]
    names = set(re.findall(r'^    [A-Z_0-9]+ = "(\w+)"', body, re.MULTILINE))
    assert len(names) > 40
    elsewhere = {key.removeprefix("optim=") for key in table() if key.startswith("optim=")}
    assert names <= {*OPTIMIZERS, *SHORT, *elsewhere}
    assert not elsewhere & {*OPTIMIZERS, *SHORT}


@pytest.mark.parametrize("name", sorted({*OPTIMIZERS, *SHORT}))
def test_every_name_is_a_value_of_optim(name):
    assert load(None, {"optim": name}).train.optim == SHORT.get(name, name)


@pytest.mark.parametrize(
    "given",
    [
        "momentum=0.9, nesterov=true",
        {"momentum": 0.9, "nesterov": True},
        "nesterov=True,momentum=.9",
    ],
)
def test_settings_are_a_mapping_or_pairs(given):
    run = load(None, {"optim": "sgd", "optim_args": given})
    assert run.train.optim_args == {"momentum": 0.9, "nesterov": True}


@pytest.mark.parametrize("given", ["momentum", "=0.9", 3, ["momentum"], "momentum=nan"])
def test_what_is_no_setting_is_refused(given):
    with pytest.raises(ConfigError) as caught:
        load(None, {"optim": "sgd", "optim_args": given})
    assert caught.value.where == "argument: optim_args"
