"""`tunesmith init` writes a run file that plans as it stands."""

import json

import pytest

from tiny_model import tiny_model
from tiny_run import tiny_rows
from tunesmith.cli.command import following
from tunesmith.cli.init import cutoff_for, detect
from tunesmith.cli.main import main
from tunesmith.errors import DataError

SAID = [(f"Say {i}", f"{i}") for i in range(20)]
CHAT = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in SAID
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in SAID
]
QUESTIONS = [{"question": q, "answer": a} for q, a in SAID]


@pytest.mark.parametrize(
    "rows", [tiny_rows(20), CHAT, SHAREGPT, QUESTIONS], ids=["alpaca", "chat", "sharegpt", "qa"]
)
def test_what_it_writes_can_be_planned_and_uses_every_row(rows, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tiny_model(tmp_path)
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["init", str(data), "--model", str(model)]) == 0
    out = capsys.readouterr().out
    assert following("plan", "run.yaml") in out
    text = (tmp_path / "run.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    assert main(["plan", "run.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["train_examples"] + plan["eval_examples"] == 20
    assert main(["init", str(data), "--model", str(model)]) == 2


def test_the_schema_that_it_names_exists_and_knows_its_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    main(["init", str(data), "--model", str(tiny_model(tmp_path)), "--template", "vicuna"])
    first, *_ = text = (tmp_path / "run.yaml").read_text().splitlines()
    with open(first.split("=", 1)[1]) as file:
        known = json.load(file)["properties"]
    keys = [line.split(":")[0] for line in text if line and line[0] not in "#\n"]
    assert set(keys) <= known.keys()
    assert "template: vicuna" in text


def test_the_cutoff_keeps_99_percent_and_fits_the_model():
    lengths = [100] * 99 + [5000]
    assert cutoff_for(lengths, None) == 128
    assert cutoff_for([300] * 10, None) == 320
    assert cutoff_for([3000] * 10, 2048) == 2048


def test_an_unknown_layout_names_its_columns():
    with pytest.raises(DataError, match=r"x\.json") as caught:
        detect("x.json", [{"text": "a"}])
    assert "text" in caught.value.got


def init(tmp_path, monkeypatch, rows, *more):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "m"
    if not model.exists():
        tiny_model(tmp_path, name="m")
    (tmp_path / "d").mkdir(exist_ok=True)
    (tmp_path / "d" / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return main(["init", "d/mine.jsonl", "--model", "m", *more])


def test_a_small_set_gets_enough_steps_and_the_file_says_why(tmp_path, monkeypatch, capsys):
    assert init(tmp_path, monkeypatch, tiny_rows(20)) == 0
    assert (
        "# sized for little data, 18 examples to learn from: 126 steps"
        in (tmp_path / "run.yaml").read_text()
    )
    capsys.readouterr()
    assert main(["plan", "run.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["steps"] == 126
    assert plan["steps"] // plan["log_every"] >= 10
    assert not [note for note in plan["notes"] if "only" in note]


def test_the_registry_stands_beside_the_data_and_is_told(tmp_path, monkeypatch, capsys):
    assert init(tmp_path, monkeypatch, QUESTIONS) == 0
    assert "d/dataset_info.json: mine (new file)" in capsys.readouterr().out
    assert not (tmp_path / "dataset_info.json").exists()
    registry = json.loads((tmp_path / "d" / "dataset_info.json").read_text())
    assert registry["mine"]["file_name"] == "mine.jsonl"


def test_an_entry_of_somebody_is_used_or_left_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "d").mkdir()
    own = {"file_name": "mine.jsonl", "columns": {"prompt": "question", "response": "answer"}}
    text = json.dumps({"mine": own})
    (tmp_path / "d" / "dataset_info.json").write_text(text)
    assert init(tmp_path, monkeypatch, QUESTIONS) == 0
    assert "mine (the entry that is there)" in capsys.readouterr().out
    assert (tmp_path / "d" / "dataset_info.json").read_text() == text
    other = {"mine": {"file_name": "other.jsonl"}}
    (tmp_path / "d" / "dataset_info.json").write_text(json.dumps(other))
    assert init(tmp_path, monkeypatch, QUESTIONS, "--to", "second.yaml") == 0
    registry = json.loads((tmp_path / "d" / "dataset_info.json").read_text())
    assert registry["mine"] == other["mine"]
    assert registry["mine-2"]["file_name"] == "mine.jsonl"
    assert "dataset: mine-2" in (tmp_path / "second.yaml").read_text()


def test_data_that_train_refuses_is_said_to_be_refused_and_the_next_command_works(
    tmp_path, monkeypatch, capsys
):
    rows = [QUESTIONS[0], *({**row, "answer": ""} for row in QUESTIONS[1:4])]
    assert init(tmp_path, monkeypatch, rows) == 0
    out = capsys.readouterr().out
    assert "refuse this data while 3 rows of it cannot be used" in out
    assert "1 used + 3 skipped" in out
    assert out.splitlines()[-1] == following("plan", "run.yaml", "on_bad_row=skip")
    assert main(["plan", "run.yaml"]) == 2
    assert main(["plan", "run.yaml", "on_bad_row=skip"]) == 0


def test_a_run_file_that_is_there_is_not_overwritten(tmp_path, monkeypatch, capsys):
    (tmp_path / "run.yaml").write_text("mine")
    assert init(tmp_path, monkeypatch, QUESTIONS) == 2
    err = capsys.readouterr().err
    assert "already exists; it is not overwritten" in err
    assert "--to run-2.yaml" in err
    assert (tmp_path / "run.yaml").read_text() == "mine"


def test_rows_are_counted_as_rows_where_each_becomes_several_texts(tmp_path, monkeypatch, capsys):
    said = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "<think>\nb\n</think>\n\nc"}]
    rows = [{"conversations": said * 3, "id": i} for i in range(4)]
    assert init(tmp_path, monkeypatch, rows, "--template", "qwen3", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rows"], facts["examples"]) == (4, 12)
    assert "4 rows are too few" in (tmp_path / "run.yaml").read_text()
    assert "12 examples to learn from" in (tmp_path / "run.yaml").read_text()


def test_rows_for_another_stage_are_refused_with_the_entry_that_would_do(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    assert main(["init", "mine.jsonl", "--model", "nobody/has-it"]) == 2
    told = capsys.readouterr().err
    assert "dataset_info.json: mine" in told
    assert "pairs of a chosen and a rejected answer" in told
    assert '"response": "chosen"' in told
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]
