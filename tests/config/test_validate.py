"""Each key to its section, each bad one to an error with its place."""

from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le, Lt

from tunesmith.config.load import load
from tunesmith.config.method import METHODS
from tunesmith.config.rule import rule_of
from tunesmith.config.run import Run, fields, methods_of
from tunesmith.errors import ConfigError

WRONG = {"a mapping": {"a": [1]}, "a list of numbers": [1.5], "a word": "\t"}
NEEDED = {"early_stopping_steps": {"val_size": 0.1, "eval_strategy": "steps"}}


def asked(key, value):
    """A mapping in which the key belongs to the chosen method."""
    owners = methods_of(key)
    first = {"finetuning_type": owners[0]} if owners and key != "finetuning_type" else {}
    return {**first, **NEEDED.get(key, {}), key: value}


def refused(key, value):
    with pytest.raises(ConfigError) as caught:
        load(None, asked(key, value))
    assert caught.value.where == f"argument: {key}"
    assert caught.value.need
    return caught.value


def bounds(field):
    def walk(part):
        yield from (
            m for m in getattr(part, "__metadata__", ()) if isinstance(m, Ge | Gt | Le | Lt)
        )
        for inner in getattr(part, "__args__", ()):
            yield from walk(inner)

    yield from (m for m in field.metadata if isinstance(m, Ge | Gt | Le | Lt))
    yield from walk(field.annotation)


@pytest.mark.parametrize("key", fields())
def test_every_key_refuses_a_bad_value(key):
    tables = ("lr_scheduler_kwargs", "vllm_config")
    kinds = ["a list of numbers"] if key in tables else ["a mapping"]
    text = any(word in str(fields()[key][1].annotation) for word in ("str", "Path", "Secret"))
    for kind in kinds + ([] if text else ["a word"]):
        refused(key, WRONG[kind])


def test_every_number_has_a_bound():
    free = {
        key for key, (_, f) in fields().items() if "number" in rule_of(f) and not list(bounds(f))
    }
    assert free == {"freeze_trainable_layers"}


@pytest.mark.parametrize("key", [key for key, (_, f) in fields().items() if list(bounds(f))])
def test_every_bound_holds_at_its_edge(key):
    for bound in bounds(fields()[key][1]):
        limit = next(
            getattr(bound, name) for name in ("ge", "gt", "le", "lt") if hasattr(bound, name)
        )
        outside = {Ge: limit - 1, Gt: limit, Le: limit + 1, Lt: limit}[type(bound)]
        refused(key, outside)
        if isinstance(bound, Ge | Le):
            load(None, asked(key, limit))


def test_an_unknown_key_names_its_line_and_the_nearest(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("stage: sft\nlearning_rat: 1e-4\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.where == f"{path}:2: learning_rat"
    assert caught.value.hint == "learning_rate"


def test_the_first_of_several_problems_counts_the_others(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("lora_rank: 0\nlearning_rate: fast\nnonsense: 1\nseed: x\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.where.endswith("run.yaml:1: lora_rank")
    assert "(3 further problems: learning_rate, nonsense, seed)" in caught.value.need


def test_wrong_types_say_what_would_do():
    assert refused("learning_rate", "fast").need == "a number, greater than 0"
    quoted = refused("lora_rank", "8")
    assert (quoted.got, quoted.hint) == ('"8" (text)', "the same without quotes")
    assert refused("truncation", "keepend").hint == "keep_end"
    assert refused("do_train", 1).need == "true or false"


def test_a_key_of_another_method_is_refused():
    for method in METHODS:
        for key, (section, field) in fields().items():
            if section != "method" or method in methods_of(key):
                continue
            run = load(None, {"finetuning_type": method, key: field.default})
            noted = field.default is not None
            assert any(key in note for note in run.notes) == noted, key
    with pytest.raises(ConfigError) as caught:
        load(None, {"finetuning_type": "full", "lora_rank": 16})
    assert caught.value.where == "argument: lora_rank"
    assert "`finetuning_type: lora`" in caught.value.need
    assert "full" in caught.value.need
    assert "remove it" in caught.value.hint


def test_null_means_not_set():
    keys = [key for key in fields() if key != "enable_thinking"]
    assert load(None, dict.fromkeys(keys)) == Run()
    assert load(None, {"enable_thinking": None}).dataset.enable_thinking is None  # says something


def test_one_file_serves_every_verb():
    run = load(None, {"export_dir": "out", "temperature": 0.6, "dataset": "a", "do_train": True})
    assert run.export.export_dir == Path("out")
    assert run.notes == ()


def test_the_environment_may_choose_the_hub_and_says_so(monkeypatch):
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    run = load(None)
    assert run.model.hub == "modelscope"
    assert any("USE_MODELSCOPE_HUB" in note for note in run.notes)
    explicit = load(None, {"hub": "huggingface"})
    assert explicit.model.hub == "huggingface"
    assert explicit.notes == ()


def test_a_refused_secret_is_not_printed():
    for key in ("hf_hub_token", "swanlab_api_key", "hub_token"):
        with pytest.raises(ConfigError) as caught:
            load(None, {key: {"x": "hf_verysecret"}})
        assert "verysecret" not in str(caught.value)


def test_a_bad_number_comes_with_an_example(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(None, ["learning_rate=abc"])
    assert caught.value.hint == "learning_rate=5e-05"
    path = tmp_path / "run.yaml"
    path.write_text("lora_rank: many\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.hint == "lora_rank: 8"
