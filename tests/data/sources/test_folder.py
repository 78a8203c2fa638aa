"""What of a folder is read, left aside or refused."""

import os

import pytest

from tunesmith.data.sources.folder import look, note
from tunesmith.errors import DataError


def make(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_shards_come_in_natural_order(tmp_path):
    names = ["a1.csv", "a2.csv", "a10.csv", "a10b.csv", "a²0.csv", "b01.csv", "b1.csv", "b2.csv"]
    found = look(make(tmp_path, *reversed(names)))
    assert [source.path.name for source in found.sources] == names
    assert found.aside == []


def test_hidden_files_are_ignored_and_others_are_named(tmp_path):
    make(tmp_path, "a.jsonl", ".b.jsonl", ".cache/c.jsonl", "README.md", "LICENSE", "images/1.png")
    found = look(tmp_path)
    assert [source.path.name for source in found.sources] == ["a.jsonl"]
    assert note(tmp_path, found.aside) == f"{tmp_path}: left aside: LICENSE, README.md, images/"
    assert (
        note(tmp_path, [str(n) for n in range(9)]) == f"{tmp_path}: left aside: 0, 1, 2 and 6 more"
    )
    assert note(tmp_path, []) is None


def test_what_datasets_writes_beside_its_shards_is_known(tmp_path):
    make(tmp_path, "data-00000-of-00001.arrow", "dataset_info.json", "state.json")
    found = look(tmp_path)
    assert [source.layout for source in found.sources] == ["arrow"]
    assert found.aside == []


@pytest.mark.parametrize(
    "name", ["b.jsonl.bz2", "b.xlsx", "b.zip", "b.jsonl.part", "b.tar.gz", "b.csv.xz", "b.ndjson"]
)
def test_a_file_that_may_hold_rows_is_not_left_aside(tmp_path, name):
    with pytest.raises(DataError) as error:
        look(make(tmp_path, "a.jsonl", name))
    assert error.value.where == str(tmp_path / name)


@pytest.mark.parametrize("name", ["train/a.jsonl", "x/y/z.parquet"])
def test_rows_in_a_folder_within_are_not_left_aside(tmp_path, name):
    with pytest.raises(DataError, match="a folder within the folder") as error:
        look(make(tmp_path, "a.jsonl", name))
    assert error.value.where == str(tmp_path / name.split("/")[0])


def test_links_that_loop_are_one_error(tmp_path):
    make(tmp_path, "a.jsonl")
    os.symlink(tmp_path, tmp_path / "loop")
    with pytest.raises(DataError, match="a folder within the folder"):
        look(tmp_path)


def test_a_link_to_a_file_is_that_file(tmp_path):
    make(tmp_path, "there/a.jsonl", "here/c.txt")
    os.symlink(tmp_path / "there" / "a.jsonl", tmp_path / "here" / "b.jsonl")
    assert [source.path.name for source in look(tmp_path / "here").sources] == ["b.jsonl", "c.txt"]


@pytest.mark.parametrize("names", [[], [".a.json"], ["README.md"], ["dataset_info.json"]])
def test_a_folder_without_data_files_is_refused(tmp_path, names):
    with pytest.raises(DataError, match="without data files"):
        look(make(tmp_path, *names))


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        look(tmp_path / "none")
