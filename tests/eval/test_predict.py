"""Rows in order, each the answer that it gets alone; killed anywhere, the bytes are the same."""

import errno
import json
import os

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli import answering
from tunesmith.config.load import load
from tunesmith.errors import ModelError, OutputError, StoreError
from tunesmith.eval.predict import Asking, Files, Predicted, predict, seed_of
from tunesmith.eval.questions import Questions, tail_of
from tunesmith.infer.sampling import Sampling
from tunesmith.store import disk
from tunesmith.training.material import examples
from tunesmith.training.report import Silent
from tunesmith.types import Call, Origin

GREEDY = Sampling(do_sample=False, max_new_tokens=6)
DRAWN = Sampling(temperature=1.5, top_p=1.0, top_k=0, max_new_tokens=6, seed=7)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """(asking(sampling), questions) over a tiny random model."""
    path = tiny_run(tmp_path_factory.mktemp("predict"), rows=tiny_rows(9))
    asked = load(path, ())
    found = answering.find(asked, Silent())
    rows = examples(asked, found.renderer, found.tokenizer, Silent()).train
    engine = found.engine(answering.load(asked, found))

    def asking(sampling=GREEDY):
        return Asking(engine, sampling, found.read(engine, None))

    return asking, Questions(rows, tail_of(found.renderer, found.tokenizer))


def straight(ground, directory, sampling=DRAWN):
    asking, questions = ground
    files = Files(directory, {"settings": {}})
    rows, new = predict(lambda: asking(sampling), questions, files)
    assert new == len(questions)
    return rows, files


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
def test_each_row_gets_the_answer_that_it_gets_alone(ground, tmp_path, sampling):
    asking, questions = ground
    rows, _ = straight(ground, tmp_path, sampling)
    engine = asking().engine
    for index, (row, one) in enumerate(zip(rows, questions, strict=True)):
        alone = engine.complete(
            one.prompt_ids, sampling._replace(seed=seed_of(sampling.seed, index))
        )
        assert row.predict == alone.text
        assert row.finish == alone.finish_reason
        assert row.origin == one.origin
    assert [row.label for row in rows] == [row["output"] for row in tiny_rows(9)]
    assert [row.origin.row for row in rows] == list(range(1, 10))
    assert all(row.prompt.endswith("<|im_start|>assistant\n") for row in rows)


def test_equal_questions_get_draws_of_their_own():
    assert len({seed_of(seed, index) for seed in (1, 2) for index in range(100)}) == 200


def test_cut_off_anywhere_it_goes_on_to_the_same_bytes(ground, tmp_path):
    asking, questions = ground
    rows, files = straight(ground, tmp_path / "whole")
    data = files.rows.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    places = {0, 1, ends[0] - 1, ends[0], ends[0] + 1, ends[3] + 40, ends[-2], len(data) - 1}
    for place in [*places, len(data)]:
        directory = tmp_path / str(place)
        again = Files(directory, {"settings": {}})
        again.rows.parent.mkdir(exist_ok=True)
        again.begin()
        again.rows.write_bytes(data[:place])
        found, new = predict(lambda: asking(DRAWN), questions, Files(directory, {"settings": {}}))
        assert new == len(rows) - data[:place].count(b"\n")
        assert found == rows
        assert again.rows.read_bytes() == data


def test_a_model_is_not_asked_for_where_all_rows_are_there(ground, tmp_path):
    rows, _ = straight(ground, tmp_path)

    def never():
        raise AssertionError("loaded")

    assert predict(never, ground[1], Files(tmp_path, {"settings": {}})) == (rows, 0)


def test_a_full_disk_leaves_whole_rows_and_the_same_command_goes_on(ground, tmp_path, monkeypatch):
    asking, questions = ground
    _, files = straight(ground, tmp_path / "whole")
    data = files.rows.read_bytes()

    class Full(disk.Disk):
        left = 700

        def write(self, fd, data):
            if self.left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = min(len(data), self.left)
            self.left -= taken
            return super().write(fd, data[:taken])

    one = Files(tmp_path / "full", {"settings": {}})
    monkeypatch.setattr(disk, "current", Full())
    with pytest.raises(StoreError) as caught:
        predict(lambda: asking(DRAWN), questions, one)
    monkeypatch.undo()
    kept = one.rows.read_bytes()
    assert 0 < kept.count(b"\n") < len(questions)
    assert kept.endswith(b"\n")
    assert data.startswith(kept)
    assert "rows are whole" in caught.value.need
    predict(lambda: asking(DRAWN), questions, Files(tmp_path / "full", {"settings": {}}))
    assert one.rows.read_bytes() == data


def test_predictions_of_something_else_are_left_alone_unless_it_is_wanted(ground, tmp_path):
    _, files = straight(ground, tmp_path)
    data = files.rows.read_bytes()
    other = {"settings": {"seed": 1}, "model": "b"}
    with pytest.raises(OutputError) as caught:
        Files(tmp_path, other)
    assert caught.value.got == "predictions with other model, seed None"
    assert files.rows.read_bytes() == data
    moved = Files(tmp_path, other, overwrite=True).moved
    assert [path.name for path in moved] == [
        "generated_predictions.jsonl.old-1",
        "predict_results.json.old-1",
    ]
    assert moved[0].read_bytes() == data
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "generated_predictions.jsonl").write_text('{"predict": "mine"}\n')
    with pytest.raises(OutputError) as caught:
        Files(foreign, {"settings": {}})
    assert "not made" in caught.value.got


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": 1}', '{"prompt": "a"}', "\u2028", "swapped"]
)
def test_lines_that_were_edited_are_named(ground, tmp_path, line):
    _, files = straight(ground, tmp_path)
    lines = files.rows.read_text().split("\n")
    if line == "swapped":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines[1] = line
    files.rows.write_text("\n".join(lines))
    with pytest.raises(OutputError) as caught:
        predict(lambda: None, ground[1], Files(tmp_path, {"settings": {}}))
    assert caught.value.where == f"{files.rows}:2"


def test_a_row_is_read_back_as_it_was_written():
    call = Call("f", '{"a": "\u2028 \\n é"}')
    place = Origin("d", "a\nb.json", 3, 4)
    row = Predicted("p\n", "\x85 \u2028 \r", "l\ufffd", "stop", place, (call,), (call, call))
    assert "\n" not in row.line()
    assert Predicted.of(row.line().encode()) == row
    assert "calls" not in row._replace(predict_calls=(), label_calls=()).line()


def test_an_error_of_the_model_is_not_an_answer(ground, tmp_path, monkeypatch):
    asking, questions = ground
    model = asking().engine.model
    monkeypatch.setattr(
        model, "forward", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("broken"))
    )
    with pytest.raises(ModelError, match=r"."):
        predict(asking, questions, Files(tmp_path, {"settings": {}}))
    assert not (tmp_path / "generated_predictions.jsonl").exists()


def test_the_time_of_answers_that_were_there_is_kept(ground, tmp_path):
    _, files = straight(ground, tmp_path)
    pace = files.pace(9, 3.0)
    assert pace == {
        "predict_runtime": 3.0,
        "predict_samples_per_second": 3.0,
        "predict_samples_asked": 9,
    }
    files.finish({**pace, "predict_bleu-4": 1.0}, None)
    assert Files(tmp_path, {"settings": {}}).pace(0, 0.1) == pace
    assert json.loads(files.results.read_text())["finished"] is True
