"""Templates that print the date: a run keeps the day of its first start, serving has its own."""

import datetime
import json
import signal

import pytest

from tiny_run import tiny_rows, tiny_run, train
from tunesmith.cli.main import main
from tunesmith.training.report import Silent
from tunesmith.training.resume import day
from tunesmith.training.signals import Stopper

FIRST, NEXT = datetime.date(2026, 11, 22), datetime.date(2026, 11, 23)
TOOL = '[{"name": "weather", "parameters": {"type": "object", "properties": {}}}]'
DATED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ strftime_now('%d %b') }} {{ m.content }}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{{ strftime_now('%d %b') }} {% endif %}"
)
LLAMA3 = {
    "template": "llama3",
    "resize_vocab": True,
    "rows": [{**row, "tools": TOOL} for row in tiny_rows(6)],
    "entry": {"columns": {"response": "output", "query": "input", "tools": "tools"}},
    "cutoff_len": 1024,
}
OWN = {"template": None, "model": {"template": DATED}, "rows": tiny_rows(6)}


class StopAfterOne(Stopper, Silent):
    """A signal that comes while the first step is reported."""

    def step(self, done, total, **facts):
        self.receive(signal.SIGTERM, None)


def at(monkeypatch, now):
    """The clock stands at a day."""

    class Day(datetime.date):
        @classmethod
        def today(cls):
            return cls(now.year, now.month, now.day)

    class Moment(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(now.year, now.month, now.day)

    monkeypatch.setattr("datetime.date", Day)
    monkeypatch.setattr("tunesmith.templates.sandbox.datetime", Moment)


@pytest.fixture(params=[LLAMA3, OWN], ids=["llama3", "own"])
def path(request, tmp_path):
    return tiny_run(tmp_path, val_size=2, **request.param)


def test_a_run_that_is_gone_on_with_on_another_day_is_the_straight_run(path, tmp_path, monkeypatch):
    at(monkeypatch, FIRST)
    straight = train(path, output_dir=str(tmp_path / "straight"))
    stop = StopAfterOne()
    assert train(path, stop, stop).status == "stopped"
    at(monkeypatch, NEXT)
    result = train(path)
    assert result.status == "trained"
    assert result.plan.day == straight.plan.day == "2026-11-22"
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["day"] == "2026-11-22"
    one, other = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("out", "straight")
    )
    assert one == other
    assert train(path).status == "finished before"
    assert not [note for note in result.plan.notes if "differs" in note and "2026" in note]


def test_a_run_that_starts_over_has_the_day_of_its_start(path, tmp_path, monkeypatch):
    at(monkeypatch, FIRST)
    first = train(path).plan
    at(monkeypatch, NEXT)
    changed = {"learning_rate": 5e-4, "overwrite_output_dir": True}
    second = train(path, **changed).plan
    assert (first.day, second.day) == ("2026-11-22", "2026-11-23")
    assert first.identity["data"] != second.identity["data"]
    assert day(tmp_path / "out") == NEXT
    at(monkeypatch, FIRST)
    third = train(path, **changed, resume_from_checkpoint=False).plan
    assert third.identity["data"] == first.identity["data"]


def test_held_out_rows_are_measured_on_the_day_of_the_training(path, monkeypatch, capsys):
    at(monkeypatch, FIRST)
    train(path)
    assert main(["eval", str(path), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    at(monkeypatch, NEXT)
    assert main(["eval", str(path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["notes"] == first["notes"] == []
    assert again["eval_loss"] == first["eval_loss"]
