"""The user's own Python makes rows, once it has been allowed to."""

import json

import pytest

from tunesmith.data import script
from tunesmith.data.entry import Columns, Entry, Tags
from tunesmith.errors import DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def entry_of(tmp_path, code, **keys):
    (tmp_path / "make.py").write_text(code)
    keys = {"source": "script_url", "value": "make.py", "base": tmp_path, **keys}
    return Entry("d", (), "alpaca", Columns(), Tags(), "info.json:1: d", **keys)


def made(entry):
    path = script.rows_of(entry, allowed=True)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_nothing_runs_without_leave(tmp_path):
    flag = tmp_path / "ran"
    entry = entry_of(tmp_path, f"open({str(flag)!r}, 'w')\ndef rows(): yield {{}}")
    with pytest.raises(DataError) as error:
        script.rows_of(entry, allowed=False)
    assert "trust_remote_code: true" in error.value.need
    assert not flag.exists()


def test_the_rows_of_a_function_are_kept_as_they_are_made(tmp_path):
    entry = entry_of(tmp_path, "def rows():\n yield {'a': 'ü', 'b': [1, None]}\n yield {'c': 2.5}")
    assert made(entry) == [{"a": "ü", "b": [1, None]}, {"c": 2.5}]
    assert script.rows_of(entry, allowed=True) == script.rows_of(entry, allowed=True)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_function_may_ask_for_the_split(tmp_path):
    entry = entry_of(tmp_path, "def rows(split): return [{'s': split}]", split="test")
    assert made(entry) == [{"s": "test"}]


def test_a_folder_holds_a_script_of_its_name(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.py").write_text("def rows(): yield {'a': 1}")
    assert made(entry_of(tmp_path, "", value="mine")) == [{"a": 1}]


BUILDER = """
import datasets
class Mine(datasets.GeneratorBasedBuilder):
    def _info(self):
        return datasets.DatasetInfo()
    def _split_generators(self, manager):
        return [datasets.SplitGenerator(name=s, gen_kwargs={"n": n}) for s, n in SPLITS.items()]
    def _generate_examples(self, n):
        for i in range(n):
            yield i, ({"i": i} if i else {"other": None})
SPLITS = {"train": 2, "test": 1}
"""


def test_a_loading_script_of_datasets_runs_and_its_rows_get_no_keys_of_others(tmp_path):
    pytest.importorskip("datasets")
    assert made(entry_of(tmp_path, BUILDER)) == [{"other": None}, {"i": 1}]
    assert made(entry_of(tmp_path, BUILDER, split="test")) == [{"other": None}]
    with pytest.raises(DataError, match="one of train, test"):
        made(entry_of(tmp_path, BUILDER, split="valid"))


@pytest.mark.parametrize(
    ("code", "where", "got"),
    [
        ("", "make.py", "neither"),
        ("def rows(): return []", "make.py", "no rows"),
        ("def rows(): yield 3", "make.py", "row 1: int"),
        ("def rows(): return 3", "make.py", "TypeError"),
        ("def rows():\n yield {'a': float('nan')}", "make.py", "ValueError"),
        ("def rows():\n\n 1 / 0\n yield {}", "make.py:3", "ZeroDivisionError"),
        ("def rows(:", "make.py:1", "SyntaxError"),
        ("import nothing_of_that_name", "make.py:1", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "make.py:1", "SystemExit"),
    ],
)
def test_a_script_that_makes_no_rows_is_told_with_its_line(tmp_path, code, where, got):
    with pytest.raises(DataError) as error:
        script.rows_of(entry_of(tmp_path, code), allowed=True)
    assert error.value.where == str(tmp_path / where)
    assert got in str(error.value)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_script_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        script.rows_of(entry_of(tmp_path, "", value="other.py"), allowed=True)
