"""Names, paths and inline entries are found; what is wrong is named with its place."""

import json
from pathlib import Path

import pytest

from data_files import enter, refusal
from tunesmith.data import registry
from tunesmith.data.entry import Columns
from tunesmith.errors import DataError

DEMO = Path(__file__).parents[3] / "shared" / "data"


F = {"file_name": "a.json"}


def test_an_unknown_name_gets_the_nearest(tmp_path):
    error = refusal(tmp_path, F, name="mime")
    assert error.hint == "dataset: mine"
    assert "other, mine" in error.need


def test_an_entry_that_is_not_asked_for_is_left_alone(tmp_path):
    enter(tmp_path, {"file_name": "a.json"})
    assert registry.load(tmp_path, ["mine"])
    with pytest.raises(DataError, match="no such file"):
        registry.load(tmp_path, ["other"])


def test_a_dataset_asked_for_twice_is_refused(tmp_path):
    enter(tmp_path, F)
    with pytest.raises(DataError, match="each dataset once"):
        registry.load(tmp_path, ["mine", "mine"])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ":1:1"),
        ("[]", ":1"),
        ('{\n"a": {},\n"a": {}}', ":3:1"),
        ('{"a": {"file_name": "x"}\n', ":2:1"),
        ('{"a": NaN}', ":1:7"),
    ],
)
def test_a_broken_registry_is_refused_with_its_line(tmp_path, text, place):
    (tmp_path / "dataset_info.json").write_text(text)
    with pytest.raises(DataError) as error:
        registry.load(tmp_path, ["a"])
    assert error.value.where == f"{tmp_path / 'dataset_info.json'}{place}"


def test_a_missing_registry_is_refused_with_a_line_to_write(tmp_path):
    with pytest.raises(DataError) as error:
        registry.load(tmp_path, ["a"])
    assert "no such file" in str(error.value)
    assert '"file_name"' in error.value.hint


def test_every_entry_of_the_demo_registry_parses_or_is_refused_by_name():
    if not DEMO.exists():
        pytest.skip("no demo data beside the checkout")
    read, refused = [], []
    for name in json.loads((DEMO / "dataset_info.json").read_text("utf8")):
        try:
            read += registry.load(DEMO, [name])
        except DataError as error:
            refused.append(error)
    assert {entry.name for entry in read} >= {
        "identity",
        "alpaca_en_demo",
        "glaive_toolcall_zh_demo",
    }
    assert all(f": {error.where.split(': ')[1]}" in error.where for error in refused)
    assert not any("does not have" in str(error.got) for error in refused)


def test_a_name_that_is_too_long_for_any_path_is_no_file(tmp_path):
    with pytest.raises(DataError, match="name too long"):
        registry.load(tmp_path / ("a" * 5000), ["tiny"])
    (tmp_path / "dataset_info.json").write_text('{"tiny": {"file_name": "%s"}}' % ("a" * 5000))
    with pytest.raises(DataError, match=r"tiny\.file_name"):
        registry.load(tmp_path, ["tiny"])


def test_an_inline_entry_has_the_keys_of_the_registry_and_needs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    item = {"file_name": "a.json", "columns": {"prompt": "q", "response": "a"}}
    (entry,) = registry.load(tmp_path / "none", [item], "run.yaml:3: dataset")
    assert (entry.name, entry.paths, entry.place) == (
        "a.json", (Path("a.json"),), "run.yaml:3: dataset"
    )  # fmt: skip
    assert entry.columns.prompt == "q"


@pytest.mark.parametrize(
    ("item", "place"),
    [
        ({"file_nam": "a.json"}, "dataset[1].file_nam"),
        ({"file_name": "b.json"}, "dataset[1].file_name"),
        ({"file_name": "a.json", "columns": {"promt": "x"}}, "dataset[1].columns.promt"),
        ({"mine": {"file_name": "a.json"}}, "dataset[1].mine"),
        ("./b.json", "dataset[1]: ./b.json"),
        ("b.csv", "dataset[1]: b.csv"),
    ],
    ids=str,
)
def test_a_bad_item_of_the_run_is_refused_with_its_place(tmp_path, monkeypatch, item, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError) as error:
        registry.load(tmp_path, ["./a.json", item])
    assert error.value.where == place


def test_names_paths_and_entries_may_be_mixed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = tmp_path / "data"
    inside.mkdir()
    enter(inside, F)
    (tmp_path / "b.jsonl").write_text("")
    items = ["mine", "b.jsonl", {"file_name": "b.jsonl", "formatting": "sharegpt"}]
    found = registry.load(inside, items)
    assert [e.name for e in found] == ["mine", "b.jsonl", "b.jsonl (2)"]
    assert [e.paths for e in found] == [
        (inside / "a.json",), (Path("b.jsonl"),), (Path("b.jsonl"),)
    ]  # fmt: skip
    assert [e.formatting for e in found] == ["alpaca", None, "sharegpt"]
    assert found[1].columns == Columns()


def test_a_name_of_the_registry_wins_over_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    enter(tmp_path, F, name="a.json")
    (entry,) = registry.load(tmp_path, ["a.json"])
    assert entry.formatting == "alpaca"
    assert "dataset_info.json" in entry.place


def test_a_bare_word_is_a_name_and_the_error_says_how_to_spell_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zzz").write_text("")
    with pytest.raises(DataError, match=r"\./zzz is read as a path"):
        registry.load(tmp_path / "none", ["zzz"])
    enter(tmp_path, F)
    with pytest.raises(DataError, match=r"\./zzz is read as a path"):
        registry.load(tmp_path, ["zzz"])


def test_a_misspelt_path_gets_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(DataError) as error:
        registry.load(tmp_path, ["./row.jsonl"])
    assert error.value.hint == "dataset: rows.jsonl"


def test_one_path_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(DataError, match="each dataset once"):
        registry.load(tmp_path, ["./rows.jsonl", "./rows.jsonl"])


@pytest.mark.parametrize("directory", ["ONLINE", "REMOTE:own/registry"])
def test_a_directory_that_stands_for_a_hub_elsewhere_names_the_entry_to_write(directory):
    with pytest.raises(DataError) as error:
        registry.load(Path(directory), ["rows"])
    assert error.value.hint == "dataset: {hf_hub_url: rows}, without dataset_dir"
