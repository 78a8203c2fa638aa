"""`tunesmith data stats`: aligned text, JSON and a picture of what a run learns from."""

import builtins
import json
import re

import numpy as np
import pytest

from stored import stored
from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.data_stats import text
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.data.statistics import Batching, statistics
from tunesmith.training.material import gather
from tunesmith.training.planning import make
from tunesmith.training.report import Silent
from tunesmith.types import Example, Origin


@pytest.fixture
def out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def stats(*words, code=0):
        assert main(["data", "stats", "run.yaml", *words]) == code
        return capsys.readouterr().out

    return stats


def of_lengths(lengths, name="d", **how):
    made = [
        Example(np.zeros(n, np.int32), np.arange(n) > n // 3, Origin(name, "f.json", i, i))
        for i, n in enumerate(lengths, start=1)
    ]
    settings = {"cutoff_len": 512, "batch_size": 4, "global_batch": 8, "seed": 0, **how}
    train = stored(made)
    none = train.choose(np.zeros(len(made), bool))
    return statistics(train, none, Batching(**settings))


@pytest.mark.parametrize("packing", [False, True])
def test_the_numbers_are_those_of_the_plan(out, tmp_path, packing):
    run = load(tiny_run(tmp_path, val_size=2, packing=packing, cutoff_len=64))
    plan = make(run, gather(run, Silent()))
    told = json.loads(out("--json"))
    assert told["examples"] == plan.train_examples == 10
    assert told["held_out"] == plan.eval_examples == 2
    assert told["total"]["total"] == plan.tokens_per_epoch
    assert told["answer"]["total"] == plan.trained_tokens_per_epoch
    assert told["total"]["most"] == plan.longest
    (chosen,) = [layout for layout in told["layouts"] if layout["chosen"]]
    assert chosen["steps"] == plan.steps_per_epoch
    assert chosen["name"] == ("packing: true" if packing else "no padding")
    if packing:
        assert chosen["positions"] == plan.packs * 64


def test_the_command_line_is_laid_over_the_file(out, tmp_path):
    tiny_run(tmp_path)
    assert "no padding" in next(line for line in out().splitlines() if "this run" in line)
    packed = out("packing=true")
    assert "packing: true" in next(line for line in packed.splitlines() if "this run" in line)


def test_turns_and_what_was_cut_are_told(out, tmp_path):
    rows = [{**row, "history": [["Ah?", "Oh."]] * (i % 3)} for i, row in enumerate(tiny_rows(12))]
    rows[4]["output"] = "word " * 400
    columns = {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "history": "history",
    }
    tiny_run(tmp_path, rows=rows, entry={"columns": columns}, cutoff_len=64)
    told = json.loads(out("--json"))
    assert told["turns"]["most"] == 3
    assert told["cutoff"]["texts"] == 12
    assert told["cutoff"]["left_out"] == 1
    assert told["cutoff"]["keeps_whole"]["100 %"] > 400
    printed = out()
    share = f"({100 * told['cutoff']['over'] / 12:.1f} %)"
    assert f"cutoff_len 64: {told['cutoff']['over']} of 12 texts longer {share}" in printed
    assert "1 left out" in printed


def test_no_weights_are_read(out, tmp_path, monkeypatch):
    tiny_run(tmp_path)
    whole = builtins.open

    def opened(path, *rest, **more):
        assert not str(path).endswith(".safetensors"), "data need no weights"
        return whole(path, *rest, **more)

    for path in (tmp_path / "model").glob("*.safetensors"):
        path.unlink()
    monkeypatch.setattr(builtins, "open", opened)
    assert "to train on" in out()


def test_rows_that_stop_a_run_stop_it_here(out, tmp_path):
    rows = tiny_rows(5)
    rows[2]["output"] = ""
    tiny_run(tmp_path, rows=rows)
    assert out(code=2) == ""
    assert "4 examples to train on" in out("on_bad_row=skip")


@pytest.mark.parametrize("width", [20, 60, 80, 100, 200])
@pytest.mark.parametrize("name", ["d", "a_data_set_with_a_name_that_is_as_long_as_names_get_here"])
def test_no_line_is_wider_than_the_terminal(width, name):
    lengths = np.random.default_rng(0).integers(3, 3_000, 500)
    for line in text(of_lengths(lengths, name), width=width).splitlines():
        assert len(line) <= max(width, 76), line
    bars = [line for line in text(of_lengths(lengths), width=width).splitlines() if "█" in line]
    assert max(map(len, bars)) <= max(width, 60)


def test_bars_are_as_long_as_their_shares():
    lengths = [10] * 60 + [110] * 30 + [190] * 10  # in bars of 20
    lines = text(of_lengths(lengths)).splitlines()
    shares = {}
    for line in lines:
        found = re.match(r"  ([\d,]+)–[\d,]+ {1,6}(█+)[▏▎▍▌▋▊▉]? (\d+) %", line)
        if found:
            shares[int(found[1])] = len(found[2]), int(found[3])
    assert [share for _, share in shares.values()] == [60, 30, 10]
    (long, _), (half, _), (short, _) = shares.values()
    assert abs(long - 2 * half) <= 1
    assert abs(long - 6 * short) <= 6


def test_columns_are_aligned():
    table = text(of_lengths(range(3, 400))).split("\n\n")[1].splitlines()
    assert len({len(line) for line in table[:4]}) == 1


def test_a_picture_is_written_where_it_is_asked_for(out, tmp_path):
    tiny_run(tmp_path)
    assert out("--png", "told.png").splitlines()[-1] == "picture told.png"
    assert (tmp_path / "told.png").read_bytes().startswith(b"\x89PNG")
    json.loads(out("--json", "--png", "told.png"))


def test_a_picture_that_cannot_be_written_is_one_error(out, tmp_path, capsys):
    tiny_run(tmp_path)
    assert main(["data", "stats", "run.yaml", "--png", "run.yaml/told.png"]) != 0
    assert "got   a file: run.yaml" in capsys.readouterr().err
