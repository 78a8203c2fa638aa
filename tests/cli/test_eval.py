"""`tunesmith eval` measures what the run measured at its end."""

import json
import shutil

import pytest

from tiny_model import tiny_model
from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.main import main


def test_the_loss_is_the_one_that_training_reported(tmp_path, capsys):
    path = tiny_run(tmp_path, val_size=3, learning_rate=1e-2, compute_accuracy=True)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["eval", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    trained = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    assert found["eval_loss"] == pytest.approx(trained["eval_loss"], rel=1e-6)
    assert found["eval_accuracy"] == trained["eval_accuracy"]
    assert main(["eval", str(path), "--base", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_loss"] > found["eval_loss"]
    assert main(["eval", str(tmp_path / "out")]) == 0
    assert "3 held-out rows" in capsys.readouterr().out


def test_without_held_out_rows_it_says_what_to_add(tmp_path, capsys):
    assert main(["eval", str(tiny_run(tmp_path))]) == 2
    assert "val_size=0.1" in capsys.readouterr().err


def test_rows_that_were_trained_on_are_not_measured_without_a_word(tmp_path, capsys):
    path = tiny_run(tmp_path)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["eval", str(path), "val_size=3", "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert "val_size 0" in note
    assert main(["eval", str(path), "eval_dataset=tiny"]) == 0
    assert "trained on tiny" in capsys.readouterr().out
    assert main(["eval", str(path), "val_size=3", "--base", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []


def measured(capsys, *arguments):
    assert main(["eval", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["notes"]


def test_rows_that_changed_since_the_training_are_not_measured_without_a_word(tmp_path, capsys):
    path = tiny_run(tmp_path, val_size=3)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert measured(capsys, path) == []
    data = tmp_path / "data" / "tiny.json"
    data.write_text(json.dumps(tiny_rows()[1:]))
    (note,) = measured(capsys, path)
    assert "have changed since the training" in note


@pytest.mark.parametrize("key", ["cutoff_len", "on_bad_row"])
def test_keys_that_leave_other_rows_to_hold_out_are_told(tmp_path, capsys, key):
    long = {"instruction": "a " * 200, "input": "", "output": "b"}
    bad = {"instruction": "a", "input": "", "output": ""}
    rows = [long, *tiny_rows()] if key == "cutoff_len" else tiny_rows()
    path = tiny_run(tmp_path, rows=rows, val_size=3, truncation="drop")
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    if key == "on_bad_row":
        (tmp_path / "data" / "tiny.json").write_text(json.dumps([bad, bad, *tiny_rows()[2:]]))
    other = "cutoff_len=512" if key == "cutoff_len" else "on_bad_row=skip"
    (note,) = measured(capsys, path, other)
    assert f"the training run had {key} " in note


def test_held_out_rows_that_the_run_trains_on_are_counted(tmp_path, capsys):
    path = tiny_run(tmp_path, eval_dataset="held")
    info = {name: {"file_name": f"{name}.json"} for name in ("tiny", "held")}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    held = [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]
    (tmp_path / "data" / "held.json").write_text(json.dumps(held))
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert measured(capsys, path) == []
    (tmp_path / "data" / "held.json").write_text(json.dumps([*held, tiny_rows()[0]]))
    (note,) = measured(capsys, path)
    assert "1 of these rows are rows of tiny" in note


def test_a_base_that_changed_since_training_is_refused_unless_it_is_acknowledged(
    tmp_path, capsys, monkeypatch
):
    path = tiny_run(tmp_path, val_size=3)
    assert main(["train", str(path)]) == 0
    shutil.rmtree(tmp_path / "model")
    tiny_model(tmp_path, name="model", seed=1)
    capsys.readouterr()
    asked = "adapter_mismatch=report"
    assert main(["eval", str(path), asked]) == 0
    assert "other weights" in capsys.readouterr().out
    assert main(["export", str(path), asked, f"export_dir={tmp_path / 'meant'}"]) == 0
    assert "other weights" in capsys.readouterr().out
    from tunesmith.models import load

    monkeypatch.delattr(load, "load_model")  # nothing is loaded
    there = sorted(tmp_path.rglob("*"))
    again = [f"adapter_name_or_path={tmp_path / 'out'}", f"output_dir={tmp_path / 'again'}"]
    for verb in ("eval", "predict", "export", "chat", "serve", "plan", "train"):
        more = again if verb in ("plan", "train") else []
        assert main([verb, str(path), *more]) == 2, verb
        error = capsys.readouterr().err
        assert "other weights" in error, verb
        assert asked in error
    assert sorted(tmp_path.rglob("*")) == there, "nothing is written"
