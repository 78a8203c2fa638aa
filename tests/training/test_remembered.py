"""Done once for the same question and the same code, whatever becomes of the file."""

import pytest

from tunesmith import store
from tunesmith.training import remembered as module
from tunesmith.training.remembered import remembered


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "_known", {})


def asked(key, value, monkeypatch=None):
    """(the answer, whether it was made anew); in another process, where monkeypatch is given."""
    if monkeypatch:
        monkeypatch.setattr(module, "_known", {})
    made = []
    return remembered(key, lambda: made.append(1) or value), bool(made)


def test_another_process_finds_what_was_made(monkeypatch):
    assert asked("a", [1, [2.5]]) == ([1, [2.5]], True)
    assert asked("a", None) == ([1, [2.5]], False)
    assert asked("a", None, monkeypatch) == ([1, [2.5]], False)
    assert asked("b", 3) == (3, True)


def test_other_code_asks_anew(monkeypatch):
    asked("a", 1)
    monkeypatch.setattr(module, "_code", lambda: "another")
    assert asked("a", 2, monkeypatch) == (2, True)


def test_a_file_that_is_damaged_is_made_anew(tmp_path, monkeypatch):
    asked("a", 1)
    (path,) = (tmp_path / "rehearsals").iterdir()
    path.write_text("{")
    assert asked("a", 2, monkeypatch) == (2, True)
    assert asked("a", 3, monkeypatch) == (2, False)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "rehearsals").write_text("a file where the directory should be")
    assert asked("a", 1) == (1, True)
    assert asked("a", 2, monkeypatch) == (2, True)


def test_what_fails_is_not_kept():
    with pytest.raises(ZeroDivisionError):
        remembered("a", lambda: 1 / 0)
    assert asked("a", 1) == (1, True)
    assert store.cache_root().is_dir()
