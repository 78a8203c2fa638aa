"""`tunesmith data`: its sub-verbs, and which options go with which."""

import re
from importlib import import_module

import pytest

from tunesmith.cli import data
from tunesmith.cli.main import main


def test_every_sub_verb_is_named_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    told = capsys.readouterr().out
    for action in data._ACTIONS:
        assert re.search(rf"\b{action}:\s", told)
        assert callable(import_module(f"tunesmith.cli.data_{action}").show)


@pytest.mark.parametrize("action", data._ACTIONS)
def test_without_a_run_file_it_is_said_what_to_type(capsys, action):
    assert main(["data", action]) == 2
    assert f"try   tunesmith data {action} run.yaml" in capsys.readouterr().err


def test_an_unknown_sub_verb_names_those_that_there_are(capsys):
    assert main(["data", "sow", "run.yaml"]) == 2
    assert "check" in capsys.readouterr().err
