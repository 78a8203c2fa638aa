"""`tunesmith data show`: rows in text, as JSON and as a page, from a run file alone."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.training import reading
from tunesmith.training.report import Silent


@pytest.fixture
def run(tmp_path):
    """A run of rows that stand on a line each."""
    path = tiny_run(tmp_path, entry={"file_name": "tiny.jsonl"})
    rows = [*tiny_rows(), {"instruction": "no answer"}]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "data" / "tiny.jsonl").write_text(text)
    return path


def out(capsys, *arguments, code=0):
    assert main(["data", "show", *map(str, arguments)]) == code
    return capsys.readouterr()


def test_three_rows_are_shown_and_it_is_said_which(run, capsys):
    text = out(capsys, run).out
    assert text.startswith("tiny: 3 of 13 rows\n")
    assert text.count(" (row ") == 3
    assert "trained │ " in text
    assert out(capsys, run).out == text
    assert out(capsys, run, "seed=3").out != text
    assert out(capsys, run, "-n", "99").out.startswith("tiny: all 13 rows\n")


def test_json_has_the_ids_of_the_run(run, capsys):
    told = json.loads(out(capsys, run, "-n", "13", "--json", "cutoff_len=40").out)
    asked = load(run, {"cutoff_len": 40, "on_bad_row": "skip"})
    stored = {example.origin.row: example for example in reading.read(asked, Silent()).data.train}
    skipped = 0
    for row in told["rows"]:
        if row["skipped"]:
            skipped += 1
            continue
        (text,) = row["texts"]
        kept = [token for token in text["tokens"] if token["class"] != "cut"]
        example = stored.pop(row["row"])
        assert [token["id"] for token in kept] == example.ids.tolist()
        assert [token["class"] == "trained" for token in kept] == example.trained.tolist()
    assert not stored
    assert skipped >= 1


def test_a_row_is_named_as_errors_name_it(run, capsys):
    text = out(capsys, run, "--row", "tiny.jsonl:13", "--row", "tiny.jsonl:2").out
    assert text.index("tiny.jsonl:2 (row 2)") < text.index("tiny.jsonl:13 (row 13)")
    assert "skipped: missing column" in text
    error = out(capsys, run, "--row", "tiny.jsonl:14", code=2).err
    assert "the nearest: 13" in error
    assert "--row" in error.splitlines()[-1]


def test_a_page_is_written_and_only_a_page_is_written_over(run, capsys, tmp_path):
    page = tmp_path / "rows.html"
    told = out(capsys, run, "--html", page).out
    assert f"{page}: 13 rows" in told
    first = page.read_text(encoding="utf8")
    assert json.loads(out(capsys, run, "--html", page, "-n", "2", "--json").out) == {
        "html": str(page), "rows": 2,
    }  # fmt: skip
    assert page.read_text(encoding="utf8") != first
    before = run.read_bytes()
    error = out(capsys, run, "--html", run, code=2).err
    assert "a file that is there already" in error
    assert run.read_bytes() == before
    assert "a directory" in out(capsys, run, "--html", tmp_path, code=2).err


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5"])
def test_a_number_that_is_none_is_refused(run, capsys, count):
    assert "need a number of rows" in out(capsys, run, "-n", count, code=2).err


def test_an_option_of_show_is_none_of_check(run, capsys):
    assert main(["data", "check", str(run), "--html", "x.html"]) == 2
    assert "data show" in capsys.readouterr().err


def test_the_commands_of_the_page_about_data_run(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info = {"tiny": {"file_name": "chats.jsonl"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "data" / "tiny.jsonl").rename(tmp_path / "data" / "chats.jsonl")
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf8")
    commands = re.findall(r"^tunesmith data show (.*)$", page, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        text = out(capsys, *shlex.split(command)).out
        assert "chats.jsonl:" in text or "rows.html: 13 rows" in text
    assert (tmp_path / "rows.html").stat().st_size > 10_000
