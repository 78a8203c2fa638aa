"""The plan states what will be: its numbers are those of the run."""

import pytest

import own_jinjas
from tiny_run import tiny_rows, tiny_run
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.training import trial
from tunesmith.training.material import gather
from tunesmith.training.memory import machine
from tunesmith.training.memory.solve import Layout
from tunesmith.training.planning import make
from tunesmith.training.report import Silent


def planned(tmp_path, **keys):
    run = load(tiny_run(tmp_path, **keys))
    material = gather(run, Silent())
    return make(run, material), material, run


def test_the_tutorials_job_has_3617_and_402_rows_and_453_steps(tmp_path):
    plan, _, _ = planned(
        tmp_path,
        rows=tiny_rows(4019),
        val_size=0.1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        num_train_epochs=1,
        eval_strategy="steps",
        eval_steps=500,
        save_steps=500,
        warmup_ratio=0.1,
    )
    assert (plan.train_examples, plan.eval_examples) == (3617, 402)
    assert (plan.steps, plan.warmup_steps) == (453, 46)
    text = plan.text()
    assert "3,617 to train on, 402 held out" in text
    assert "every 500 steps never comes in 453" in text
    assert "the last step of an epoch holds 1" in text
    assert f"trainable%: {100 * plan.trainable / plan.parameters:.4f}" in text


def test_tokens_and_ledger_are_those_of_the_examples(tmp_path):
    plan, material, _ = planned(tmp_path)
    assert plan.tokens_per_epoch == sum(len(e.ids) for e in material.data.train)
    assert plan.trained_tokens_per_epoch == sum(e.trained.sum() for e in material.data.train)
    assert "12 rows read = 12 used + 0 skipped" in plan.text()


@pytest.mark.parametrize(
    ("name", "steps"),
    [("constant", 0), ("constant_with_warmup", 3), ("linear", 3), ("reduce_lr_on_plateau", 0)],
)
def test_the_plan_counts_the_warm_up_that_the_schedule_has(tmp_path, name, steps):
    watching = {"val_size": 3, "eval_strategy": "steps"} if name.startswith("reduce") else {}
    plan, _, _ = planned(tmp_path, lr_scheduler_type=name, warmup_steps=3, **watching)
    assert plan.warmup_steps == steps
    assert any("has no warm-up" in note for note in plan.notes) is (steps == 0)


def test_options_of_the_schedule_are_refused_with_the_plan(tmp_path):
    with pytest.raises(ConfigError, match="lr_scheduler_kwargs"):
        planned(tmp_path, lr_scheduler_kwargs={"num_cycles": 2})


def test_packs_make_fewer_steps_of_the_same_rows(tmp_path):
    plan, _, _ = planned(tmp_path, packing=True, cutoff_len=128)
    assert plan.packs < plan.train_examples
    assert plan.steps < 6
    assert "packs per optimizer step" in plan.text()
    assert plan.as_dict()["unit"] == "packs"


def test_models_with_state_get_buckets_where_others_get_packs(tmp_path):
    plan, material, run = planned(tmp_path, packing=True, cutoff_len=128)
    with_state = make(run, material._replace(facts=material.facts._replace(carries_state=True)))
    assert with_state.unit == "buckets"
    assert plan.packs <= with_state.packs < plan.train_examples
    assert "buckets of examples of like length per optimizer step" in with_state.text()


def test_the_identity_does_not_depend_on_the_layout_of_micro_batches(tmp_path, monkeypatch):
    from tunesmith.training.memory import solve

    plan, _, _ = planned(tmp_path)
    monkeypatch.setitem(solve.MICRO_BATCH_TOKENS, "cpu", 60)
    other, _, _ = planned(tmp_path)
    assert other.micro_batch_tokens < plan.micro_batch_tokens
    assert other.identity == plan.identity


