"""What `benchmarks/` measure: one job on every side, the same tokens, the same losses."""

import json
import sys
from pathlib import Path

import pytest

from tiny_model import tiny_model
from tiny_run import tiny_rows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def sides():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import sides

        yield sides
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def job(tmp_path, sides):
    model = tiny_model(tmp_path, template=CHATML)
    rows = tmp_path / "given.json"
    rows.write_text(json.dumps(tiny_rows(8)))
    return sides.prepare(
        tmp_path, rows, model=str(model), count=6, cutoff=200, dtype="fp32", method="lora", batch=2,
        threads=1,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("benchmarks")
def test_transformers_trainer_with_peft_sees_the_same_tokens_and_begins_with_the_same_loss(
    job, sides
):
    ours = sides.measure("tunesmith", job, {})
    theirs = sides.measure("trainer", job, {}, python=sys.executable)
    assert "error" not in ours, ours
    assert "error" not in theirs, theirs
    assert ours["real"] == theirs["real"] > 100
    assert ours["padding"] == 1.0 < theirs["padding"]
    assert len(ours["losses"]) == len(theirs["losses"]) == 3
    assert ours["losses"][0] == pytest.approx(theirs["losses"][0], rel=1e-5)
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-2)
    assert ours["trained"] == theirs["trained"]


@pytest.mark.slow
@pytest.mark.xdist_group("benchmarks")
def test_both_stages_of_a_small_llava_are_measured_on_every_picture(tmp_path, sides, monkeypatch):
    import vision

    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    directory = vision.model(tmp_path, 64, str(tiny_model(tmp_path, name="llm")))
    vision.drawn(tmp_path / "data", 4)
    for stage, trained in (("1", 1), ("2", 4)):
        job = sides.Job(
            directory, tmp_path / "data" / f"{vision.DATA[stage]}.json", Path(), 4, dtype="fp32",
            method="full", batch=2, cutoff=2048, threads=1, dataset=vision.DATA[stage],
            keys=vision.STAGES[stage],
        )  # fmt: skip
        found = sides.measure("tunesmith", job, {})
        assert "error" not in found, found
        assert found["real"] > 4 * 196
        assert found["trained"] >= 4 * trained
        assert len(found["losses"]) == 2


def test_only_rows_that_no_side_cuts_are_taken(tmp_path, sides):
    model = tiny_model(tmp_path, template=CHATML)
    rows = [*tiny_rows(3), {"instruction": "long", "input": "", "output": "word " * 300}]
    given = tmp_path / "given.json"
    given.write_text(json.dumps([rows[3], *rows[:3]]))
    made = sides.prepare(
        tmp_path, given, model=str(model), count=9, cutoff=200, dtype="fp32", method="lora",
        batch=2, threads=1,
    )  # fmt: skip
    assert json.loads(made.rows.read_text()) == rows[:3]
    assert made.count == 3
    asked = [
        json.loads(line)["prompt"][0]["content"] for line in made.messages.read_text().splitlines()
    ]
    assert asked[0] == f"{rows[0]['instruction']}\nplease"
    assert asked[1] == rows[1]["instruction"]


def test_a_side_that_fails_says_why(job, sides):
    assert "no_such_key" in sides.measure("tunesmith", job, {"no_such_key": 1})["error"]


def test_the_share_of_the_ceiling_counts_products_of_the_body_and_the_head(job, sides):
    from torch import nn
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(job.model)
    linears = {n: m.weight.numel() for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    head = linears.pop("lm_head")
    token, trained = sides.operations(job)
    assert trained == 4 * head
    assert token == pytest.approx(4 * sum(linears.values()), rel=0.02)  # norms are counted too
    assert sides.operations(job._replace(method="full"))[1] == 6 * head
    assert sides.ceiling(job) > 1e8


def test_a_peer_that_is_not_installed_is_told_not_left_out(sides, tmp_path, monkeypatch, capsys):
    import speed

    monkeypatch.setattr(sides, "PEERS", tmp_path)
    monkeypatch.setattr("sys.argv", ["speed.py", "--sides", "tunesmith,trl"])
    with pytest.raises(SystemExit):
        speed.main()
    assert "not installed: trl; make peers" in capsys.readouterr().err
