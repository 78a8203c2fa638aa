"""The end of a file's name says what is in it."""

from pathlib import Path

import pytest

from tunesmith.data.sources.source import by_name


@pytest.mark.parametrize(
    ("name", "layout", "packing"),
    [
        ("a.json", "array", None),
        ("a.b.JSONL", "lines", None),
        ("a.csv.gz", "csv", "gzip"),
        ("a.TSV.Zst", "tsv", "zstandard"),
        ("a.txt", "text", None),
        ("train-00000-of-00002.parquet", "parquet", None),
        ("a.json.arrow", "arrow", None),
    ],
)
def test_the_end_of_a_name_says_layout_and_packing(name, layout, packing):
    source = by_name(Path("d") / name)
    assert source is not None
    assert (source.layout, source.packing, source.file) == (layout, packing, f"d/{name}")


@pytest.mark.parametrize("name", ["a", "a.gz", "a.json.bz2", "a.gz.json5", "json", "a.json.gz.gz"])
def test_another_name_says_nothing(name):
    assert by_name(Path(name)) is None
