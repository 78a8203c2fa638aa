"""Rules in words."""

from pathlib import Path

import pytest

from tunesmith.config.rule import choices_of, rule_of, shown, takes_text
from tunesmith.config.run import fields
from tunesmith.config.train import GENERATED


def rule(key):
    return rule_of(fields()[key][1])


def test_a_rule_names_kind_and_bounds():
    assert rule("lora_rank") == "a whole number, at least 1, at most 65536"
    assert rule("lora_dropout") == "a number, at least 0, below 1"
    assert rule("top_p") == "a number, greater than 0, at most 1"
    assert rule("truncation") == "one of drop, keep_end, keep_start, error"
    assert rule("finetuning_type") == "one of lora, full, freeze"


@pytest.mark.parametrize("key", fields())
def test_every_key_has_a_rule(key):
    assert rule(key)


def test_where_null_is_a_value_the_rule_names_it():
    assert rule("enable_thinking") == "true, false or null"
    assert rule("preserve_thinking") == "true or false"


def test_bare_numbers_are_text_only_where_text_is_meant():
    annotation = {key: field.annotation for key, (_, field) in fields().items()}
    assert takes_text(annotation["run_name"])
    assert takes_text(annotation["output_dir"])
    assert takes_text(annotation["dataset"])
    assert not takes_text(annotation["lora_rank"])
    assert not takes_text(annotation["eval_strategy"])


def test_choices_are_found_inside_optional_kinds():
    field = fields()["metric_for_best_model"][1]
    assert choices_of(field.annotation) == ("eval_loss", "eval_accuracy", *GENERATED)


def test_values_are_shown_as_yaml_would_write_them():
    assert shown("8") == '"8" (text)'
    assert shown("fast") == "fast"
    assert shown(True) == "true"
    assert shown(["a"]) == '["a"]'
    assert shown(Path("a")) == repr(Path("a"))
