"""Kept and rejected rows are all that was read, and the kept ones teach what they taught."""

import csv
import gzip
import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from tiny_tokenizer import load_tiny
from tunesmith.data import clean as cleaning
from tunesmith.data.clean import clean, one_line
from tunesmith.data.prepare import prepare
from tunesmith.data.rows import Row
from tunesmith.errors import DataError, OutputError
from tunesmith.templates import choose
from tunesmith.types import Origin

TOKENIZER = load_tiny()
CHATML = choose("chatml", TOKENIZER)
ROWS = [
    {"instruction": "ask é 0", "output": 'say "0",\n twice'},
    {"instruction": "ask 1", "output": ""},
    {"instruction": "ask 2", "output": "say 2"},
    {"instruction": "", "output": "  "},
    {"instruction": "ask 4", "output": "say 4\u2028\U0001f600"},
    {"instruction": "ask 5", "output": "long " * 200},
    {"instruction": "ask 6", "output": "say {{name}}"},
]
KEPT = [0, 2, 4, 6]


def read(items, directory, **options):
    options = {"cutoff_len": 256, "whole": True, **options}
    return prepare(
        dataset=items, dataset_dir=directory, renderer=CHATML, tokenizer=TOKENIZER, **options
    )


def table(rows):
    return pyarrow.table({key: [row[key] for row in rows] for key in rows[0]})


