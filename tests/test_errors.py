"""An error is four facts that survive printing, JSON and another process."""

import pickle

import pytest

from tunesmith import errors

KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.Error)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_four_facts_are_shown_and_survive_a_worker_process(kind):
    error = kind("run.yaml:4: beta", got=-2, need="greater than 0", hint="beta: 0.1")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert str(error).splitlines() == [
        "run.yaml:4: beta",
        "  got   -2",
        "  need  greater than 0",
        "  try   beta: 0.1",
    ]
    assert copy.as_dict()["try"] == "beta: 0.1"
    assert copy.exit_code in (1, 2)


def test_a_long_value_is_shortened():
    assert len(str(errors.DataError("x", got="a" * 10_000))) < 300


def test_the_tree_in_the_docstring_names_every_kind():
    assert errors.__doc__
    assert all(kind.__name__ in errors.__doc__ for kind in KINDS)


def test_control_characters_are_spelled_so_that_they_command_no_terminal():
    error = errors.DataError("a\x1b]0;pwn\x07.json", got="b\r\x9b1m", need="c\td")
    assert str(error) == "a\\x1b]0;pwn\\x07.json\n  got   b\\x0d\\x9b1m\n  need  c\td"
    assert errors.printable("ä⟦\n\t€") == "ä⟦\n\t€"
    assert errors.printable("a\ud800b") == "a\\ud800b"


def test_one_line_holds_all_four_facts():
    error = errors.DataError("a:1", got="b", need="c", hint="d")
    assert error.line() == "a:1: got b; need c; try d"


def test_a_place_stays_on_one_line_whatever_a_key_or_a_file_is_called():
    error = errors.DataError("a\nb.json:3: c\nd", got=1, need="2")
    assert str(error).splitlines()[0] == "a\\nb.json:3: c\\nd"
