"""Rows are read one after the other, and after a bad one only counted."""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pytest

from data_files import write
from tiny_tokenizer import load_tiny
from tunesmith.data import registry
from tunesmith.data.ledger import Ledger
from tunesmith.data.reader import Reader
from tunesmith.errors import DataError
from tunesmith.templates import choose

CHATML = choose("chatml", load_tiny())
GOOD = {"instruction": "q", "output": "a"}
BAD = {"instruction": "q", "output": ""}


def read(directory, rows, *, stop, max_samples=None):
    (directory / "a.json").write_text(json.dumps(rows))
    (directory / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    ledger = Ledger()
    entries = [(entry, False) for entry in registry.load(directory, ["a"])]
    said = Reader(ledger, CHATML, max_samples=max_samples, stop=stop).said(entries)
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


def test_rows_of_a_folder_are_counted_by_file_and_sampled_together(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write(folder / "1.csv", [GOOD, BAD])
    table = {
        "instruction": ["q"] * 3,
        "output": ["a", "b", "c"],
        "day": [datetime.date.today()] * 3,
    }
    write(folder / "2.parquet", pa.table(table))
    entry = registry.Entry(
        "d", (folder,), "alpaca", registry.Columns(), registry.Tags(), "", explicit_columns=False
    )
    ledger = Ledger()
    said = list(Reader(ledger, CHATML, max_samples=4, stop=False).said([(entry, False)]))
    assert [(Path(one.origin.file).name, one.origin.row) for one in said] == [
        ("1.csv", 1),
        ("2.parquet", 1),
        ("2.parquet", 2),
    ]
    assert [account.read for account in ledger.files.values()] == [2, 2]
