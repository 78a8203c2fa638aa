"""An output directory is gone on with, finished, moved aside or refused: never guessed."""

import datetime
import json
from pathlib import Path

import pytest

from tunesmith.errors import OutputError
from tunesmith.store import publish
from tunesmith.training.resume import Record, Start, day, decide, finish, read, write

IDENTITY = {"model": "m1", "data": "d1", "learning_rate": 1e-4, "global_batch": 8}
FACTS = {"layout": {"tokens": 4096, "recompute": False}, "threads": 2}
ASKED = {"dataset": "a", "learning_rate": 1e-4, "logging_steps": 10}


def stand(directory, *, finished=False, steps=10, identity=IDENTITY, asked=ASKED):
    (directory / "checkpoint-5").mkdir(parents=True, exist_ok=True)
    write(directory, Record(dict(identity), steps, finished, dict(asked), FACTS))


def ask(directory, *, identity=IDENTITY, steps=10, asked=ASKED, overwrite=False, **more):
    return decide(
        directory, identity=identity, steps=steps, asked=asked, overwrite=overwrite, **more
    )


def test_what_is_written_is_read_back(tmp_path):
    stand(tmp_path / "run")
    assert read(tmp_path / "run") == Record(IDENTITY, 10, False, ASKED, FACTS)
    assert read(tmp_path) is None


def test_the_day_of_the_first_start_is_kept_and_checked(tmp_path):
    assert day(tmp_path) is None
    stand(tmp_path)
    assert day(tmp_path) is None  # of an earlier Tunesmith
    record = Record(IDENTITY, 10, False, ASKED, {**FACTS, "day": "2026-11-22"})
    write(tmp_path, record)
    assert read(tmp_path) == record
    assert day(tmp_path) == datetime.date(2026, 11, 22)
    for odd in ("yesterday", 5, None):
        write(tmp_path, record._replace(facts={**FACTS, "day": odd}))
        with pytest.raises(OutputError):
            day(tmp_path)


def test_a_new_or_empty_directory_is_a_fresh_start(tmp_path):
    assert ask(tmp_path / "new") == Start("fresh")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    assert ask(tmp_path / "empty") == Start("fresh")


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_plan_goes_on_or_is_done_whatever_overwrite_says(tmp_path, overwrite):
    stand(tmp_path / "run")
    assert ask(tmp_path / "run", overwrite=overwrite) == Start("resume")
    stand(tmp_path / "run", finished=True)
    assert ask(tmp_path / "run", overwrite=overwrite).kind == "resume", "its result is gone"
    (tmp_path / "run" / "adapter_model.safetensors").touch()
    assert ask(tmp_path / "run", overwrite=overwrite) == Start("finished")


def test_a_key_that_changes_nothing_learned_does_not_make_another_plan(tmp_path):
    stand(tmp_path / "run")
    assert ask(tmp_path / "run", asked={**ASKED, "logging_steps": 1}).kind == "resume"


def test_more_steps_extend_and_say_so(tmp_path):
    stand(tmp_path / "run", finished=True)
    start = ask(tmp_path / "run", steps=25)
    assert start.kind == "resume"
    assert "from 10 to 25" in start.notes[0]


def test_a_run_cut_short_has_another_schedule_and_says_so(tmp_path):
    stand(tmp_path / "run")
    (note,) = ask(tmp_path / "run", steps=6).notes
    assert "shortened from 10 to 6" in note
    assert "learning rates of a run of 6 steps" in note


@pytest.mark.parametrize("logged", [False, True])
def test_a_run_that_saved_nothing_does_not_hold_the_directory(tmp_path, logged):
    stand(tmp_path / "run")
    (tmp_path / "run" / "checkpoint-5").rmdir()
    (tmp_path / "run" / "trainer_log.jsonl").write_text("{}\n" if logged else "")
    start = ask(tmp_path / "run", identity={**IDENTITY, "learning_rate": 1.0})
    assert (start.kind, start.move_aside) == ("fresh", logged)
    assert "learning_rate" in start.notes[0]
    assert ask(tmp_path / "run") == Start("resume")


def test_a_checkpoint_is_never_the_directory_of_a_run(tmp_path):
    (tmp_path / "training_state.json").write_text("{}")
    with pytest.raises(OutputError) as caught:
        ask(tmp_path, overwrite=True)
    assert caught.value.hint == f"output_dir: {tmp_path.parent}"


@pytest.mark.parametrize("damage", [b"weigh", b"WEIGHTS"])
def test_a_damaged_result_is_not_called_finished(tmp_path, damage):
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    record = Record(IDENTITY, 10, False, ASKED, FACTS)
    finish(tmp_path, record)
    assert ask(tmp_path) == Start("finished")
    (tmp_path / "README.md").write_text("a word of mine")
    assert ask(tmp_path) == Start("finished")
    weights.write_bytes(damage)
    start = ask(tmp_path)
    assert start.kind == "resume"
    assert "adapter_model.safetensors is damaged" in start.notes[0]


