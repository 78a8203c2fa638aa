"""Reading, laying over, writing: what a run file may look like and what it must not."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.config.load import dump, flat, load, require
from tunesmith.config.run import Run, fields
from tunesmith.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "run_files"


def write(tmp_path, text, name="run.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf8")
    return path


def problem_of(path):
    try:
        load(path)
    except ConfigError as error:
        return error
    return None


def test_command_line_is_laid_over_the_file(tmp_path):
    path = write(tmp_path, "learning_rate: 1e-4\nlora_rank: 4\nseed: 3\n")
    run = load(path, ["lora_rank=16", "dataset=[a, b]", "learning_rate=2e-5", "--seed=null"])
    assert run.train.learning_rate == 2e-5
    assert run.method.lora_rank == 16
    assert run.dataset.dataset == ("a", "b")
    assert run.train.seed == 42
    assert run.where("lora_rank") == "command line: lora_rank"


def test_every_key_has_a_place(tmp_path):
    path = write(tmp_path, "stage: sft\n\nlora_rank: 4\n")
    run = load(path)
    assert run.where("lora_rank") == f"{path}:3: lora_rank"
    assert run.where("seed") == f"{path}: seed"
    assert load(None, {"seed": 1}).where("seed") == "argument: seed"
    assert load(None).where("seed") == "seed"


def test_a_file_and_python_values_go_together(tmp_path):
    path = write(tmp_path, "lora_rank: 4\n")
    run = load(str(path), {"output_dir": tmp_path, "dataset": ("a",), "run_name": None})
    assert run.output.output_dir == tmp_path
    assert run.asked == {
        "lora_rank": 4,
        "output_dir": str(tmp_path),
        "dataset": ["a"],
        "run_name": None,
    }
    assert run.path == path


def test_numbers_are_text_where_text_is_meant(tmp_path):
    run = load(write(tmp_path, "run_name: 007\noutput_dir: 2024\ndataset: 12\nseed: 007\n"))
    assert run.output.run_name == "007"
    assert run.output.output_dir == Path("2024")
    assert run.dataset.dataset == ("12",)
    assert run.train.seed == 7
    assert load(None, ["run_name=1e5"]).output.run_name == "1e5"


def test_json_with_a_schema_line_is_a_run_file():
    run = load(GOLDEN / "lora_sft.json")
    assert run.dataset.default_system == "你好 😀"
    assert run.where("stage").endswith("lora_sft.json:4: stage")


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes("\ufefflora_rank: 4\r\nrun_name: ü\r\n".encode())
    run = load(path)
    assert (run.method.lora_rank, run.output.run_name) == (4, "ü")


def test_what_is_dumped_loads_to_an_equal_run(tmp_path):
    for path in sorted(GOLDEN.glob("*")):
        if f"{path.name}\tloads" in (GOLDEN / "outcomes.tsv").read_text():
            run = load(path, ["hf_hub_token=hf_secret"])
            text = dump(run)
            again = load(write(tmp_path, text, "again.yaml"))
            assert again == run
            assert dump(again) == text
            assert "hf_" not in text


def test_flat_has_every_key_of_the_method_resolved():
    values = flat(Run())
    assert values["lora_alpha"] == 16
    assert values["dataset_dir"] == "data"
    own = {key for key, (section, _) in fields().items() if section != "method"}
    lora = set(type(Run().method).model_fields)
    assert set(values) == (own | lora) - {"hf_hub_token", "ms_hub_token"}
    with_global = flat(load(None, {"global_batch_size": 4}))
    assert with_global["per_device_train_batch_size"] is None


def test_a_verb_names_what_it_needs(tmp_path):
    path = write(tmp_path, "stage: sft\noutput_dir: out\n")
    with pytest.raises(ConfigError) as caught:
        require(load(path), "output_dir", "dataset")
    assert caught.value.where == f"{path}: dataset"
    assert "Data sets to train on" in caught.value.need
    require(load(path, ["dataset=a"]), "output_dir", "dataset")


@pytest.mark.parametrize("text", ["lora_rank", "=3", "lora_rank:3"])
def test_an_override_without_a_key_or_value_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        load(None, [text])
    assert caught.value.need == "key=value"


def test_a_directory_is_not_a_run_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.got == "a directory"


def test_files_that_cannot_be_read_are_named(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"stage: sft\nrun_name: \xfc\n")
    cases = {
        tmp_path / "none.yaml": ("none.yaml", "there is no such file"),
        tmp_path: ("", "a run file"),
        latin: ("latin.yaml:2", "UTF-8"),
        write(tmp_path, "", "empty.yaml"): ("empty.yaml", "at least one"),
        write(tmp_path, "[1]", "list.yaml"): ("list.yaml", "lines"),
        write(tmp_path, "a: [", "cut.yaml"): ("cut.yaml:1:5", "valid YAML"),
        write(tmp_path, '{"stage": ', "cut.json"): ("cut.json:1:11", "valid YAML"),
        latin / "below": ("latin.yaml/below", "read"),
    }
    for path, (where, need) in cases.items():
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.where == str(tmp_path / where)
        assert need in caught.value.need


def test_a_run_file_that_is_not_there_gets_one_that_is(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "rum.yaml")
    assert caught.value.hint == "tunesmith init writes one"
    there = write(tmp_path, "stage: sft", "run.yaml")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "rum.yaml")
    assert caught.value.hint == str(there)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(tmp_path):
    path = write(tmp_path, "stage: sft\n")
    path.chmod(0)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load(path)


def test_damaged_files_load_or_give_one_error(tmp_path):
    """300 mutations of real files: never another exception, never without a place."""
    dice = random.Random(2)
    texts = [path.read_bytes() for path in sorted(GOLDEN.glob("*.yaml"))]
    path = tmp_path / "run.yaml"
    for _ in range(300):
        text = bytearray(dice.choice(texts))
        for _ in range(dice.randint(1, 4)):
            at, junk = (
                dice.randrange(len(text)),
                bytes(dice.choices(b"[]{}:#&*!|>'\"%@`\n\t -1e\xff", k=3)),
            )
            kind = dice.randrange(3)
            text[at : at + (3 if kind == 0 else dice.randrange(40) if kind == 1 else 0)] = junk
        path.write_bytes(bytes(text))
        error = problem_of(path)
        assert error is None or (str(path) in error.where and error.need)


def test_importing_and_loading_brings_no_heavy_library():
    program = f"""
import pkgutil, sys
import tunesmith.config
for module in pkgutil.iter_modules(tunesmith.config.__path__):
    __import__("tunesmith.config." + module.name)
from tunesmith.config.load import load
load({str(GOLDEN / "lora_sft.yaml")!r})
heavy = {{"torch", "transformers", "numpy", "tokenizers", "huggingface_hub"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_argument_that_is_no_utf8_is_refused_with_its_bytes():
    with pytest.raises(ConfigError) as refused:
        load(None, [os.fsdecode(b"output_dir=\xff")])
    assert refused.value.got == b"output_dir=\xff"


@pytest.mark.parametrize("text", ["name: a\nroles: {}\n", "like: chatml\n", "sep_style: TWO\n"])
def test_a_template_file_is_told_from_a_run_file(tmp_path, text):
    error = problem_of(write(tmp_path, text, "lantern.yaml"))
    assert error.got == "a template file"
    assert "tunesmith template show" in error.hint
    both = write(tmp_path, f"model_name_or_path: m\n{text}")
    assert problem_of(both).got != "a template file"
