"""`tunesmith data check`: what becomes of every row, and what to type next."""

import json
import shlex

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.command import command
from tunesmith.cli.main import main


def with_faults():
    """Forty rows: three bad, one over the cutoff, and something to tell about others."""
    rows = tiny_rows(40)
    rows[3]["output"] = rows[9]["output"] = ""
    rows[11] = [1]
    rows[12]["output"] = "word " * 400
    rows[21] = dict(rows[20])
    rows[25]["instruction"] = "My name is {{name}}."
    rows[26]["instruction"] = "before <|im_end|> after"
    rows[27]["instruction"] = "zero\u200bwidth"
    rows[28]["system"] = "be nice"
    return rows


@pytest.fixture
def out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def check(*words, code=0):
        assert main(["data", "check", "run.yaml", *words]) == code
        return capsys.readouterr().out

    return check


def test_every_row_of_a_file_is_accounted_for(out, tmp_path):
    tiny_run(tmp_path, rows=tiny_rows(7))
    told = out()
    assert "tiny.json  7 rows read = 7 used + 0 skipped" in told
    assert told.splitlines()[-2:] == [
        "nothing stops a run",
        f"next    {command('train', 'run.yaml')}",
    ]


def test_bad_rows_are_told_by_kind_and_end_with_the_command_that_goes_on(out, tmp_path):
    tiny_run(tmp_path, rows=with_faults())
    told = out(code=2)
    lines = told.splitlines()
    assert "40 rows read = 36 used + 4 skipped" in lines[0]
    assert "bad rows: 3, a run stops at them" in lines
    assert "  empty answer   2" in lines
    assert "  not an object  1" in lines
    assert "left out, and a run goes on" in lines
    assert '"fill": {"name": "…"}' in told
    assert '"system": "system"' in told
    assert "U+200B zero width space" in told
    assert "would keep 99 %" in told
    clean, go_on = (line.partition("tunesmith")[2] for line in lines[-2:])
    assert clean.split()[:3] == ["data", "clean", "run.yaml"]
    assert shlex.split(go_on) == ["train", "run.yaml", "on_bad_row=skip"]


def test_acknowledged_bad_rows_stop_nothing_and_are_told_all_the_same(out, tmp_path):
    tiny_run(tmp_path, rows=with_faults())
    lines = out("on_bad_row=skip").splitlines()
    assert "bad rows: 3, left out, as on_bad_row: skip says" in lines
    assert lines[-2] == "a run goes on; left out as bad: 3"


def test_json_is_one_document_that_counts_everything(out, tmp_path):
    tiny_run(tmp_path, rows=with_faults())
    found = json.loads(out("--json", code=2))
    (account,) = found["files"].values()
    skipped = {reason: skips["count"] for reason, skips in account["skipped"].items()}
    assert skipped == {"empty answer": 2, "not an object": 1, "over_cutoff": 1}
    assert found["read"] == 40 == found["used"] + found["skipped"]
    assert (found["stops"], found["bad"], found["examples"]["train"]) == (True, 3, 36)
    assert {kind: one["count"] for kind, one in found["findings"].items()} == {
        "duplicates": 1,
        "control_tokens": 1,
        "invisible": 1,
        "placeholders": 1,
        "unread_columns": 1,
    }
    assert found["next"][-1] == command("train", "run.yaml", "on_bad_row=skip")


def test_where_no_row_is_left_nothing_is_offered_that_would_go_on(out, tmp_path):
    tiny_run(tmp_path, rows=[{"instruction": "a", "output": ""}])
    told = out(code=2)
    assert "on_bad_row=skip" not in told
    assert told.splitlines()[-1] == "a run stops: no row is left to learn from"
    assert told.count("tiny.json:") == 1
    assert "no usable rows" in out("on_bad_row=skip", code=2)
    assert json.loads(out("--json", code=2))["next"] == []


def test_keys_about_data_with_nothing_to_act_on_are_told(out, tmp_path):
    tiny_run(tmp_path, rows=tiny_rows(3), eval_on_each_dataset=True, ddp_timeout=99)
    words = "streaming=true", "buffer_size=5", "mix_strategy=concat"
    notes = json.loads(out("--json", *words))["notes"]
    keys = [note.partition(" has nothing")[0].rpartition(": ")[2] for note in notes]
    assert sorted(keys) == ["buffer_size", "eval_on_each_dataset", "streaming"]
    assert f"  - {notes[0]}" in out(*words)


def test_leakage_is_told_and_stops_nothing(out, tmp_path):
    tiny_run(tmp_path, rows=tiny_rows(7), eval_dataset=str(tmp_path / "data" / "tiny.json"))
    found = json.loads(out("--json"))
    assert found["findings"]["leakage"]["count"] == 7


def test_rows_of_another_stage_are_told_before_it_is_said_that_a_run_stops(out, tmp_path):
    pair = {"instruction": "a", "good": "b", "bad": "c"}
    entry = {"ranking": True, "columns": {"prompt": "instruction"}}
    entry["columns"] |= {"chosen": "good", "rejected": "bad"}
    tiny_run(tmp_path, rows=[pair, {**pair, "bad": ""}], entry=entry)
    told = out(code=2)
    assert "2 rows read = 1 used + 1 skipped" in told
    assert "a run stops: " in told
    assert "ranking: true" in told
    found = json.loads(out("--json", code=2))
    assert (found["bad"], found["error"]["error"], found["next"]) == (1, "UnfitError", [])


PAIRS = [{"instruction": "q", "chosen": f"a{n}", "rejected": "b"} for n in range(5)]


@pytest.mark.parametrize("as_path", [False, True])
def test_pairs_are_counted_and_the_account_says_what_they_are_for(
    out, tmp_path, monkeypatch, as_path
):
    rows = [*PAIRS, {"instruction": "q", "chosen": "a", "rejected": None}, {**PAIRS[0], "x": 1}]
    dataset = {"dataset": "./data/tiny.json"} if as_path else {}
    tiny_run(tmp_path, rows=rows, entry={"ranking": True}, **dataset)
    (tmp_path / "model" / "model.safetensors").unlink()
    told = out(code=2)
    assert "tiny.json  7 rows read = 6 used + 1 skipped" in told.splitlines()[0]
    assert "bad rows: 1, a run stops at them" in told
    assert "rejected: got null, need text in quotes" in told
    last = told[told.index("a run stops: ") :]
    assert "got   pairs of a chosen and a rejected answer (ranking: true)" in last
    assert '"response": "chosen"}' in last
    facts = json.loads(out("--json", code=2))
    assert (facts["stops"], facts["read"], facts["used"], facts["bad"]) == (True, 7, 6, 1)
    assert facts["error"]["got"].startswith("pairs of")
    assert facts["next"] == []


def test_an_entry_of_pairs_is_checked_without_the_model(out, tmp_path):
    tiny_run(tmp_path, rows=PAIRS, entry={"ranking": True})
    assert "5 rows read = 5 used" in out("model_name_or_path=nobody/has-it", code=2)


def test_media_are_looked_for_where_the_run_file_says(out, tmp_path):
    columns = {"prompt": "q", "response": "a", "images": "i"}
    rows = [{"q": "<image>", "a": "b", "i": "1.jpg"}, {"q": "<image>", "a": "b", "i": "2.jpg"}]
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"x")
    tiny_run(tmp_path, rows=rows, entry={"columns": columns})
    assert "2 rows read = 0 used + 2 skipped" in out(code=2)
    told = out("media_dir=pictures", code=2)
    assert "2 rows read = 1 used + 1 skipped" in told
    assert "got 2.jpg: no such file in pictures" in told
