"""What a run will cost: disk, money, waste, the kernel; each against the run or another count."""

import json

import numpy as np
import pytest
import torch

from tiny_run import tiny_rows, tiny_run, train
from tunesmith.compute import side_by_side
from tunesmith.compute.pretend import pretended
from tunesmith.config.load import load
from tunesmith.training import forecast as forecasts
from tunesmith.training.devices import find
from tunesmith.training.job import lay_out
from tunesmith.training.material import gather
from tunesmith.training.planning import make
from tunesmith.training.report import Silent
from tunesmith.training.units import Units


def planned(tmp_path, device=None, **keys):
    run = load(tiny_run(tmp_path, **keys))
    material = gather(run, Silent(), device=device)
    return make(run, material), material, run


def test_the_work_is_that_of_every_step(tmp_path):
    plan, material, run = planned(tmp_path, rows=tiny_rows(13), num_train_epochs=3)
    units = Units(material.data.train.lengths, run, "examples")
    batches = [
        batch
        for number in range(1, plan.steps + 1)
        for batch in lay_out(
            material.data.train, units.examples(number), max_tokens=plan.micro_batch_tokens
        )
    ]
    work = plan.forecast.work
    assert work.batches == len(batches)
    assert work.tokens == sum(len(b.ids_T) for b in batches)
    assert work.squares == sum(int((np.diff(b.offsets) ** 2).sum()) for b in batches)
    assert work.steps == plan.steps


def test_what_padding_would_cost_is_counted_batch_by_batch(tmp_path):
    plan, material, _ = planned(
        tmp_path, disable_shuffling=True, per_device_train_batch_size=4,
        gradient_accumulation_steps=1,
    )  # fmt: skip
    lengths = material.data.train.lengths
    by_hand = sum(4 * int(lengths[i : i + 4].max()) for i in range(0, 12, 4))
    assert plan.forecast.layout.padded_positions == by_hand
    assert plan.forecast.layout.positions == lengths.sum()


def test_packs_tell_how_much_of_their_room_is_empty(tmp_path):
    plan, material, _ = planned(tmp_path, packing=True, cutoff_len=128)
    room = plan.packs * 128
    assert plan.forecast.layout.empty_share == pytest.approx(
        1 - material.data.train.lengths.sum() / room
    )
    assert "of their room empty" in plan.text()


@pytest.mark.parametrize("finetuning_type", ["lora", "full", "freeze"])
def test_the_disk_is_what_the_run_leaves(tmp_path, finetuning_type):
    rank = {} if finetuning_type == "lora" else {"lora_rank": None}
    done = train(
        tiny_run(tmp_path, finetuning_type=finetuning_type, **rank, save_steps=2,
                 save_total_limit=2, model={"vocab": 8192}),
    )  # fmt: skip
    disk = done.plan.forecast.disk
    beside = 700_000  # tokenizer and records, whatever the model weighs
    for path, said in (
        *((path, disk.checkpoint) for path in (tmp_path / "out").glob("checkpoint-*")),
        (tmp_path / "out", disk.result),
    ):
        files = path.glob("*") if path.name == "out" else path.rglob("*")
        wrote = sum(file.stat().st_size for file in files if file.is_file())
        assert abs(wrote - said) < 0.05 * said + beside
    assert disk.checkpoints == 3  # two are kept while the third is written


def test_money_is_time_by_price(tmp_path):
    plan, _, _ = planned(tmp_path, price_per_hour=7200)
    forecast = plan.forecast
    assert forecast.cost == pytest.approx(2 * (forecast.seconds + forecast.eval_seconds))
    assert "at 7200 an hour" in plan.text()
    assert planned(tmp_path)[0].forecast.cost is None


def test_another_device_has_its_own_memory_precision_and_pace(tmp_path):
    plan, material, _ = planned(tmp_path, device="h200", bf16=None)
    assert plan.device == "h200"
    assert plan.memory_free == find("h200").free
    assert material.precision.dtype == torch.bfloat16
    assert "H200" in plan.forecast.pace.source
    old, material, _ = planned(tmp_path, device="v100", bf16=None)
    assert material.precision.dtype == torch.float32
    assert "one by one: fp32" in old.attention


