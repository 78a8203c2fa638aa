"""What is not here is fetched, or refused with what to do."""

import sys

import pytest

from tunesmith.data.entry import Columns, Entry, Tags
from tunesmith.data.fetch import NO_ACCESS, Access, fetch
from tunesmith.errors import DataError


def entry_of(source, value, **keys):
    place = "info.json:1: d"
    return Entry("d", (), "alpaca", Columns(), Tags(), place, source=source, value=value, **keys)


def test_files_that_are_here_are_left_alone(tmp_path):
    entry = entry_of("file_name", "a.json")._replace(paths=(tmp_path / "a.json",))
    assert fetch(entry, NO_ACCESS) is entry


def test_a_hub_that_is_not_asked_says_what_to_do():
    with pytest.raises(DataError) as error:
        fetch(entry_of("om_hub_url", "a/b"), NO_ACCESS)
    assert "hf_hub_url or ms_hub_url" in error.value.need
    assert "openmind_hub" in error.value.hint


@pytest.mark.parametrize(
    ("source", "library", "extra"),
    [
        ("hf_hub_url", "datasets", "datasets"),
        ("ms_hub_url", "modelscope", "modelscope"),
        ("cloud_file_name", "fsspec", "cloud"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_command(monkeypatch, source, library, extra):
    for name in [m for m in sys.modules if m.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError) as error:
        fetch(entry_of(source, "a/b"), NO_ACCESS)
    assert f"pip install 'tunesmith[{extra}]'" in error.value.hint
    assert error.value.where == "info.json:1: d"


def test_a_script_becomes_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.py").write_text("def rows(): yield {'a': 1}")
    entry = entry_of("script_url", "m.py", base=tmp_path)
    (path,) = fetch(entry, Access(code=True)).paths
    assert path.read_text() == '{"a": 1}\n'
    with pytest.raises(DataError, match="trust_remote_code"):
        fetch(entry, NO_ACCESS)
