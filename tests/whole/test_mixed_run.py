"""A run on a mix of data sets, from file to result: streamed or not, stopped or not, the same."""

import json
import signal

import pytest

from tiny_run import tiny_rows, tiny_run, train
from tunesmith.errors import OutputError
from tunesmith.training.journal import read, without_times
from tunesmith.training.report import Silent
from tunesmith.training.signals import Stopper

MIX = {
    "dataset": "tiny,few",
    "mix_strategy": "interleave_over",
    "interleave_probs": "0.6,0.4",
    "num_train_epochs": 1,
    "save_steps": 100,
}


class StopAfter(Stopper, Silent):
    """A signal that comes while a given step is reported."""

    def __init__(self, step):
        Stopper.__init__(self)
        self._step = step

    def step(self, done, total, **facts):
        if done == self._step:
            self.receive(signal.SIGTERM, None)


def mixed_run(tmp_path, **keys):
    path = tiny_run(tmp_path, **{**MIX, **keys})
    rows = [{**row, "instruction": f"Few: {row['instruction']}"} for row in tiny_rows(4)]
    (tmp_path / "data" / "few.json").write_text(json.dumps(rows))
    info = {"tiny": {"file_name": "tiny.json"}, "few": {"file_name": "few.json"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    return path


def outcome(directory):
    """Every logged figure but times, and the bytes of the weights."""
    log = [without_times(record) for record in read(directory / "trainer_log.jsonl")]
    return log, (directory / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "keys",
    [{}, {"disable_shuffling": True}, {"packing": True, "cutoff_len": 64}, {"max_steps": 3}],
    ids=str,
)
def test_a_streaming_run_has_the_steps_the_order_and_the_loss_of_any_other(tmp_path, keys):
    path = mixed_run(tmp_path, val_size=2, **keys)
    plain = train(path, output_dir=str(tmp_path / "plain"))
    streamed = train(path, output_dir=str(tmp_path / "s"), streaming=True, buffer_size=2)
    assert streamed.plan.steps == plain.plan.steps
    assert streamed.plan.identity == plain.plan.identity
    assert outcome(tmp_path / "s") == outcome(tmp_path / "plain")
    assert any("streaming" in note for note in streamed.plan.notes)


def test_the_steps_of_a_mix_are_counted_for_the_user(tmp_path):
    result = train(mixed_run(tmp_path, streaming=True))
    taken = sum(part["taken"] for part in result.plan.mix)
    assert taken > 16
    assert result.plan.train_examples == taken
    assert result.plan.steps == -(-taken // 4)
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert [part["dataset"] for part in plan["mix"]] == ["tiny", "few"]
    assert [part["left_out"] for part in plan["mix"]] == [0, 0]
    table = [line for line in plan["ledger"] if line.startswith("mix_strategy interleave_over")]
    assert len(table) == 1


@pytest.mark.parametrize("keys", [{}, {"packing": True, "cutoff_len": 64}], ids=str)
def test_a_mixed_run_stopped_at_any_step_and_gone_on_with_is_the_straight_run(tmp_path, keys):
    path = mixed_run(tmp_path, **keys)
    straight = train(path, output_dir=str(tmp_path / "straight"))
    for at in range(1, straight.plan.steps):
        out = tmp_path / f"stopped-{at}"
        stop = StopAfter(at)
        assert train(path, stop, stop, output_dir=str(out)).status == "stopped"
        assert train(path, output_dir=str(out)).status == "trained"
        assert outcome(out) == outcome(tmp_path / "straight")


def test_another_mix_is_another_run_and_named_as_the_keys_it_is(tmp_path):
    path = mixed_run(tmp_path)
    train(path)
    with pytest.raises(OutputError) as error:
        train(path, mix_strategy="interleave_under", interleave_probs="0.5,0.5")
    assert "mix_strategy: interleave_over -> interleave_under" in error.value.got
    assert "interleave_probs: 0.6,0.4 -> 0.5,0.5" in error.value.got
    assert "rows behind" not in error.value.got


def test_each_data_set_is_evaluated_and_the_loss_of_all_is_what_it_was(tmp_path):
    path = mixed_run(tmp_path, dataset="tiny", eval_dataset="few,tiny", mix_strategy=None,
                     interleave_probs=None)  # fmt: skip
    train(path)
    before = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    train(path, eval_on_each_dataset=True, output_dir=str(tmp_path / "each"))
    after = json.loads((tmp_path / "each" / "eval_results.json").read_text())
    assert after["eval_loss"] == before["eval_loss"]
    parts = [(after[f"eval_{name}_loss"], after[f"eval_{name}_tokens"]) for name in ("few", "tiny")]
    assert sum(tokens for _, tokens in parts) == after["eval_tokens"]
    weighed = sum(loss * tokens for loss, tokens in parts) / after["eval_tokens"]
    assert abs(weighed - after["eval_loss"]) < 1e-6
