"""Benchmarks from the command line: what is refused before anything is loaded, and a real one."""

import json

import pytest

from tiny_run import tiny_run
from tunesmith.cli.main import main


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["--tasks", " , "], "--tasks"),
        (["--tasks", "a", "--shots", "-1"], "--shots"),
        (["--tasks", "a", "--limit", "0"], "--limit"),
        (["--tasks", "a", "--include", "nowhere"], "--include"),
        (["--tasks", "a", "--results", "nowhere/a.json"], "--results"),
        (["--shots", "0"], "--shots"),
        (["--limit", "3"], "--limit"),
        (["--include", "."], "--include"),
        (["--chat"], "--chat"),
        (["--results", "a.json"], "--results"),
    ],
)
def test_what_cannot_be_measured_is_one_error(tmp_path, capsys, keys, told):
    assert main(["eval", str(tiny_run(tmp_path)), *keys]) == 2
    assert f"command line: {told}" in capsys.readouterr().err


def test_figures_take_the_place_of_nothing_else(tmp_path, capsys):
    path = tiny_run(tmp_path)
    before = path.read_bytes()
    assert main(["eval", str(path), "--tasks", "a", "--results", str(path)]) == 2
    assert "a file that is there already" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_without_the_library_the_error_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    assert main(["eval", str(tiny_run(tmp_path)), "--tasks", "arc_easy"]) == 2
    assert 'pip install "tunesmith[lm-eval]"' in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_task_of_ones_own_is_printed_and_kept(tmp_path, capsys):
    pytest.importorskip("lm_eval", reason='pip install "tunesmith[lm-eval]"')
    (tmp_path / "rows.jsonl").write_text('{"q": "Say one", "choices": [" two", " one"], "a": 1}\n')
    (tmp_path / "mine.yaml").write_text(
        json.dumps({
            "task": "mine", "dataset_path": "json", "output_type": "multiple_choice",
            "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
            "test_split": "test", "doc_to_text": "q", "doc_to_choice": "choices",
            "doc_to_target": "a", "metric_list": [{"metric": "acc"}],
        })
    )  # fmt: skip
    path, kept = tiny_run(tmp_path), tmp_path / "figures.json"
    keys = ["--tasks", "mine", "--include", str(tmp_path), "--results", str(kept), "--chat"]
    assert main(["eval", str(path), *keys, "--limit", "1"]) == 0
    out = capsys.readouterr().out
    assert "mine, 0 shots: acc  " in out
    assert "these are no scores" in out
    found = json.loads(kept.read_text())
    assert found["results"]["mine"]["acc,none"] in (0.0, 1.0)
    assert main(["eval", str(path), "--tasks", "main", "--include", str(tmp_path)]) == 2
    assert "mine" in capsys.readouterr().err