def delimited(rows, separator):
    text = io.StringIO(newline="")
    quoting = {"quoting": csv.QUOTE_ALL}
    writer = csv.DictWriter(text, rows[0], delimiter=separator, lineterminator="\n", **quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def put(path, rows):
    """Write rows as the name of the file says."""
    path.parent.mkdir(exist_ok=True, parents=True)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        parquet.write_table(table(rows), path, row_group_size=2)
        return
    if kind == "arrow":
        with pyarrow.ipc.new_file(str(path), table(rows).schema) as writer:
            writer.write_table(table(rows), 3)
        return
    if kind in ("csv", "tsv"):
        content = delimited(rows, "," if kind == "csv" else "\t")
    elif kind == "jsonl":
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        content = json.dumps(rows, indent=2).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def register(directory, **entries):
    (directory / "dataset_info.json").write_text(json.dumps(entries))


def rejects(output):
    return [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]


def all_is_as_it_was(before, items, output, **options):
    """The facts that hold of every cleaning."""
    after = read(items, output, **options)
    assert after.refusal is None
    assert (after.ledger.bad, after.ledger.num_skipped) == (0, 0)
    assert after.fingerprint == before.fingerprint
    assert after.ledger.num_read + len(rejects(output)) == before.ledger.num_read
    return after


KINDS = ("a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.json.gz", "a.csv.gz")


@pytest.mark.parametrize("name", KINDS)
def test_kept_rows_of_every_type_teach_what_they_taught(tmp_path, name):
    put(tmp_path / "in" / name, ROWS)
    register(tmp_path / "in", mine={"file_name": name, "fill": {"name": "Ada"}})
    before = read(["mine"], tmp_path / "in")
    made = clean(before, tmp_path / "out")
    all_is_as_it_was(before, ["mine"], tmp_path / "out")
    ((file, kept, rejected, path),) = made.files
    assert (file, kept, rejected) == (str(tmp_path / "in" / name), 4, 3)
    assert (tmp_path / "out" / path).is_file()
    found = rejects(tmp_path / "out")
    assert [one["row"] for one in found] == [ROWS[1], ROWS[3], ROWS[5]]
    assert [one["reason"] for one in found] == ["empty answer", "empty answer", "over_cutoff"]
    assert [one["field"] for one in found] == ["output", "output", "length"]
    assert {one["file"] for one in found} == {file}
    assert made.datasets == ("mine",)


def test_lines_of_a_jsonl_file_are_kept_byte_for_byte(tmp_path):
    lines = [
        r'{"instruction": "a\u00e9\/b",   "output":"x", "n": 1.50, "m": 1e400, "k": -0}',
        '{"output": "é😀\u2028", "instruction": "b", "deep": [ {"z": null} , 1E5 ] }',
        '{"instruction": "c", "output": "ok", "n": 1.0, "n": 2}',
        '  {"instruction": "d", "output": 5}',
        '[{"instruction": "e"}]',
        "broken {",
    ]
    (tmp_path / "a.jsonl").write_bytes("\r\n".join([lines[0], "", *lines[1:]]).encode("utf-16"))
    register(tmp_path, a={"file_name": "a.jsonl"})
    before = read(["a"], tmp_path)
    clean(before, tmp_path / "out")
    kept = (tmp_path / "out" / "a.jsonl").read_bytes()
    assert kept == f"{lines[0]}\n{lines[1]}\n".encode()
    all_is_as_it_was(before, ["a"], tmp_path / "out")
    found = rejects(tmp_path / "out")
    assert [(one["line"], one["field"]) for one in found] == [
        (4, None), (5, "output"), (6, None), (7, None),
    ]  # fmt: skip
    assert [one["row"] for one in found] == [lines[2], json.loads(lines[3]), *lines[4:]]


@pytest.mark.parametrize("indent", [None, 1, "\t"])
def test_a_row_of_an_array_becomes_a_line_of_the_same_text(indent):
    value = {"a": [1, {"b": "x, \n y"}, []], "c": {}, "d": "{\r\n"}
    text = json.dumps(value, indent=indent).replace("\n", "\r\n" if indent == 1 else "\n")
    row = Row(value, Origin("d", "d.json", 1, 1), text)
    assert one_line(row) == json.dumps(value)


def test_a_folder_stays_a_folder_and_its_files_keep_their_order(tmp_path):
    for number, name in enumerate(("p-1.json", "p-2.jsonl", "p-10.csv", "p-10.jsonl", "p-11.json")):
        rows = ROWS[1:2] if name == "p-11.json" else ROWS
        put(tmp_path / "in" / name, [{**row, "instruction": f"{number}"} for row in rows])
    before = read([str(tmp_path / "in")], tmp_path)
    made = clean(before, tmp_path / "out")
    assert [one.kept for one in made.files] == [4, 4, 4, 4, 0]
    assert len(list((tmp_path / "out" / "in").iterdir())) == 4
    all_is_as_it_was(before, [str(tmp_path / "in")], tmp_path / "out")


def test_layouts_that_were_looked_up_in_the_rows_are_written_down(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": turns[:1]}, *({"messages": turns, "n": n} for n in range(3))]
    put(tmp_path / "chat.jsonl", rows)
    plain = str(tmp_path / "chat.jsonl")
    inline = {"file_name": plain, "formatting": "openai", "columns": {"messages": "messages"}}
    before = read([plain, inline], tmp_path)
    made = clean(before, tmp_path / "out")
    assert made.datasets[0] == plain
    assert [one.path for one in made.files] == ["chat.jsonl", "chat-2.jsonl"]
    all_is_as_it_was(before, made.datasets, tmp_path / "out")


@pytest.mark.parametrize("options", [{"max_samples": 3}, {"val_size": 2}, {"val_size": 0.5}])
def test_what_a_run_takes_of_its_rows_is_what_it_takes_of_the_kept_ones(tmp_path, options):
    put(tmp_path / "a.json", ROWS)
    put(tmp_path / "b.json", [{**row, "instruction": "other"} for row in ROWS])
    register(tmp_path, a={"file_name": "a.json"}, b={"file_name": "b.json"})
    before = read(["b", "a"], tmp_path, **options)
    made = clean(before, tmp_path / "out", max_samples=options.get("max_samples"))
    all_is_as_it_was(before, ["b", "a"], tmp_path / "out", **options)
    assert len(made.notes) == (2 if "max_samples" in options else 0)


@pytest.mark.parametrize("count", [4, 7, 20])
def test_a_sample_stays_the_sample_that_was_drawn(tmp_path, count):
    put(tmp_path / "a.json", ROWS)
    register(tmp_path, a={"file_name": "a.json", "num_samples": count})
    before = read(["a"], tmp_path)
    clean(before, tmp_path / "out")
    all_is_as_it_was(before, ["a"], tmp_path / "out")


def test_a_dataset_without_a_good_row_is_not_in_the_new_registry(tmp_path):
    put(tmp_path / "a.json", ROWS)
    put(tmp_path / "bad.json", ROWS[1:2])
    register(tmp_path, a={"file_name": "a.json"}, bad={"file_name": "bad.json"})
    before = read(["bad", "a"], tmp_path, eval_dataset=[str(tmp_path / "a.json")])
    made = clean(before, tmp_path / "out")
    assert (made.datasets, made.eval_datasets) == (("a",), (str(tmp_path / "a.json"),))
    all_is_as_it_was(before, ["a"], tmp_path / "out", eval_dataset=made.eval_datasets)
    nothing = read(["bad"], tmp_path)
    with pytest.raises(DataError):
        clean(nothing, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("there", ["file", "full"])
def test_nobodys_files_are_written_over(tmp_path, there):
    put(tmp_path / "a.json", ROWS)
    output = tmp_path / "out"
    if there == "full":
        output.mkdir()
        (output / "mine").write_text("mine")
    else:
        output.write_text("mine")
    with pytest.raises(OutputError):
        clean(read([str(tmp_path / "a.json")], tmp_path), output)
    assert "mine" in (output / "mine" if there == "full" else output).read_text()


def test_what_fails_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    put(tmp_path / "a.json", ROWS)
    output = tmp_path / "out"
    output.mkdir()
    before = read([str(tmp_path / "a.json")], tmp_path)
    (tmp_path / "a.json").write_text('[{"instruction": NaN}]')
    with pytest.raises(DataError, match="other bytes"):
        clean(before, output)

    def full(row, skip):
        raise OSError(28, "No space left on device")

    put(tmp_path / "a.json", ROWS)
    monkeypatch.setattr(cleaning, "rejected", full)
    with pytest.raises(OSError, match="No space left"):
        clean(before, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "out"]
    assert list(output.iterdir()) == []