def test_fewer_steps_than_done_are_refused(tmp_path):
    stand(tmp_path / "run", finished=True)
    with pytest.raises(OutputError, match="run"):
        ask(tmp_path / "run", steps=5)


def test_another_plan_is_refused_naming_the_keys(tmp_path):
    stand(tmp_path / "run")
    other = {**IDENTITY, "learning_rate": 2e-4, "data": "d2"}
    with pytest.raises(OutputError) as caught:
        ask(
            tmp_path / "run",
            identity=other,
            asked={**ASKED, "learning_rate": 2e-4, "dataset": "b"},
        )
    assert "dataset: a -> b" in caught.value.got
    assert "learning_rate: 0.0001 -> 0.0002" in caught.value.got
    assert "logging_steps" not in caught.value.got
    assert "data: d1" not in caught.value.got


def test_a_cutoff_that_makes_other_packs_is_named_as_the_key_it_is(tmp_path):
    packed = {**IDENTITY, "packing": True, "cutoff_len": 64}
    stand(tmp_path / "run", identity=packed, asked={**ASKED, "cutoff_len": 64})
    with pytest.raises(OutputError) as caught:
        ask(
            tmp_path / "run",
            identity={**packed, "cutoff_len": 96},
            asked={**ASKED, "cutoff_len": 96},
        )
    assert caught.value.got == "a run that differs in cutoff_len: 64 -> 96"


def test_data_that_changed_behind_the_same_keys_is_named(tmp_path):
    stand(tmp_path / "run")
    with pytest.raises(OutputError) as caught:
        ask(tmp_path / "run", identity={**IDENTITY, "data": "d2"})
    assert "data: the rows behind the same keys have changed" in caught.value.got


def test_overwriting_moves_another_plan_aside(tmp_path):
    stand(tmp_path / "run", finished=True)
    start = ask(tmp_path / "run", identity={**IDENTITY, "learning_rate": 1.0}, overwrite=True)
    assert (start.kind, start.move_aside) == ("fresh", True)


def test_starting_over_moves_the_same_plan_aside(tmp_path):
    stand(tmp_path / "run")
    start = ask(tmp_path / "run", start_over=True)
    assert (start.kind, start.move_aside) == ("fresh", True)


@pytest.mark.parametrize("inside", [".", "checkpoint-6", "data/deep"])
def test_what_the_run_reads_from_is_never_moved_aside(tmp_path, inside):
    stand(tmp_path / "run", finished=True)
    (tmp_path / "run" / inside).mkdir(parents=True, exist_ok=True)
    used = {"adapter_name_or_path": tmp_path / "run" / inside}
    other = {**IDENTITY, "learning_rate": 1.0}
    with pytest.raises(OutputError) as caught:
        ask(tmp_path / "run", identity=other, overwrite=True, in_use=used)
    assert "adapter_name_or_path" in caught.value.got
    with pytest.raises(OutputError):
        ask(tmp_path / "run", start_over=True, in_use=used)


def test_the_working_directory_is_never_moved_aside(tmp_path, monkeypatch):
    stand(tmp_path / "run", finished=True)
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(OutputError, match="output_dir"):
        ask(Path("."), identity={}, overwrite=True)


def test_files_of_something_else_are_never_touched(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(OutputError) as caught:
            ask(tmp_path, overwrite=overwrite)
        assert "thesis.tex" in caught.value.got
    with pytest.raises(OutputError, match="thesis"):
        ask(tmp_path / "thesis.tex")


def test_an_export_that_stands_there_is_in_nobodys_way(tmp_path):
    with publish(tmp_path / "export", facts={"kind": "export"}) as place:
        (place / "config.json").touch()
    assert ask(tmp_path) == Start("fresh")
    with publish(tmp_path / "repair", facts={"kind": "another"}) as place:
        (place / "config.json").touch()
    with pytest.raises(OutputError) as caught:
        ask(tmp_path)
    assert "(repair)" in caught.value.got
    (tmp_path / "repair" / "MANIFEST.json").write_text("{")
    with pytest.raises(OutputError):
        ask(tmp_path)


def test_a_run_of_another_tool_is_moved_aside_when_asked(tmp_path):
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(OutputError):
        ask(tmp_path)
    assert ask(tmp_path, overwrite=True).move_aside


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"layout": 3, "threads": 1},
        {"layout": {}, "threads": "x"},
        {"layout": {}, "threads": -5},
        {"layout": {}, "threads": 10**6},
    ],
)
def test_a_record_that_was_edited_is_an_error(tmp_path, facts):
    stand(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "facts": facts}))
    with pytest.raises(OutputError, match=r"run\.json"):
        read(tmp_path / "run")


def test_a_damaged_record_is_an_error_not_a_fresh_start(tmp_path):
    for text in ('{"format": 1}', "[" * 100_000, "[]", "\xff"):
        (tmp_path / "run.json").write_text(text, encoding="latin-1")
        with pytest.raises(OutputError, match=r"run\.json"):
            ask(tmp_path, overwrite=True)