def test_a_run_that_has_less_memory_than_at_its_start_goes_on_in_smaller_micro_batches(
    tmp_path, monkeypatch
):
    rows = [{"instruction": "Say.", "output": "red green blue " * 8} for _ in range(16)]
    wide = {"hidden_size": 256, "intermediate_size": 4096, "num_hidden_layers": 4}
    monkeypatch.setattr(machine, "process_bytes", lambda kind: 0)
    first, material, run = planned(tmp_path, rows=rows, model=wide, per_device_train_batch_size=16)
    before = Layout(first.micro_batch_tokens, first.recompute, share=first.share)
    again = make(run, material, before=before)
    assert (again.micro_batch_tokens, again.notes) == (first.micro_batch_tokens, first.notes)
    monkeypatch.setattr(machine, "swap_bytes", lambda device: 0)
    monkeypatch.setattr(machine, "free_bytes", lambda device: int(first.memory_needed * 0.9))
    less = make(run, material, before=before)
    assert less.memory_needed < first.memory_needed * 0.9
    assert (less.identity, less.share) == (first.identity, first.share)
    told = [note for note in less.notes if "not bit by bit" in note]
    assert f"({first.micro_batch_tokens:,} tokens, 0 layers" in told[0]


def test_changed_data_are_another_identity(tmp_path):
    plan, _, _ = planned(tmp_path)
    rows = tiny_rows()
    rows[5]["output"] += "!"
    other, _, _ = planned(tmp_path, rows=rows)
    assert other.identity["data"] != plan.identity["data"]


def test_watching_without_held_out_rows_names_the_key(tmp_path):
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, lr_scheduler_type="reduce_lr_on_plateau")
    assert "lr_scheduler_type" in caught.value.where


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_train_epochs", 1e300), ("num_train_epochs", 1e308), ("max_steps", 10**20)],
)
def test_more_steps_than_can_be_counted_are_refused_by_key(tmp_path, key, value):
    with pytest.raises(ConfigError, match=f": {key}\n"):
        planned(tmp_path, **{key: value})


TOOL = '[{"name": "weather", "parameters": {"type": "object", "properties": {}}}]'


@pytest.mark.parametrize("count", [0, 1])
def test_a_template_that_puts_tools_otherwise_is_told_where_rows_have_tools(tmp_path, count):
    rows = [{**row, "tools": TOOL if i < count else ""} for i, row in enumerate(tiny_rows())]
    keys = {
        "rows": rows,
        "entry": {"columns": {"response": "output", "query": "input", "tools": "tools"}},
        "model": {"template": own_jinjas.own("qwen3").source},
        "template": "qwen3",
    }
    plan, material, _ = planned(tmp_path, **keys)
    told = [note for note in plan.notes if "differs from the model's own" in note]
    assert material.data.tools is bool(count)
    assert len(told) == count
    if count:
        assert (
            "in with tools, a call and its result: '<|im_start|>system\\n\\n\\n# Tools" in told[0]
        )
        with pytest.raises(ConfigError, match="template_mismatch"):
            planned(tmp_path, **keys, template_mismatch="refuse")


@pytest.mark.parametrize("tried", [True, False])
def test_kernels_of_a_trial_count_where_the_process_that_made_it_trains(
    tmp_path, monkeypatch, tried
):
    run = load(tiny_run(tmp_path, bf16=True))
    material = gather(run, Silent())
    monkeypatch.setattr(trial, "made_here", lambda: tried)
    known, trains = (make(run, material, trains=trains) for trains in (False, True))
    more = trains.memory_components["kernels"] - known.memory_components["kernels"]
    assert (more > 0) == tried
    assert trains.micro_batch_tokens == known.micro_batch_tokens


@pytest.mark.parametrize(
    ("kind", "said"), [("llama", ""), ("gemma2", "Gemma2Attention (its code uses attn_logit")]
)
def test_what_no_fused_function_computes_is_noted(tmp_path, kind, said):
    plan, _, _ = planned(tmp_path, kind=kind)
    found = [note for note in plan.notes if "not by fused functions" in note]
    assert len(found) == bool(said)
    assert not said or said in found[0]
