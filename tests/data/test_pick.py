"""Which rows are shown: a spread that reads only the beginning, and places that are named."""

import json
from itertools import count

import pytest

from tunesmith.data import pick
from tunesmith.data.entry import Columns, Entry, Tags
from tunesmith.data.pick import Places, Spread, found_in, spread
from tunesmith.data.rows import Row, open_sources, rows
from tunesmith.errors import DataError
from tunesmith.types import Origin


def entry(name, *paths, formatting="alpaca", **keys):
    return Entry(name, paths, formatting, Columns(), Tags(), f"{name}: here", **keys)


def numbered(name, numbers):
    return (Row({}, Origin(name, f"{name}.json", n, n)) for n in numbers)


def test_a_spread_takes_one_row_of_each_stretch():
    for total, wanted in [(1000, 3), (7, 7), (5, 9), (10, 4), (1, 1), (0, 3)]:
        found = spread(total, wanted, seed=42)
        assert len(found) == min(total, wanted)
        borders = [i * total // max(1, len(found)) for i in range(len(found) + 1)]
        assert all(a <= n < b for a, n, b in zip(borders, found, borders[1:], strict=False))
    assert spread(1000, 3, seed=42) == spread(1000, 3, seed=42)
    assert len({tuple(spread(1000, 3, seed=seed)) for seed in range(20)}) > 15


@pytest.mark.parametrize(
    ("datasets", "wanted", "shares"),
    [(1, None, [3]), (2, None, [2, 1]), (5, None, [1] * 5), (2, 5, [3, 2]), (3, 1, [1]),
     (3, 2, [1, 1])],
)  # fmt: skip
def test_rows_are_shared_out_over_the_datasets(datasets, wanted, shares):
    entries = [(entry(f"d{i}"), i == 1) for i in range(datasets)]
    chosen = Spread(entries, wanted, seed=1)
    for one, _ in chosen.entries:
        assert len(list(chosen(one, numbered(one.name, range(1, 100))))) > 0
    names = [row.origin.dataset for row, _ in chosen.picked]
    assert [names.count(f"d{i}") for i in range(datasets)] == shares + [0] * (
        datasets - len(shares)
    )
    assert all(held_out == (row.origin.dataset == "d1") for row, held_out in chosen.picked)


def test_a_spread_reads_only_the_beginning_of_an_endless_file():
    one = entry("d")
    asked = count(1)
    chosen = Spread([(one, False)], 3, seed=42)
    list(chosen(one, numbered("d", asked)))
    assert next(asked) < 1010
    assert list(chosen.told()) == ["d: 3 of the first 1,000 rows"]
    assert {row.origin.row > 500 for row, _ in chosen.picked} == {True, False}


def test_what_is_told_fits_the_number_of_rows():
    def told(total, wanted):
        one = entry("d")
        chosen = Spread([(one, False)], wanted, seed=42)
        list(chosen(one, numbered("d", range(total))))
        return next(chosen.told())

    assert told(1, 3) == "d: its only row"
    assert told(7, 9) == "d: all 7 rows"
    assert told(1000, 3) == "d: 3 of 1,000 rows"
    assert told(1001, 3) == "d: 3 of the first 1,000 rows"
    assert told(5000, 200) == "d: 200 of the first 2,000 rows"


@pytest.fixture
def files(tmp_path):
    lines = [json.dumps({"instruction": "x", "output": str(i)}) for i in range(9)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "rows.jsonl").write_text("\n\n".join(lines))  # lines 1, 3, 5 …
    (tmp_path / "b" / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "b" / "flat.json").write_text(f"[{', '.join(lines)}]")
    a = entry("a", tmp_path / "a" / "rows.jsonl")
    b = entry("b", tmp_path / "b")
    return tmp_path, [(a, False), (b, True)]


def at(entries, *places, wanted=None):
    chosen = Places(entries, [found_in(entries, place) for place in places], count=wanted)
    for one, _ in chosen.entries:
        (path,) = one.paths
        (source,) = open_sources(path)
        list(chosen(one, rows(source, one.name)))
    return chosen


def test_a_place_is_found_by_path_by_its_end_and_by_bare_name(files):
    folder, entries = files
    for text in ("flat.json", "b/flat.json", str(folder / "b" / "flat.json")):
        assert found_in(entries, f"{text}:1").file == folder / "b" / "flat.json"
    found = at(entries, "a/rows.jsonl:3", "b/rows.jsonl:7", "a/rows.jsonl:1")
    told = [(row.origin.dataset, row.origin.line, held) for row, held in found.picked]
    assert told == [("a", 1, False), ("a", 3, False), ("b", 7, True)]


def test_a_name_that_several_files_have_is_refused_with_them(files):
    folder, entries = files
    with pytest.raises(DataError) as error:
        found_in(entries, "rows.jsonl:3")
    assert str(folder / "a" / "rows.jsonl") in error.value.need
    assert str(folder / "b" / "rows.jsonl") in error.value.need


def test_a_file_that_is_not_there_is_answered_with_the_nearest(files):
    folder, entries = files
    with pytest.raises(DataError) as error:
        found_in(entries, "flt.json:4")
    assert error.value.hint == f"--row {folder / 'b' / 'flat.json'}:4"


@pytest.mark.parametrize("text", ["rows.jsonl", "rows.jsonl:", ":4", "rows.jsonl:0", "a:x", "a:-1"])
def test_what_is_no_place_is_refused(files, text):
    with pytest.raises(DataError, match="FILE:LINE") as error:
        found_in(files[1], text)
    line = 4 if text == ":4" else 1
    assert error.value.hint.startswith("--row ")
    assert error.value.hint.endswith(f":{line}")
    assert found_in(files[1], error.value.hint.removeprefix("--row ")).line == line


@pytest.mark.parametrize(("line", "near", "hint"), [(4, "3 and 5", 3), (40, "17", 17)])
def test_a_line_without_a_row_is_answered_with_the_nearest(files, line, near, hint):
    folder, entries = files
    with pytest.raises(DataError) as error:
        at(entries, f"a/rows.jsonl:{line}")
    assert error.value.where == f"{folder / 'a' / 'rows.jsonl'}:{line}"
    assert error.value.need.endswith(f"the nearest: {near}")
    assert error.value.hint.endswith(f"rows.jsonl:{hint}")


def test_nothing_behind_the_last_place_is_read(files):
    _, entries = files
    chosen = Places(entries, [found_in(entries, "a/rows.jsonl:5")], count=None)
    asked = count(1)
    list(chosen(entries[0][0], numbered("a", asked)))
    assert next(asked) == 7
    assert [row.origin.line for row, _ in chosen.picked] == [5]


def test_a_line_with_many_rows_shows_the_first(files):
    _, entries = files
    found = at(entries, "flat.json:1")
    assert [row.origin.row for row, _ in found.picked] == [1, 2, 3]
    assert "-n shows more" in next(found.told())
    assert len(at(entries, "flat.json:1", wanted=20).picked) == 9


def test_rows_that_the_run_may_not_read_are_told(files):
    _, entries = files
    sampled = [(one._replace(num_samples=2), held) for one, held in entries]
    chosen = Places(sampled, [found_in(sampled, "a/rows.jsonl:5")], count=None)
    assert chosen.entries[0][0].num_samples is None
    chosen.max_samples = 2
    (source,) = open_sources(chosen.entries[0][0].paths[0])
    list(chosen(chosen.entries[0][0], rows(source, "a")))
    told = list(chosen.told())
    assert told[0] == "a: max_samples 2: this run does not read row 3"
    assert "2 samples" in told[1]


def test_a_plain_path_keeps_the_layout_of_all_its_files(tmp_path):
    (tmp_path / "1.jsonl").write_text(json.dumps({"question": "a", "answer": "b"}))
    (tmp_path / "2.jsonl").write_text(json.dumps({"question": "c", "answer": "d"}))
    entries = [(entry("d", tmp_path, formatting=None), False)]
    found = at(entries, "2.jsonl:1")
    assert found.entries[0][0].formatting == "alpaca"
    assert found.entries[0][0].columns.prompt == "question"
    assert pick.COUNT == 3
