"""Data keys: shares and counts, names, the empty system message."""

import pytest

from tunesmith.config.dataset import names_of
from tunesmith.config.load import dump, load
from tunesmith.errors import ConfigError


@pytest.mark.parametrize(("given", "value"), [("0.1", 0.1), ("200", 200), ("1", 1), ("0", 0)])
def test_val_size_is_a_share_or_a_number_of_rows(given, value):
    assert load(None, [f"val_size={given}"]).dataset.val_size == value


def test_one_point_zero_is_neither_share_nor_count():
    with pytest.raises(ConfigError) as caught:
        load(None, ["val_size=1.0"])
    assert "write 1 for one row" in caught.value.hint


def test_an_empty_system_message_differs_from_none():
    assert load(None, {"default_system": ""}).dataset.default_system == ""
    assert load(None).dataset.default_system is None
    assert load(None, ["default_system=You are: kind"]).dataset.default_system == "You are: kind"


INLINE = """
dataset:
  - alpaca_en_demo
  - ./rows.jsonl
  - file_name: a.json
    columns: {prompt: q, response: a}
eval_dataset: {hf_hub_url: own/held, split: test}
"""


def test_a_dataset_may_stand_inline_beside_names_and_paths(tmp_path):
    (tmp_path / "run.yaml").write_text(INLINE)
    run = load(tmp_path / "run.yaml")
    assert names_of(run.dataset.dataset) == ("alpaca_en_demo", "./rows.jsonl", "a.json")
    assert names_of(run.dataset.eval_dataset) == ("own/held",)
    (tmp_path / "again.yaml").write_text(dump(run))
    assert load(tmp_path / "again.yaml") == run
    assert run.asked["dataset"][2] == {
        "file_name": "a.json",
        "columns": {"prompt": "q", "response": "a"},
    }


def test_an_entry_may_be_given_on_the_command_line():
    run = load(None, ["dataset={file_name: a.json, formatting: sharegpt}"])
    assert run.dataset.dataset == ({"file_name": "a.json", "formatting": "sharegpt"},)


@pytest.mark.parametrize(
    ("item", "hint"),
    [("file_nam: a", "file_name"), ("mine: {file_name: a}", "the keys of an entry: hf_hub_url")],
)
def test_a_key_that_no_entry_has_is_refused_with_its_line(tmp_path, item, hint):
    (tmp_path / "run.yaml").write_text(f"seed: 1\ndataset:\n- {{{item}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "run.yaml")
    assert caught.value.where == f"{tmp_path / 'run.yaml'}:2: dataset"
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    "given",
    ["interleave_probs=0.7, 0.3", "interleave_probs=[0.7, 0.3]", "interleave_probs=[.7,.3]"],
)
def test_probabilities_are_a_list_or_a_text_with_commas(tmp_path, given):
    run = load(None, ["dataset=a,b", "mix_strategy=interleave_over", given])
    assert run.dataset.interleave_probs == (0.7, 0.3)
    (tmp_path / "again.yaml").write_text(dump(run))
    assert load(tmp_path / "again.yaml") == run


@pytest.mark.parametrize("value", ["0.5,.nan", ".inf,1", "-1,2", "0,0", "a,b", "0.5,,0.5", "true"])
def test_what_is_no_probability_is_refused_with_an_example(value):
    with pytest.raises(ConfigError) as caught:
        load(None, ["dataset=a,b", "mix_strategy=interleave_over", f"interleave_probs={value}"])
    assert caught.value.where == "command line: interleave_probs"
    assert "shares of at least 0, one of them above 0" in caught.value.need
    assert caught.value.hint == "such as 0.7, 0.3"


def test_an_unknown_strategy_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        load(None, ["mix_strategy=interleave_ovr"])
    assert caught.value.hint == "interleave_over"
