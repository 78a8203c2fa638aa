"""One row for every key that a run file may bring along, and what becomes of it."""

import ast
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path

import pytest

from tunesmith.config.deviations import DEVIATIONS
from tunesmith.config.foreign import judge_value, nearest, table
from tunesmith.config.load import load
from tunesmith.config.optimizers import SHORT
from tunesmith.config.rule import choices_of
from tunesmith.config.run import Run, fields
from tunesmith.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden"
KEYS = {key: row for key, row in table().items() if row.origin != "value"}
OUTCOMES = [
    line.split("\t")
    for line in (GOLDEN / "run_files" / "outcomes.tsv").read_text().splitlines()[1:]
]


def installed_arguments():
    """Fields of transformers' argument classes with their defaults as source, unimported."""
    home = importlib.util.find_spec("transformers").submodule_search_locations[0]
    found = {}
    for name in ("training_args.py", "training_args_seq2seq.py"):
        for node in ast.parse((Path(home) / name).read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("TrainingArguments"):
                fields_of = [n for n in node.body if isinstance(n, ast.AnnAssign)]
                found |= {n.target.id: n.value for n in fields_of}
    return {key: value for key, value in found.items() if not key.startswith("_")}


def other_value(row):
    """A value that is not the default of the row."""
    if isinstance(row.default, bool):
        return not row.default
    if isinstance(row.default, int | float):
        return row.default + 1
    return "something"


def test_every_argument_of_llamafactory_has_a_row_with_its_default():
    lines = (GOLDEN / "llamafactory_arguments.tsv").read_text().splitlines()[1:]
    assert len(lines) == 275
    for line in lines:
        key, default = line.split("\t")
        assert table()[key].default == json.loads(default), key


def test_every_argument_of_the_installed_transformers_has_a_row():
    arguments = installed_arguments()
    assert len(arguments) > 100
    assert set(arguments) <= set(KEYS)
    if not importlib.metadata.version("transformers").startswith("5.23."):
        pytest.skip("defaults are those of transformers 5.23")
    checked = 0
    for key, source in arguments.items():
        default = [k.value for k in getattr(source, "keywords", ()) if k.arg == "default"]
        value = default[0] if default else source
        if KEYS[key].origin == "transformers" and isinstance(value, ast.Constant | ast.UnaryOp):
            assert KEYS[key].default == ast.literal_eval(value), key
            checked += 1
    assert checked > 80


def test_the_reference_listing_agrees_where_it_is_at_hand():
    listing = Path(__file__).parents[3] / "shared" / "reference" / "llamafactory.md"
    if not listing.exists():
        pytest.skip("the reference listing is not beside the checkout")
    appendix = listing.read_text(encoding="utf8").split("## Appendix A")[1]
    keys = set(re.findall(r"^\| `(\w+)`(?: \(derived\))? \|", appendix, re.MULTILINE))
    assert keys - set(KEYS) == set()


def test_the_rows_that_work_are_exactly_our_keys():
    assert {key for key, row in KEYS.items() if row.outcome == "works"} == set(fields())


def test_every_row_says_what_to_do():
    for key, row in table().items():
        assert row.outcome in ("works", "note", "refused", "later"), key
        assert bool(row.text) == (row.outcome != "works"), key
        assert (" | " in row.text) == (row.outcome == "later"), key
        if row.origin == "value":
            assert key.partition("=")[0] in fields()


def test_every_key_and_word_that_a_text_names_is_one_of_ours():
    words = {word for _, field in fields().values() for word in choices_of(field.annotation)}
    for key, row in table().items():
        named = re.findall(
            r"[a-z]+(?:_[a-z0-9]+)+", re.sub("dataset_info.json|gguf-q4_k_m", "", row.text)
        )
        assert set(named) <= {*fields(), *words, *SHORT}, key


def test_null_and_the_default_of_the_origin_are_never_an_error():
    for key, row in KEYS.items():
        if key != "enable_thinking":  # whose null says something
            assert load(None, {key: None}) == Run(), key
        run = load(None, {key: row.default})
        assert len(run.notes) <= 1
        if row.outcome != "works":
            assert run == Run(), key
            assert run.notes[0].startswith(f"argument: {key} ")


def test_another_value_gets_what_its_row_says():
    for key, row in KEYS.items():
        if row.outcome == "works":
            continue
        asked = {key: other_value(row)}
        if row.outcome == "note":
            run = load(None, asked)
            assert run == Run()
            assert row.text in run.notes[0]
            continue
        with pytest.raises(ConfigError) as caught:
            load(None, asked)
        assert caught.value.where == f"argument: {key}"
        assert f"`{key}`" in caught.value.got
        assert (" yet: " in caught.value.got) == (row.outcome == "later")
        assert caught.value.hint == row.text.split(" | ")[-1]


def test_a_default_is_recognised_by_its_meaning_and_not_by_chance():
    assert load(None, {"use_unsloth": "no"}) == Run()
    assert load(None, {"deepspeed": ""}) == Run()
    for key, value in {"use_unsloth": "yes", "num_beams": True, "ppo_epochs": False}.items():
        with pytest.raises(ConfigError):
            load(None, {key: value})


def test_defaults_are_those_of_the_origin_or_listed_as_differing():
    listed = {deviation.key for deviation in DEVIATIONS}
    for key, row in KEYS.items():
        if row.outcome == "works" and row.origin != "tunesmith" and key not in listed:
            assert load(None, {key: row.default}) == Run(), key


def test_values_of_other_tools_are_told_from_nonsense():
    for key, row in table().items():
        if row.origin != "value":
            continue
        ours, value = key.split("=")
        error = judge_value(ours, value, "x")
        with pytest.raises(ConfigError) as caught:
            load(None, {ours: value})
        assert str(error).split("\n")[1:] == str(caught.value).split("\n")[1:]
        assert caught.value.hint == row.text.split(" | ")[-1]
    assert judge_value("stage", "nonsense", "x") is None
    assert judge_value("report_to", ["wandb", "all"], "x") is not None
    error = judge_value("export_format", "merged, GPTQ", "x")
    assert error is not None
    assert "gguf-q4_k_m or bnb-4bit" in error.hint


def test_the_nearest_key_is_found_despite_dashes_and_capitals():
    assert nearest("Learning-Rate") == "learning_rate"
    assert nearest("lora_rnk") == "lora_rank"
    assert nearest("zzzz") is None


@pytest.mark.parametrize(("name", "outcome", "keys"), OUTCOMES)
def test_real_run_files_have_the_outcome_that_is_on_record(name, outcome, keys):
    path = GOLDEN / "run_files" / name
    if outcome == "loads":
        notes = load(path).notes
        assert [re.match(r".*?:\d+: (\w+) ", note)[1] for note in notes] == keys.split()
        return
    with pytest.raises(ConfigError) as caught:
        load(path)
    error = caught.value
    assert re.fullmatch(rf"{re.escape(str(path))}:\d+: {keys}", error.where)
    words = {"later": " yet: ", "refused": "Tunesmith does not have", "error": "belongs to"}
    assert words[outcome] in f"{error.got} {error.need}"
    assert "does not have" not in error.need
    assert error.hint


def test_every_run_file_is_on_record():
    files = {path.name for path in (GOLDEN / "run_files").iterdir()} - {"outcomes.tsv"}
    assert {name for name, *_ in OUTCOMES} == files
    assert len(files) >= 20
