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


def test_answers_are_counted_by_what_is_asked(demo):
    found = demo.accuracy(
        lines(
            ("red", "red"), ("star", "square"), ("two", "two"), ("centre, top left", "top left"),
            (" Blue", "blue"), ("cross", "cross"), ("", "three"), ("centre", "centre"),
        )
    )  # fmt: skip
    assert found == {"colour": 1, "shape": 0.5, "number": 0.5, "places": 0.5}


def test_the_commonest_answer_is_that_of_the_training_questions(demo, tmp_path):
    def row(*turns):
        values = [text for turn in turns for text in turn]
        return {"conversations": [{"value": text} for text in values]}

    asked = [("c?", "red"), ("s?", "star"), ("n?", "one"), ("p?", "a")]
    other = [("s?", "star"), ("c?", "blue"), ("p?", "b"), ("n?", "two")]
    learned = [row(("<image>\nc?", "red"), *asked[1:]), row(*other), row(*asked)]
    held = [row((f"<image>\n{question}", answer)) for question, answer in asked * 2]
    held[4:] = [row(("<image>\n" + q, a)) for q, a in (other[1], other[0], other[3], other[2])]
    (tmp_path / "questions.json").write_text(json.dumps(learned))
    (tmp_path / "held_out.json").write_text(json.dumps(held))
    assert demo.commonest(tmp_path) == {"colour": 0.5, "shape": 1, "number": 0.5, "places": 0.5}


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
