"""Rows are read one after the other, and after a bad one only counted."""

import json

import pytest

from tunesmith.data import registry
from tunesmith.data.ledger import Ledger
from tunesmith.data.reader import Reader
from tunesmith.errors import DataError

GOOD = {"instruction": "q", "output": "a"}
BAD = {"instruction": "q", "output": ""}


def read(directory, rows, *, stop, max_samples=None):
    (directory / "a.json").write_text(json.dumps(rows))
    (directory / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    ledger = Ledger()
    entries = [(entry, False) for entry in registry.load(directory, ["a"])]
    said = Reader(ledger, max_samples, stop=stop).said(entries)
    return [one.origin.row for one in said], ledger


@pytest.mark.parametrize(("stop", "used"), [(True, [1]), (False, [1, 3, 5])])
def test_after_a_bad_row_the_others_are_counted(tmp_path, stop, used):
    found, ledger = read(tmp_path, [GOOD, BAD, GOOD, BAD, GOOD], stop=stop)
    assert found == used
    assert (ledger.bad, next(iter(ledger.files.values())).read) == (2, 5)


def test_the_first_rows_are_the_samples(tmp_path):
    assert read(tmp_path, [GOOD] * 5, stop=True, max_samples=3)[0] == [1, 2, 3]


def test_a_file_without_rows_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        read(tmp_path, [], stop=True)
