"""`make vlm-demo`: its figures are counted right, and all of it runs, small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_model import tiny_model

VLM = Path(__file__).parents[2] / "examples" / "vlm"


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(VLM))
    import demo

    return demo


def lines(*pairs):
    return [{"predict": said, "label": wanted} for said, wanted in pairs]


def test_answers_are_counted_by_what_they_say(demo):
    found = demo.accuracy(
        lines(
            ("red star", "red square"), ("two", "two"), ("centre, top left", "top left, centre"),
            ("Blue  cross", "blue cross"), ("one", "three"), ("centre", "centre"),
        )
    )  # fmt: skip
    assert found == {"colour": 1, "shape": 0.5, "number": 0.5, "places": 0.5}


def test_an_answer_with_more_words_is_wrong(demo):
    found = demo.accuracy(lines(("red star and more", "red star"), ("", "two"), ("x", "x y")))
    assert found == {"colour": 1, "shape": 0, "number": 0, "places": 0}


def test_the_commonest_answer_is_that_of_the_training_questions(demo, tmp_path):
    def row(*answers):
        return {
            "conversations": [
                turn for a in answers for turn in ({"from": "human", "value": "?"},
                                                   {"from": "gpt", "value": a})
            ]
        }  # fmt: skip

    learned = [
        row("red star", "one", "a"),
        row("red cross", "two", "a"),
        row("blue star", "one", "b"),
    ]
    held = [row("red cross"), row("one"), row("b"), row("red star"), row("one"), row("a")]
    (tmp_path / "questions.json").write_text(json.dumps(learned))
    (tmp_path / "held_out.json").write_text(json.dumps(held))
    assert demo.commonest(tmp_path) == {"colour": 1, "shape": 0.5, "number": 1, "places": 0.5}


@pytest.mark.slow
def test_all_of_it_runs(tmp_path):
    model = tiny_model(tmp_path)
    words = ("--train", "24", "--held-out", "2", "--epochs", "1", "--steps", "3", "bf16=false")
    done = subprocess.run(
        [sys.executable, str(VLM / "demo.py"), "--out", str(tmp_path / "out"),
         "--model", str(model), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    table = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert set(table["seen by nobody"]) == {"colour", "shape", "number", "places"}
    assert "right answers (%)" in done.stdout
