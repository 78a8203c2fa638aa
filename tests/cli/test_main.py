"""The command: verbs, help, exit codes; what it prints when something is wrong."""

import json
import re
import subprocess
import sys

import pytest

from tiny_run import tiny_run
from tunesmith.cli.main import VERBS, main


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^  {verb}\b", text, re.MULTILINE) for verb in VERBS)


def test_the_version_is_text_or_json(capsys):
    import tunesmith

    assert main(["version"]) == 0
    assert main(["version", "--json"]) == 0
    text, record = capsys.readouterr().out.splitlines()
    assert tunesmith.__version__ in text
    assert json.loads(record) == {"tunesmith": tunesmith.__version__}


def test_no_argument_is_help(capsys):
    assert main([]) == 0
    assert "usage: tunesmith" in capsys.readouterr().out


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"version"}))
def test_every_verb_has_its_own_help(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_an_unknown_verb_exits_2_and_names_ours(capsys):
    assert main(["trian", "run.yaml"]) == 2
    error = capsys.readouterr().err
    assert "tunesmith train" in error
    assert all(verb in error for verb in VERBS)


def test_nothing_heavy_is_imported_for_help_and_for_mistakes():
    code = (
        "import sys\nfrom tunesmith.cli.main import main\n"
        "main(['--help'])\nmain(['plan', 'missing.yaml'])\nmain(['version'])\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_python_package_offers_the_verbs_without_torch():
    code = (
        "import sys, tunesmith\nassert callable(tunesmith.train) and callable(tunesmith.plan)\n"
        "assert not {'torch', 'transformers', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["train"], ["plan", "seed=1"], ["chat", "--json"]])
def test_a_verb_without_its_target_says_what_it_takes(arguments, capsys):
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert "a run file, a run directory or a model directory" in out + error
    assert "key=value" not in out + error


MISTAKES = {
    "unknown key": ({"lora_rnak": 8}, "lora_rank"),
    "wrong type": ({"learning_rate": "fast"}, "learning_rate"),
    "contradiction": ({"finetuning_type": "full"}, "lora_rank"),
    "both precisions": ({"bf16": True, "fp16": True}, "fp16"),
    "missing dataset": ({"dataset": "tinny"}, "tiny"),
    "missing dataset_dir": ({"dataset_dir": "nowhere"}, "dataset_info.json"),
    "missing model": ({"model_name_or_path": "./nowhere"}, "nowhere"),
    "unknown template": ({"template": "chatmll"}, "chatml"),
    "unknown scheduler": ({"lr_scheduler_type": "cosin"}, "cosine"),
    "unknown optimizer": ({"optim": "adamx"}, "adamw"),
    "target that matches nothing": ({"lora_target": "q_prj"}, "q_proj"),
    "cutoff too small": ({"cutoff_len": 4}, "cutoff_len"),
    "nothing to watch": ({"early_stopping_steps": 3}, "val_size"),
    "all rows held out": ({"val_size": 400}, "val_size"),
    "a stage of later": ({"stage": "dpo"}, "dpo"),
    "a key of later": ({"fp8": True}, "fp8"),
    "4 bits of weights that learn": (
        {"quantization_bit": 4, "finetuning_type": "full", "lora_rank": None},
        "quantization_bit",
    ),
    "a tracker that is not installed": ({"report_to": "swanlab"}, "pip install"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_error_and_nothing_is_written(name, tmp_path, capsys, monkeypatch):
    keys, word = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    path = tiny_run(tmp_path, **keys)
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", str(path)]) == 2
    out, error = capsys.readouterr()
    assert error.startswith("error: ")
    assert word in error
    assert "Traceback" not in out + error
    assert sorted(p for p in tmp_path.rglob("*") if ".lock" not in p.name) == before


FILES = {
    "cut off": ('[{"instruction": "a", "output": "b"', "tiny.json:1"),
    "duplicate key": ('[{"instruction": "a", "instruction": "b", "output": "c"}]', "instruction"),
    "NaN": ('[{"instruction": "a", "output": NaN}]', "NaN"),
    "missing column": ('[{"instruction": "a", "output": "b"},\n{"instruction": "a"}]', ":2"),
    "empty answer": ('[{"instruction": "a", "output": ""}]', "output"),
    "a number": ('[{"instruction": "a", "output": 3}]', "output"),
    "no rows": ("[]", "no rows"),
    "not JSON": ("instruction: a", "tiny.json:1"),
    "git-lfs pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
}


@pytest.mark.parametrize("name", FILES)
def test_data_that_cannot_be_used_name_their_place(name, tmp_path, capsys):
    text, word = FILES[name]
    path = tiny_run(tmp_path)
    (tmp_path / "data" / "tiny.json").write_text(text)
    assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err
    assert "tiny.json" in error
    assert word in error
    assert not (tmp_path / "out").exists()


def test_another_encoding_is_named_with_its_byte(tmp_path, capsys):
    path = tiny_run(tmp_path)
    (tmp_path / "data" / "tiny.json").write_bytes(b'[{"instruction": "caf\xe9", "output": "b"}]')
    assert main(["plan", str(path)]) == 2
    assert "byte 21" in capsys.readouterr().err


def test_an_error_as_json_is_json_only(tmp_path, capsys):
    path = tiny_run(tmp_path, lora_rnak=8)
    assert main(["train", str(path), "--json"]) == 2
    out, error = capsys.readouterr()
    assert json.loads(out)["need"]
    assert error == ""


def test_a_model_directory_without_a_tokenizer_is_refused(tmp_path, capsys):
    path = tiny_run(tmp_path, model={"tokenizer": False})
    assert main(["train", str(path)]) == 2
    assert "tokenizer" in capsys.readouterr().err


def test_a_full_disk_is_found_before_the_model_is_loaded(tmp_path, capsys, monkeypatch):
    from tunesmith import store
    from tunesmith.models import load

    class Full(type(store.disk.current)):
        def free(self, path):
            return 1000

    def never(*args, **keys):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(store.disk, "current", Full())
    monkeypatch.setattr(load, "load_model", never)
    assert main(["train", str(tiny_run(tmp_path))]) == 2
    assert "1000 bytes free" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_directory_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    path = tiny_run(tmp_path, output_dir=str(tmp_path / "file" / "out"))
    assert main(["train", str(path)]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_an_output_directory_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["train", str(tiny_run(tmp_path))]) == 2
    assert (tmp_path / "out").read_text() == "mine"
    assert str(tmp_path / "out") in capsys.readouterr().err
