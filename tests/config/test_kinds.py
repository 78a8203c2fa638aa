"""What each kind of value takes at the door, and what it makes of it."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from tunesmith.config import kinds
from tunesmith.config.method import Lora
from tunesmith.config.model import Model
from tunesmith.config.train import Train


def take(kind, value):
    return TypeAdapter(kind).validate_python(value, strict=True)


@pytest.mark.parametrize(
    ("kind", "value", "becomes"),
    [
        (kinds.Flag, True, True),
        (kinds.Flag, "yes", True),
        (kinds.Flag, "Off", False),
        (kinds.Whole, 1e5, 100000),
        (kinds.Number, 3, 3.0),
        (kinds.Text, Path("a/b"), "a/b"),
        (kinds.Names, "a, b", ("a", "b")),
        (kinds.Names, ["a", "b,c"], ("a", "b,c")),
        (kinds.Names, [Path("a")], ("a",)),
        (kinds.Datasets, "a, ./b.json", ("a", "./b.json")),
        (kinds.Datasets, {"file_name": "a"}, ({"file_name": "a"},)),
        (kinds.Datasets, ["a", {"file_name": "b"}, Path("c")], ("a", {"file_name": "b"}, "c")),
        (kinds.Weights, "0.7, 3", (0.7, 3.0)),
        (kinds.Weights, [1, "0"], (1.0, 0.0)),
        (kinds.Weights, 0.5, (0.5,)),
        (kinds.Weights, [], ()),
        (kinds.Targets, "all", "all"),
        (kinds.Targets, ["all"], "all"),
        (kinds.Targets, "q_proj,v_proj", ("q_proj", "v_proj")),
        (kinds.Folder, "a/b", Path("a/b")),
        (kinds.Limit, -1, None),
        (kinds.Limit, 5, 5),
        (kinds.Steps, 0.1, 0.1),
        (kinds.Steps, 500.0, 500),
        (kinds.Share, 0.1, 0.1),
        (kinds.Share, 1, 1),
        (kinds.Share, 0, 0.0),
        (kinds.Interval, False, "no"),
        (kinds.Resume, True, None),
        (kinds.Resume, "no", False),
        (kinds.Resume, False, False),
        (kinds.Resume, "out/checkpoint-5", Path("out/checkpoint-5")),
        (kinds.Table, '{"a": 1}', {"a": 1}),
    ],
)
def test_values_are_understood(kind, value, becomes):
    found = take(kind, value)
    assert found == becomes
    assert type(found) is type(becomes)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (kinds.Flag, 1),
        (kinds.Flag, "maybe"),
        (kinds.Whole, "8"),
        (kinds.Whole, 8.5),
        (kinds.Whole, True),
        (kinds.Number, "1e-4"),
        (kinds.Number, True),
        (kinds.Number, float("nan")),
        (kinds.Number, float("inf")),
        (kinds.Text, ""),
        (kinds.Text, 3),
        (kinds.Text, "a\0b"),
        (kinds.Names, "a,,b"),
        (kinds.Names, [1]),
        (kinds.Names, ["a\0b"]),
        (kinds.Names, {"a": 1}),
        (kinds.Datasets, {"a": 1}),
        (kinds.Datasets, [{"file_name": "a"}, 3]),
        (kinds.Datasets, [{"file_name": "a"}, ""]),
        (kinds.Targets, "all,q_proj"),
        (kinds.Folder, " "),
        (kinds.Folder, 3),
        (kinds.Folder, "a\0b"),
        (kinds.Limit, 0),
        (kinds.Limit, -2),
        (kinds.Limit, True),
        (kinds.Steps, 0),
        (kinds.Steps, 1.5),
        (kinds.Steps, True),
        (kinds.Share, 1.0),
        (kinds.Share, 1.5),
        (kinds.Share, -0.1),
        (kinds.Interval, "sometimes"),
        (kinds.Interval, True),
        (kinds.Resume, 3),
        (kinds.Resume, 0),
        (kinds.Resume, ""),
        (kinds.Table, "[1]"),
        (kinds.Table, "{"),
    ],
)
def test_other_values_are_refused(kind, value):
    with pytest.raises(ValidationError):
        take(kind, value)


def test_a_home_directory_is_expanded():
    assert take(kinds.Folder, "~/runs") == Path.home() / "runs"


def test_a_section_takes_no_other_keys():
    for section in (Model, Lora, Train):
        with pytest.raises(ValidationError):
            section(nonsense=1)