@pytest.mark.parametrize(
    ("kernel", "word"),
    [("flash_attn", "flash_attn is installed"), ("torch_varlen", "flash_attn is not installed"),
     ("sdpa", "one by one: neither")],
)  # fmt: skip
def test_the_plan_says_which_kernel_and_why(tmp_path, monkeypatch, kernel, word):
    monkeypatch.setattr(forecasts.varlen, "kernel", lambda: kernel)
    plan, _, _ = planned(tmp_path, device="a100", bf16=None)
    assert word in plan.attention


def test_a_model_with_state_says_why_its_documents_stand_side_by_side(tmp_path):
    _, material, _ = planned(tmp_path)
    stateful = material._replace(facts=material.facts._replace(carries_state=True))
    assert "carry state" in forecasts.attention_of(stateful)


def test_what_fills_up_documents_side_by_side_is_counted(tmp_path, monkeypatch):
    computed, states = [], side_by_side._states

    def counted(body, ids_BL, positions_BL):
        if torch.is_grad_enabled() and not pretended(body):
            computed.append(ids_BL.numel())
        return states(body, ids_BL, positions_BL)

    monkeypatch.setattr(forecasts, "measure", lambda *arguments, **others: "not tried")
    monkeypatch.setattr(side_by_side, "_states", counted)
    keys = {"lora_target": ["in_proj"], "num_train_epochs": 1}
    path = tiny_run(tmp_path, kind="mamba", rows=tiny_rows(8), **keys)
    plan = train(path).plan
    assert sum(computed) == plan.forecast.layout.positions > plan.tokens_per_epoch
    rows = dict(line.split(maxsplit=1) for line in plan.text().splitlines() if "padd" in line)
    assert rows["layout"].startswith(f"{1 - plan.tokens_per_epoch / sum(computed):.1%}"[:-1])
    assert "without padding" not in plan.text()


@pytest.mark.parametrize(("layers", "share"), [(1, 0.5), (2, 1.0), (-1, 1.0)])
def test_no_gradient_goes_below_the_lowest_layer_that_learns(tmp_path, layers, share):
    keys = {"finetuning_type": "freeze", "lora_rank": None, "freeze_trainable_layers": layers}
    _, material, run = planned(tmp_path, **keys)
    assert forecasts.reached(run, material.facts) == share


def test_a_run_tells_what_was_predicted_and_keeps_it(tmp_path):
    said = []
    report = Silent()
    report.say = said.append
    done = train(tiny_run(tmp_path), report)
    kept = json.loads((tmp_path / "out" / "train_results.json").read_text())
    assert kept["predicted_runtime"] == pytest.approx(done.plan.seconds, abs=1e-4)
    assert kept["real_flops"] == pytest.approx(done.plan.forecast.flops.total)
    line = next(text for text in said if "predicted" in text)
    assert "took" in line


def test_where_no_layer_could_be_tried_the_plan_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(forecasts, "measure", lambda *_args, **_keys: "it is too large")
    text = planned(tmp_path)[0].text(200)
    assert "a rough guess: it is too large" in text


def test_a_window_takes_from_attention_what_it_hides(tmp_path):
    """Counted pair by pair: token i of a document sees min(i, window) tokens and itself."""
    rows = [{"instruction": "Go.", "output": " ".join(["red"] * n)} for n in (5, 40, 90)]
    keys = {"rows": rows, "kind": "mistral", "num_train_epochs": 1, "device": "h200"}
    whole, _, _ = planned(tmp_path / "a", **keys, model={"sliding_window": None})
    some, material, _ = planned(tmp_path / "b", **keys, model={"sliding_window": 32})

    def pairs(length, window):
        return sum(min(i + 0.5, window) for i in range(length))

    lengths = material.data.train.lengths.tolist()
    share = sum(pairs(n, 32) for n in lengths) / sum(pairs(n, 10**6) for n in lengths)
    found = some.forecast.flops.attention / whole.forecast.flops.attention
    assert found == pytest.approx(share, rel=1e-3)
    assert some.forecast.pace.both.per_square < whole.forecast.pace.both.per_square


def test_the_optimizer_of_the_run_counts_on_a_device_that_is_elsewhere(tmp_path):
    keys = {"finetuning_type": "full", "lora_rank": None, "device": "h200"}
    seconds = [
        planned(tmp_path / name, optim=name, **keys)[0].forecast.pace.per_step
        for name in ("sgd", "adamw", "muon")
    ]
    assert seconds == sorted(set(seconds))
