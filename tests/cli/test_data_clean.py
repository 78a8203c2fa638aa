"""`tunesmith data clean`: its last line is the command that trains on what was kept."""

import json
import shlex

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.main import main


def faulty():
    rows = tiny_rows(12)
    rows[1]["output"] = rows[5]["output"] = ""
    rows[7]["output"] = "word " * 400
    return rows


@pytest.fixture
def out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def clean(*words, code=0):
        assert main(["data", "clean", "run.yaml", *words]) == code
        return capsys.readouterr()

    return clean


def typed(told):
    """The words of the last line, behind the name of the program."""
    return shlex.split(told.out.splitlines()[-1].partition("tunesmith")[2])


def test_the_command_that_it_ends_with_trains_on_what_is_kept(out, tmp_path, capsys):
    tiny_run(tmp_path, rows=faulty(), max_steps=1, num_train_epochs=None)
    told = out("--output", "new dir", "on_bad_row=skip")
    assert "tiny.json  12 rows read = 9 kept + 3 rejected" in told.out
    assert "rejected  new dir/rejected.jsonl" in told.out
    assert typed(told) == ["train", "run.yaml", "dataset_dir=new dir"]
    assert len((tmp_path / "new dir" / "rejected.jsonl").read_text().splitlines()) == 3
    assert main(["data", "check", *typed(told)[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["used"] == 9
    assert main(typed(told)) == 0


def test_entries_that_stand_in_the_run_file_are_named_in_the_command(out, tmp_path):
    path = tiny_run(tmp_path, rows=faulty())
    inline = {"file_name": str(tmp_path / "data" / "tiny.json"), "columns": {
        "prompt": "instruction", "response": "output"}}  # fmt: skip
    lines = [line for line in path.read_text().splitlines() if not line.startswith("dataset: ")]
    path.write_text("\n".join([*lines, f"dataset: {json.dumps([inline])}"]))
    told = out("--output", "new", "cutoff_len=256")
    name = str(tmp_path / "data" / "tiny.json")
    assert typed(told)[2:] == ["cutoff_len=256", f"dataset={name}", "dataset_dir=new"]
    assert main(["data", "check", *typed(told)[1:]]) == 0


def test_json_names_the_files_and_the_command(out, tmp_path):
    tiny_run(tmp_path, rows=faulty())
    found = json.loads(out("--output", "new", "--json").out)
    assert found["files"][0]["kept"] == 9
    assert (tmp_path / found["output"] / found["files"][0]["path"]).is_file()
    assert found["next"].endswith("train run.yaml dataset_dir=new")


def test_what_is_missing_or_in_the_way_is_told(out, tmp_path):
    tiny_run(tmp_path, rows=faulty())
    error = out("on_bad_row=skip", "seed=2", code=2).err
    assert error.endswith("data clean run.yaml seed=2 --output cleaned\n")
    assert "something in it" in out("--output", "data", code=2).err
    (tmp_path / "data-2").touch()
    assert "try   --output data-3" in out("--output", "data", code=2).err


def test_an_option_of_another_sub_verb_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_run(tmp_path)
    assert main(["data", "check", "run.yaml", "--output", "x"]) == 2
    assert "an option of data check; this is one of data clean" in capsys.readouterr().err
