"""Answers during training: those of `tunesmith predict`, and they decide what is best."""

import hashlib
import json

import pytest

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.main import main

KEYS = {
    "val_size": 4,
    "predict_with_generate": True,
    "max_new_tokens": 5,
    "temperature": 1.3,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "bleu-4",
    "learning_rate": 1e-2,
    "lora_dropout": 0.1,
    "max_steps": 6,
}


def evaluations(directory):
    lines = (directory / "trainer_log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "eval_loss" in record]


def same(record):
    return {
        k: v
        for k, v in record.items()
        if k.startswith("eval_") and "second" not in k and k != "eval_runtime"
    }


def weights(directory):
    return hashlib.sha256((directory / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tiny_run(tmp_path_factory.mktemp("generated"), plot_loss=True, **KEYS)
    assert main(["train", str(path), "--json"]) == 0
    return path


def test_the_best_by_answers_is_delivered_and_predict_says_the_same(trained, capsys):
    out = trained.parent / "out"
    found = evaluations(out)
    assert [record["current_steps"] for record in found] == [2, 4, 6]
    values = [record["eval_bleu-4"] for record in found]
    assert len(set(values)) == 3
    best = found[values.index(max(values))]
    state = json.loads((out / "trainer_state.json").read_text())
    assert state["best_metric"] == max(values)
    assert weights(out) == weights(out / f"checkpoint-{best['current_steps']}")
    capsys.readouterr()
    assert main(["predict", str(trained), "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    for name in ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "bleu", "exact_match", "cut_off"):
        assert asked[f"predict_{name}"] == best[f"eval_{name}"]
    assert (out / "training_eval_rouge-l.png").read_bytes().startswith(b"\x89PNG")


def test_answers_change_nothing_that_is_learned_and_resumed_is_straight(trained, tmp_path):
    out = trained.parent / "out"
    quiet = tiny_run(
        tmp_path, **{**KEYS, "predict_with_generate": None, "metric_for_best_model": None}
    )
    assert main(["train", str(quiet), "--json"]) == 0
    for step in (2, 4, 6):
        assert weights(tmp_path / "out" / f"checkpoint-{step}") == weights(
            out / f"checkpoint-{step}"
        )
    half = tmp_path / "half"
    half.mkdir()
    path = tiny_run(half, **{**KEYS, "lr_scheduler_type": "constant", "max_steps": 2})
    whole = tmp_path / "straight"
    whole.mkdir()
    straight = tiny_run(whole, **{**KEYS, "lr_scheduler_type": "constant"})
    assert main(["train", str(straight), "--json"]) == 0
    assert main(["train", str(path), "--json"]) == 0
    assert main(["train", str(path), "max_steps=6", "--json"]) == 0
    assert weights(half / "out") == weights(whole / "out")
    there = [same(record) for record in evaluations(half / "out")]
    assert there == [same(record) for record in evaluations(whole / "out")]


def test_metrics_of_answers_need_answers(tmp_path, capsys):
    path = tiny_run(tmp_path, **{**KEYS, "predict_with_generate": False})
    assert main(["train", str(path)]) == 2
    assert "predict_with_generate: true" in capsys.readouterr().err
    path = tiny_run(tmp_path, train_on_prompt=True, **KEYS)
    assert main(["train", str(path)]) == 2
    assert "train_on_prompt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_calls_are_counted_during_training_too(tmp_path):
    tools = json.dumps([{"name": "f", "description": "", "parameters": {"type": "object"}}])
    call = json.dumps({"name": "f", "arguments": {"x": 1}})
    rows = [
        {
            "conversations": [
                {"from": "human", "value": row["instruction"]},
                {"from": "function_call", "value": call},
            ],
            "tools": tools,
        }
        for row in tiny_rows(4)
    ]
    columns = {"messages": "conversations", "tools": "tools"}
    path = tiny_run(
        tmp_path, rows=rows, entry={"formatting": "sharegpt", "columns": columns},
        template="qwen", cutoff_len=1024, val_size=1, predict_with_generate=True,
        max_new_tokens=3, max_steps=1,
    )  # fmt: skip
    assert main(["train", str(path), "--json"]) == 0
    (record,) = evaluations(tmp_path / "out")
    assert (record["eval_calls"], record["eval_call"]) == (1, 0)
