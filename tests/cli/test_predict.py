"""`tunesmith predict`: from a run file to answers and figures, stopped and started again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.main import main

SHORT = ("max_new_tokens=6", "do_sample=false")


def answered(capsys, *arguments):
    assert main(["predict", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def failed(capsys, *arguments):
    assert main(["predict", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def rows_of(directory):
    data = (directory / "generated_predictions.jsonl").read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def only(tmp_path, rows, **keys):
    """A run file that trains nothing, as LLaMA-Factory's examples have it."""
    return tiny_run(
        tmp_path, rows=rows, dataset=None, eval_dataset="tiny", do_train=None, do_predict=True,
        **keys,
    )  # fmt: skip


def test_the_held_out_rows_of_a_trained_run_are_answered(tmp_path, capsys):
    path = tiny_run(tmp_path, val_size=4, learning_rate=1e-2)
    assert "need  a finished run" in failed(capsys, path)
    base = answered(capsys, path, "--base", *SHORT)  # the same directory can be trained into
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert "predictions with other model" in failed(capsys, path, *SHORT)
    found = answered(capsys, path, "overwrite_output_dir=true", *SHORT)
    out = tmp_path / "out"
    rows = rows_of(out)
    assert len(rows) == found["predict_samples"] == base["predict_samples"] == 4
    labels = {(row["row"], row["label"]) for row in rows}
    assert labels <= {(i + 1, row["output"]) for i, row in enumerate(tiny_rows())}
    assert found["notes"] == [
        f"the old file is now {out}/{name}.old-1"
        for name in ("generated_predictions.jsonl", "predict_results.json")
    ]
    assert found["settings"]["do_sample"] is False
    kept = json.loads((out / "predict_results.json").read_text())
    assert kept["finished"] is True
    assert {k: v for k, v in kept.items() if k in found} == found
    assert main(["predict", str(out), *SHORT]) == 0
    told = capsys.readouterr().out
    assert "on 4 rows of the held-out rows" in told
    assert "predict_rouge-l" in told
    assert "farthest from what was expected" in told


def test_rows_that_were_trained_on_are_not_answered_without_a_word(tmp_path, capsys):
    path = tiny_run(tmp_path, max_samples=3)
    found = answered(capsys, path, "--base", *SHORT)
    assert found["notes"] == [
        "these are the rows of `dataset`, which a run trains on: nothing is held out"
    ]
    assert found["predict_samples"] == 3


def test_a_run_file_that_only_predicts_is_not_trained(tmp_path, capsys):
    path = only(tmp_path, tiny_rows(3))
    assert main(["train", str(path)]) == 2
    assert f"tunesmith predict {path}" in capsys.readouterr().err
    assert answered(capsys, path, *SHORT)["predict_samples"] == 3


def test_labels_get_a_confusion(tmp_path, capsys):
    rows = [{"instruction": f"q {i}", "output": ("yes", "no")[i % 2]} for i in range(6)]
    path = only(tmp_path, rows)
    found = answered(capsys, path, *SHORT)
    assert sum(map(sum, found["confusion"]["counts"])) == 6
    assert (tmp_path / "out" / "predict_confusion.png").read_bytes().startswith(b"\x89PNG")
    assert main(["predict", str(path), *SHORT]) == 0
    assert "answers by expected label:" in capsys.readouterr().out


def test_calls_of_tools_are_read_by_the_template(tmp_path, capsys):
    tools = json.dumps([{"name": "f", "description": "", "parameters": {"type": "object"}}])
    call = json.dumps({"name": "f", "arguments": {"x": 1}})
    say = [("human", "call"), ("function_call", call)]
    rows = [
        {"conversations": [{"from": role, "value": text} for role, text in say], "tools": tools}
    ]
    path = tiny_run(
        tmp_path, rows=rows, entry={"formatting": "sharegpt", "columns": {
            "messages": "conversations", "tools": "tools"}},
        template="qwen", cutoff_len=1024,
    )  # fmt: skip
    found = answered(capsys, path, "--base", *SHORT)
    (row,) = rows_of(tmp_path / "out")
    assert row["label_calls"] == [["f", '{"x": 1}']]
    assert row["predict_calls"] == []
    assert (found["predict_call"], found["predict_calls"]) == (0, 1)


@pytest.mark.parametrize("wrong", ["no answers", "context", "no rows", "no output"])
def test_what_cannot_be_answered_is_refused_before_anything_is_written(tmp_path, capsys, wrong):
    rows, keys = tiny_rows(3), {}
    if wrong == "no answers":
        rows = [{"instruction": "a"}, {"instruction": "b"}]
    elif wrong == "context":
        rows[1]["instruction"] = "word " * 2000
        keys = {"cutoff_len": 100_000}
    elif wrong == "no rows":
        keys = {"eval_dataset": None}
    else:
        keys = {"output_dir": None}
    path = (
        only(tmp_path, rows, **keys)
        if "eval_dataset" not in keys
        else tiny_run(tmp_path, dataset=None)
    )
    told = failed(capsys, path)
    assert {
        "no answers": "need 'output' in the row",
        "context": "context of the model",
        "no rows": "eval_dataset=NAME",
        "no output": "--output DIR",
    }[wrong] in told
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_processes_leave_what_the_next_goes_on_with(tmp_path, capsys):
    path = only(tmp_path, tiny_rows(40))
    keys = ["max_new_tokens=40", "temperature=1.3"]
    answered(capsys, path, *keys, "--output", tmp_path / "straight")
    whole = (tmp_path / "straight" / "generated_predictions.jsonl").read_bytes()
    command = [sys.executable, "-m", "tunesmith", "predict", str(path), *keys, "--json"]
    file, kills = tmp_path / "out" / "generated_predictions.jsonl", 0
    for rows in (1, 5, 20, 41):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ) as process:
            while process.poll() is None:
                if file.is_file() and file.read_bytes().count(b"\n") >= rows:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.001)
    assert kills >= 2
    assert file.read_bytes() == whole
