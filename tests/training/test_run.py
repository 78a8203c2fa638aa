"""A run from file to result: what it writes, what opens it elsewhere, how it is gone on with."""

import io
import json
import math
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from tiny_run import tiny_run, train
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, OutputError, StoreError, TrainError
from tunesmith.training.journal import read, without_times
from tunesmith.training.report import Silent
from tunesmith.training.signals import Stopper, stopper


class Recorder(Silent):
    """Remembers what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def adapter(directory):
    return load_file(directory / "adapter_model.safetensors")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_leaves_everything_that_was_promised(tmp_path):
    path = tiny_run(tmp_path, val_size=0.25, plot_loss=True, save_steps=2, compute_accuracy=True)
    result = train(path)
    out = tmp_path / "out"
    assert result.status == "trained"
    names = {p.name for p in out.iterdir()}
    assert names >= {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "generation_config.json",
        "trainer_log.jsonl", "train_results.json", "eval_results.json", "all_results.json",
        "trainer_state.json", "training_loss.png", "training_eval_loss.png",
        "training_eval_accuracy.png", "run.yaml", "run.json", "plan.json", "README.md",
        "checkpoint-2", "checkpoint-4", "checkpoint-6",
    }  # fmt: skip
    assert not [name for name in names if ".tmp" in name]
    assert load(out / "run.yaml") == load(path)
    results = json.loads((out / "all_results.json").read_text())
    assert {"train_loss", "train_runtime", "total_flos", "eval_loss", "eval_accuracy",
            "train_samples_per_second", "peak_memory_bytes"} <= results.keys()  # fmt: skip
    record = read(out / "trainer_log.jsonl")[0]
    assert {"current_steps", "total_steps", "loss", "lr", "epoch", "percentage", "elapsed_time",
            "remaining_time", "throughput", "total_tokens"} <= record.keys()  # fmt: skip
    state = json.loads((out / "trainer_state.json").read_text())
    assert state["global_step"] == result.plan.steps == 6
    assert result.plan.train_examples + result.plan.eval_examples == 12


def test_the_loss_falls_and_held_out_rows_are_evaluated_after_the_last_step(tmp_path):
    path = tiny_run(tmp_path, val_size=2, num_train_epochs=20, learning_rate=1e-2)
    train(path)
    records = read(tmp_path / "out" / "trainer_log.jsonl")
    losses = [r["loss"] for r in records if "loss" in r]
    assert losses[-1] < losses[0] - 1
    assert [r["current_steps"] for r in records if "eval_loss" in r] == [len(losses)]


def test_the_adapter_gives_the_same_logits_in_peft(tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tunesmith.models import adapters
    from tunesmith.models.load import load_model

    path = tiny_run(tmp_path)
    train(path)
    ids = torch.arange(20)[None]
    ours = load_model(tmp_path / "model", dtype=torch.float32)
    plain = ours(ids).logits
    adapters.load_adapter(ours, tmp_path / "out", trainable=False)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, tmp_path / "out")
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(plain, theirs(ids).logits, atol=1e-3)


@pytest.mark.parametrize("tokens", [40, 64, 4096])
def test_micro_batches_do_not_change_what_is_learned(tmp_path, tokens, monkeypatch):
    from tunesmith.training.memory import solve

    monkeypatch.setitem(solve.MICRO_BATCH_TOKENS, "cpu", tokens)
    train(tiny_run(tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path))
    found = adapter(tmp_path / "a" / "out")
    monkeypatch.undo()
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "b").mkdir()
    train(tiny_run(tmp_path / "b"))
    expected = adapter(tmp_path / "b" / "out")
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("split", [(4, 1), (1, 4), (2, 2)])
def test_batch_size_and_accumulation_only_matter_as_a_product(tmp_path, split):
    path = tiny_run(tmp_path)
    train(path)
    size, accumulation = split
    train(path, output_dir=str(tmp_path / "other"), per_device_train_batch_size=size,
          gradient_accumulation_steps=accumulation)  # fmt: skip
    assert_equal(adapter(tmp_path / "out"), adapter(tmp_path / "other"))


@pytest.mark.parametrize(
    "keys",
    [
        {}, {"lora_dropout": 0.3}, {"packing": True, "cutoff_len": 64},
        {"use_dora": True, "lora_dropout": 0.3}, {"pissa_init": True},
        {"finetuning_type": "full", "lora_rank": None}, {"val_size": 2, "eval_strategy": "epoch"},
        {"finetuning_type": "freeze", "lora_rank": None, "freeze_trainable_layers": 1},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "val_size": 2, "eval_strategy": "steps",
         "eval_steps": 1, "lr_scheduler_kwargs": {"patience": 0}},
        {"finetuning_type": "full", "lora_rank": None, "optim": "adamw_8bit", "max_steps": 3},
        {"use_muon": True, "max_steps": 3},
        {"quantization_bit": 4, "max_steps": 3}, {"quantization_bit": 8, "max_steps": 3},
    ],
    ids=lambda keys: "-".join(map(str, keys.values())) or "plain",
)  # fmt: skip
def test_a_run_stopped_at_any_step_and_gone_on_with_is_the_straight_run(tmp_path, keys):
    path = tiny_run(tmp_path, save_steps=100, **keys)
    straight = train(path, output_dir=str(tmp_path / "straight"))
    steps = straight.plan.steps
    for at in range(1, steps):
        out = tmp_path / f"stopped-{at}"
        stop = StopAfter(at)
        first = train(path, stop, stop, output_dir=str(out))
        assert first.status == "stopped"
        assert (out / f"checkpoint-{at}").is_dir()
        assert train(path, output_dir=str(out)).status == "trained"
        name = "adapter_model.safetensors" if "finetuning_type" not in keys else "model.safetensors"
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), at
        logs = [[without_times(r) for r in read(tmp_path / d / "trainer_log.jsonl")]
                for d in ("straight", out.name)]  # fmt: skip
        assert logs[0] == logs[1]


class StopAfter(Stopper, Recorder):
    """A signal that comes while a given step is reported."""

    def __init__(self, step):
        Stopper.__init__(self)
        Recorder.__init__(self)
        self._step = step

    def step(self, done, total, **facts):
        if done == self._step:
            self.receive(signal.SIGTERM, None)


def test_a_finished_run_says_so_and_changes_nothing(tmp_path):
    path = tiny_run(tmp_path, overwrite_output_dir=True)
    train(path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    again = train(path)
    assert again.status == "finished before"
    assert again.metrics["train_loss"] > 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_another_plan_is_refused_or_moves_the_old_directory_aside(tmp_path):
    path = tiny_run(tmp_path)
    train(path)
    first = adapter(tmp_path / "out")
    with pytest.raises(OutputError) as caught:
        train(path, learning_rate=5e-4)
    assert "learning_rate: 0.001 -> 0.0005" in caught.value.got
    train(path, learning_rate=5e-4, overwrite_output_dir=True)
    assert_equal(adapter(tmp_path / "out.old-1"), first)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"]


def test_more_epochs_extend_a_finished_run(tmp_path):
    path = tiny_run(tmp_path, lr_scheduler_type="constant")
    train(path)
    report = Recorder()
    result = train(path, report, num_train_epochs=3)
    assert result.plan.steps == 9
    assert any("extended from 6 to 9" in text for text in report.said)
    train(path, output_dir=str(tmp_path / "straight"), num_train_epochs=3)
    assert_equal(adapter(tmp_path / "out"), adapter(tmp_path / "straight"))


def test_a_damaged_result_is_written_again_from_the_last_checkpoint(tmp_path):
    path = tiny_run(tmp_path)
    train(path)
    weights = tmp_path / "out" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    report = Recorder()
    assert train(path, report).status == "trained"
    assert weights.read_bytes() == whole
    assert any("is damaged" in text for text in report.said)
    assert train(path).status == "finished before"


def test_a_first_step_that_fails_leaves_the_directory_to_the_corrected_run(tmp_path):
    path = tiny_run(tmp_path, max_steps=1, learning_rate=1e38, logging_steps=5)
    with pytest.raises(TrainError):
        train(path)
    assert train(path, learning_rate=1e-3).status == "trained"


def test_a_length_that_is_refused_is_not_remembered(tmp_path):
    path = tiny_run(tmp_path, save_steps=4)
    stop = StopAfter(5)
    train(path, stop, stop)
    before = (tmp_path / "out" / "run.json").read_text()
    with pytest.raises(OutputError):
        train(path, max_steps=3)
    assert (tmp_path / "out" / "run.json").read_text() == before


def test_starting_over_is_asked_for_by_name(tmp_path):
    path = tiny_run(tmp_path)
    train(path)
    train(path, resume_from_checkpoint=False)
    assert (tmp_path / "out.old-1" / "run.json").is_file()


def test_an_explicit_checkpoint_must_be_of_this_plan(tmp_path):
    path = tiny_run(tmp_path, save_steps=2)
    train(path)
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    train(path, output_dir=str(tmp_path / "b"), resume_from_checkpoint=checkpoint)
    assert_equal(adapter(tmp_path / "out"), adapter(tmp_path / "b"))
    with pytest.raises(OutputError, match="checkpoint-2"):
        train(path, output_dir=str(tmp_path / "c"), resume_from_checkpoint=checkpoint, seed=7)


def test_the_best_checkpoint_becomes_the_result(tmp_path):
    watched = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True,
               "save_total_limit": 1}  # fmt: skip
    path = tiny_run(tmp_path, val_size=3, num_train_epochs=12, learning_rate=0.1, **watched)
    train(path)
    out = tmp_path / "out"
    records = [r for r in read(out / "trainer_log.jsonl") if "eval_loss" in r]
    best = min(records, key=lambda r: r["eval_loss"])["current_steps"]
    assert best != records[-1]["current_steps"], "the run must overfit for this test to tell"
    assert_equal(adapter(out), adapter(out / f"checkpoint-{best}"))


@pytest.mark.parametrize(
    "cadence",
    [{"save_steps": 4, "eval_steps": 1}, {"save_steps": 0.5, "eval_steps": 0.25, "max_steps": 10}],
)
def test_the_best_evaluation_is_kept_though_no_save_was_due_at_its_step(tmp_path, cadence):
    path = tiny_run(
        tmp_path, val_size=3, eval_strategy="steps", num_train_epochs=4, save_total_limit=1,
        load_best_model_at_end=True, greater_is_better=True, **cadence,
    )  # fmt: skip
    assert train(path).status == "trained"
    out = tmp_path / "out"
    records = [r for r in read(out / "trainer_log.jsonl") if "eval_loss" in r]
    best = max(records, key=lambda r: r["eval_loss"])["current_steps"]  # the loss falls: the first
    due = 4 if cadence["save_steps"] == 4 else 5
    assert best % due, "the run must be best between two saves for this test to tell"
    assert_equal(adapter(out), adapter(out / f"checkpoint-{best}"))


def test_a_best_checkpoint_that_is_damaged_is_named_before_training(tmp_path):
    path = tiny_run(tmp_path, val_size=3, eval_strategy="steps", eval_steps=1, save_steps=1,
                    load_best_model_at_end=True, greater_is_better=True)  # fmt: skip
    stop = StopAfter(3)
    train(path, stop, stop)  # the loss falls, so the greatest is the first
    (tmp_path / "out" / "checkpoint-1" / "adapter_model.safetensors").unlink()
    with pytest.raises(StoreError) as caught:
        train(path)
    assert "checkpoint-1" in caught.value.where
    assert "start over" in caught.value.hint


def test_a_checkpoint_without_its_manifest_is_moved_out_of_the_way(tmp_path):
    path = tiny_run(tmp_path, save_steps=1)
    train(path, output_dir=str(tmp_path / "straight"))
    stop = StopAfter(3)
    train(path, stop, stop)
    (tmp_path / "out" / "checkpoint-3" / "MANIFEST.json").unlink()
    train(path)
    assert (tmp_path / "out" / "checkpoint-3.old-1" / "adapter_model.safetensors").is_file()
    assert_equal(adapter(tmp_path / "out"), adapter(tmp_path / "straight"))


def test_early_stopping_ends_the_run_with_a_result(tmp_path):
    path = tiny_run(tmp_path, val_size=3, num_train_epochs=40, learning_rate=0.1,
                    eval_strategy="epoch", early_stopping_steps=2)  # fmt: skip
    result = train(path)
    records = [r for r in read(tmp_path / "out" / "trainer_log.jsonl") if "eval_loss" in r]
    assert records[-1]["current_steps"] < result.plan.steps
    assert train(path).status == "finished before"
    before = adapter(tmp_path / "out")
    extended = train(path, num_train_epochs=80)
    assert "stopped early" in " ".join(extended.notes)  # it says why more steps do nothing
    assert_equal(adapter(tmp_path / "out"), before)


def test_a_run_that_stopped_early_and_then_died_does_not_train_on(tmp_path, monkeypatch):
    path = tiny_run(tmp_path, val_size=3, num_train_epochs=40, learning_rate=0.1,
                    eval_strategy="epoch", early_stopping_steps=2)  # fmt: skip
    train(path, output_dir=str(tmp_path / "straight"))

    def dies(job, watch):
        raise RuntimeError("the power went off")

    with monkeypatch.context() as patch:
        patch.setattr("tunesmith.training.run._finish", dies)
        with pytest.raises(RuntimeError):
            train(path)
    assert train(path).status == "trained"
    assert_equal(adapter(tmp_path / "out"), adapter(tmp_path / "straight"))


def test_watching_an_evaluation_without_held_out_rows_is_refused(tmp_path):
    path = tiny_run(tmp_path)
    with pytest.raises(ConfigError):
        train(path, early_stopping_steps=2)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_names_rows_and_keeps_the_last_checkpoint(tmp_path):
    path = tiny_run(tmp_path, save_steps=1, learning_rate=1e30, max_grad_norm=0)
    with pytest.raises(TrainError) as caught:
        train(path)
    assert "tiny.json:" in caught.value.need
    assert (tmp_path / "out" / "checkpoint-1").is_dir()


@pytest.mark.parametrize("save_strategy", ["steps", "no"])
def test_weights_that_overflow_in_the_last_step_are_never_delivered(tmp_path, save_strategy):
    path = tiny_run(tmp_path, max_steps=1, learning_rate=1e38, save_strategy=save_strategy)
    with pytest.raises(TrainError, match="step 1"):
        train(path)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_only_so_many_checkpoints_are_kept(tmp_path):
    path = tiny_run(tmp_path, save_steps=1, save_total_limit=2)
    train(path)
    kept = sorted(p.name for p in (tmp_path / "out").glob("checkpoint-*"))
    assert kept == ["checkpoint-5", "checkpoint-6"]


def test_a_checkpoint_is_an_adapter_to_go_on_from(tmp_path):
    path = tiny_run(tmp_path, save_steps=2)
    train(path)
    checkpoint = tmp_path / "out" / "checkpoint-2"
    result = train(path, output_dir=str(tmp_path / "more"), adapter_name_or_path=str(checkpoint))
    assert result.plan.identity["adapter"]
    start, end = adapter(checkpoint), adapter(tmp_path / "more")
    assert start.keys() == end.keys()
    assert not torch.equal(*[next(iter(tensors.values())) for tensors in (start, end)])


def test_the_base_is_untouched_and_every_adapter_tensor_has_moved(tmp_path):
    path = tiny_run(tmp_path)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    train(path, num_train_epochs=4)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    tensors = adapter(tmp_path / "out")
    assert all(value.abs().sum() > 0 for key, value in tensors.items() if "lora_B" in key)


def test_uniform_logits_cost_ln_v(tmp_path):
    """A model whose head is zero says 1/V of every token; the first logged loss must be ln V."""
    path = tiny_run(tmp_path, model={"tied": False})
    weights = tmp_path / "model" / "model.safetensors"
    from safetensors.torch import save_file

    tensors = load_file(weights)
    tensors["lm_head.weight"].zero_()
    save_file(tensors, weights, metadata={"format": "pt"})
    train(path, max_steps=1)
    (first,) = read(tmp_path / "out" / "trainer_log.jsonl")
    vocabulary = tensors["lm_head.weight"].shape[0]
    assert first["loss"] == pytest.approx(math.log(vocabulary), rel=1e-5)


def test_two_runs_into_one_directory_are_refused(tmp_path):
    from tunesmith import store

    path = tiny_run(tmp_path)
    with store.lock(tmp_path / "out"), pytest.raises(OutputError) as caught:
        train(path)
    assert str(os.getpid()) in str(caught.value)


def test_real_signals_are_heard_through_the_context(tmp_path):
    path = tiny_run(tmp_path)

    class Sends(Recorder):
        def step(self, done, total, **facts):
            if done == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with stopper() as heard:
        result = train(path, Sends(), heard)
    assert result.status == "stopped"
    assert "SIGTERM after step 2" in result.notes[0]


@pytest.mark.parametrize("method", ["full", "freeze", "lora"])
def test_in_bf16_every_step_sees_the_update_before_it(tmp_path, method):
    """Under stale weights a repeated row would cost the same at every step."""
    keys = {} if method == "lora" else {"lora_rank": None}
    path = tiny_run(tmp_path, rows=[{"instruction": "a", "output": "one two three"}] * 2, **keys)
    train(path, finetuning_type=method, bf16=True, num_train_epochs=12, learning_rate=3e-2)
    losses = [r["loss"] for r in read(tmp_path / "out" / "trainer_log.jsonl")]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    "keys",
    [{"additional_target": "lm_head"}, {"finetuning_type": "full", "lora_rank": None},
     {"finetuning_type": "freeze", "lora_rank": None, "freeze_trainable_layers": 1}],
    ids=["lora", "full", "freeze"],
)  # fmt: skip
def test_a_small_rate_moves_weights_that_bf16_would_round_back(tmp_path, keys):
    path = tiny_run(tmp_path, bf16=True, learning_rate=1e-6, max_steps=4, save_steps=1, **keys)
    train(path)
    name = "adapter_model.safetensors" if "additional_target" in keys else "model.safetensors"
    early, late = (load_file(tmp_path / "out" / f"checkpoint-{n}" / name) for n in (2, 4))
    trained = [key for key in early if "layers.1." in key or "lora" in key or "lm_head" in key]
    assert trained
    moved = {key: (early[key] != late[key]).float().mean().item() for key in trained}
    assert min(moved.values()) > 0.9, moved


@pytest.mark.parametrize(
    ("key", "other"),
    [("lora_rank", 16), ("lora_alpha", 3), ("use_rslora", True), ("lora_dropout", 0.1),
     ("lora_target", "q_proj"), ("additional_target", "norm")],
)  # fmt: skip
def test_keys_that_contradict_the_adapter_gone_on_with_are_refused(tmp_path, key, other):
    """They would be ignored: the adapter has decided them."""
    path = tiny_run(tmp_path)
    train(path, max_steps=1)
    more = {"output_dir": str(tmp_path / "more"), "adapter_name_or_path": str(tmp_path / "out")}
    with pytest.raises(ConfigError) as caught:
        train(path, **more, **{key: other})
    assert key in caught.value.where
    assert not (tmp_path / "more").exists()
    again = train(path, **more, **{key: other}, create_new_adapter=True, max_steps=1)
    assert again.status == "trained"


def test_an_adapter_is_gone_on_with_by_the_run_file_that_made_it(tmp_path):
    path = tiny_run(tmp_path, lora_target="all", additional_target="embed_tokens", max_steps=1,
                    lora_dropout=0.1, lora_alpha=8)  # fmt: skip
    train(path)
    more = {"output_dir": str(tmp_path / "more"), "adapter_name_or_path": str(tmp_path / "out")}
    assert train(path, **more).status == "trained"


def test_fewer_steps_than_a_checkpoint_holds_are_refused(tmp_path):
    path = tiny_run(tmp_path, save_steps=4)
    stop = StopAfter(5)
    train(path, stop, stop)
    with pytest.raises(OutputError, match="out"):
        train(path, max_steps=3)


def test_what_cannot_be_resumed_from_leaves_no_directory(tmp_path):
    path = tiny_run(tmp_path)
    with pytest.raises((OutputError, StoreError)):
        train(path, resume_from_checkpoint=str(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()


def test_the_figures_are_those_of_the_weights_that_are_delivered(tmp_path):
    watched = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    path = tiny_run(tmp_path, val_size=3, num_train_epochs=12, learning_rate=0.1, **watched)
    result = train(path)
    records = [r for r in read(tmp_path / "out" / "trainer_log.jsonl") if "eval_loss" in r]
    assert result.metrics["eval_loss"] == min(r["eval_loss"] for r in records)


def test_a_result_can_be_read_by_everybody(tmp_path):
    train(tiny_run(tmp_path))
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "out").glob("*.*")}
    assert set(modes.values()) == {"0o644"}, modes


def test_a_log_that_cannot_be_written_does_not_end_the_training(tmp_path):
    from tunesmith.training.report import Plain

    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError("the reader has gone")

    assert train(tiny_run(tmp_path), Plain(Gone())).status == "trained"


@pytest.mark.parametrize("text", ["[]", '{"train_loss": 1', "[" * 100_000, None])
def test_a_finished_run_without_its_figures_is_finished_all_the_same(tmp_path, text):
    path = tiny_run(tmp_path, max_steps=1)
    train(path)
    results = tmp_path / "out" / "all_results.json"
    results.unlink() if text is None else results.write_text(text)
    again = train(path)
    assert (again.status, again.metrics) == ("finished before", {})
    assert "all_results.json" in again.notes[0]


@pytest.mark.parametrize("link", [True, False])
def test_what_stands_in_the_way_of_a_checkpoint_is_moved_aside_at_the_start(tmp_path, link):
    path = tiny_run(tmp_path, save_steps=1)
    stop = StopAfter(2)
    train(path, stop, stop)
    way = tmp_path / "out" / "checkpoint-4"
    way.symlink_to(way) if link else way.write_text("mine")
    assert train(path).status == "trained"
    assert way.is_dir()
    aside = way.with_name("checkpoint-4.old-1")
    assert aside.is_symlink() if link else aside.read_text() == "mine"


def test_an_output_directory_that_is_deleted_meanwhile_is_said_to_be_gone(tmp_path):
    class Deleting(Silent):
        def step(self, done, total, **facts):
            shutil.rmtree(tmp_path / "out", ignore_errors=True)

    with pytest.raises(StoreError, match=f"{tmp_path / 'out'} is gone"):
        train(tiny_run(tmp_path), Deleting())


def test_a_cache_that_cannot_be_written_does_not_refuse_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", "/dev/null")
    result = train(tiny_run(tmp_path, max_steps=1))
    assert result.status == "trained"
    assert any("/dev/null" in note for note in result.notes)


def test_a_checkpoint_that_is_named_is_kept_and_a_later_one_is_gone_on_from(tmp_path):
    path = tiny_run(tmp_path, save_steps=1, save_total_limit=1)
    train(path, output_dir=str(tmp_path / "straight"))
    stop = StopAfter(2)
    train(path, stop, stop)
    out = tmp_path / "out"
    keys = {"resume_from_checkpoint": str(out / "checkpoint-2")}
    stop = StopAfter(4)
    train(path, stop, stop, **keys)
    assert {p.name for p in out.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    report = Recorder()
    train(path, report, **keys)
    assert any(text.startswith(f"going on from {out}/checkpoint-4") for text in report.said)
    assert_equal(adapter(out), adapter(tmp_path / "straight"))
