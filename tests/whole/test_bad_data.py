"""Commands over bad data: one error, exit code 2, and nothing written."""

import json
import os

import pytest

from bad_files import packed, registries, rows, tables, talks, texts
from tiny_run import tiny_run
from tunesmith.cli.main import main

CONTENTS = {  # of the data file, by its name: one of each kind of fault
    "row.jsonl": f"{rows.GOOD['alpaca']}\n{rows.ALPACA['output null'][0]}",
    "syntax.jsonl": rows.SYNTAX["nan"][0],
    "surrogate.jsonl": rows.SYNTAX["high surrogate"][0],
    "deep.json": "[" * 100_000,
    "cut.json": texts.FILES["cut_in_word.json"][0].replace("§", rows.GOOD["alpaca"]),
    "latin1.json": texts.FILES["latin1.json"][0],
    "half.jsonl.gz": packed.FILES["half.jsonl.gz"][0],
    "half.parquet": packed.FILES["half.parquet"][0],
    "half.arrow": packed.FILES["half_stream.arrow"][0],
    "ragged.csv": tables.ROWS["short.csv"][0],
    "chat.jsonl": talks.SHAREGPT["two questions"][0],
    "control.jsonl": '{"instruction": "\x1b]0;owned\x07", "output": 1}',
    "new\nline.jsonl": "{}",
}


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("verb", ["train", "plan"])
@pytest.mark.parametrize("name", CONTENTS, ids=lambda name: name.replace("\n", "-"))
def test_bad_data_ends_a_command_with_one_error_and_writes_nothing(
    run_file, tmp_path, capsys, name, verb
):
    content = CONTENTS[name]
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(raw)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": {"file_name": name}}))
    told_of(run_file, tmp_path, capsys, verb, name.replace("\n", "\\n"))


@pytest.mark.parametrize("name", ["null", "file missing", "column unknown", "user is assistant"])
def test_a_bad_registry_ends_a_command_alike(run_file, tmp_path, capsys, name):
    (tmp_path / "a.jsonl").write_text(rows.GOOD["alpaca"])
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": registries.ENTRIES[name][0]}))
    told_of(run_file, tmp_path, capsys, "train", "dataset_info.json:1: d")


def told_of(run_file, directory, capsys, verb, place):
    before = sorted(os.listdir(directory))
    output = directory / "out"
    keys = [f"dataset_dir={directory}", "dataset=d", f"output_dir={output}"]
    assert main([verb, str(run_file), *keys]) == 2
    shown = capsys.readouterr()
    assert f"{directory}/{place}" in shown.err
    assert shown.err.count("  need  ") == 1
    assert "Traceback" not in shown.err + shown.out
    assert "\x1b" not in shown.err + shown.out
    assert sorted(os.listdir(directory)) == before
