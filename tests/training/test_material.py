"""Gathering counts what a run would train, and tells models apart, without their weights."""

import numpy as np
import pytest
import torch

from tiny_run import tiny_rows, tiny_run
from tiny_tokenizer import load_tiny
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, ModelError
from tunesmith.models import adapters
from tunesmith.models.load import load_model
from tunesmith.training.material import gather, make_trainable, pieces
from tunesmith.training.report import Silent
from tunesmith.types import Example, Origin


@pytest.mark.parametrize(
    "keys",
    [
        {}, {"lora_target": "q_proj,v_proj"}, {"use_dora": True}, {"pissa_init": True},
        {"lora_rank": 3, "use_rslora": True},
        {"additional_target": "lm_head"},
        {"finetuning_type": "full", "lora_rank": None},
        {"finetuning_type": "freeze", "lora_rank": None, "freeze_trainable_layers": -1},
    ],
)  # fmt: skip
def test_the_counts_are_those_of_the_loaded_model(tmp_path, keys):
    run = load(tiny_run(tmp_path, model={"tied": False}, **keys))
    material = gather(run, Silent())
    model = load_model(material.directory, dtype=torch.float32)
    make_trainable(run, model, ())
    trained = sum(p.numel() for p in adapters.trainable(model).values())
    assert material.trainable == trained
    assert material.parameters == sum(p.numel() for p in model.parameters())


def test_a_target_that_matches_nothing_is_found_before_weights_are_read(tmp_path):
    run = load(tiny_run(tmp_path, lora_target="nothing_proj"))
    with pytest.raises(ModelError, match="lora_target"):
        gather(run, Silent())


def test_a_layer_whose_adapter_would_learn_nothing_is_refused_before_weights_are_read(tmp_path):
    path = tiny_run(tmp_path, kind="mamba", lora_target="all")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"run\.yaml:\d+: lora_target") as caught:
        gather(load(path), Silent(), weights=False)
    assert caught.value.got == "dt_proj"
    assert caught.value.hint == "lora_target: in_proj,x_proj,out_proj"


def test_a_model_that_drops_by_itself_is_refused_before_weights_are_read(tmp_path):
    """Its draws come from history: stopped and gone on with, the run would be another one."""
    path = tiny_run(tmp_path, kind="gpt2", model={"resid_pdrop": 0.1}, finetuning_type="full",
                    lora_rank=None)  # fmt: skip
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        gather(load(path), Silent(), weights=False)
    assert "dropout of 0.1" in caught.value.got


def test_pieces_join_to_the_whole_and_mark_what_is_trained():
    tokenizer = load_tiny()
    ids = tokenizer.backend.encode(
        "<|im_start|>user one two three<|im_end|>", add_special_tokens=False
    ).ids
    trained = np.zeros(len(ids), dtype=bool)
    trained[2:4] = True
    example = Example(np.array(ids, dtype=np.int32), trained, Origin("d", "f", 1, 1))
    found = pieces(example, tokenizer)
    assert "".join(text for text, _ in found) == "<|im_start|>user one two three<|im_end|>"
    assert [flag for _, flag in found] == [False, True, False]


STOP = """\
name: mine
stop_words: ["<|stop|>"]
roles:
  user:      {open: "<|me|>", stop: "\\n"}
  assistant: {open: "<|you|>", stop: "<|stop|>"}
"""


def test_a_learned_end_that_is_no_token_is_refused_at_the_template(tmp_path):
    (tmp_path / "mine.yaml").write_text(STOP)
    path = tiny_run(tmp_path, template=str(tmp_path / "mine.yaml"))
    with pytest.raises(ConfigError) as caught:
        gather(load(path), Silent())
    assert "run.yaml:" in caught.value.where
    assert caught.value.where.endswith("template")
    assert "<|stop|>" in caught.value.got
    assert "resize_vocab" in caught.value.hint


def test_an_end_that_no_stop_word_names_is_held_to_the_same(tmp_path):
    (tmp_path / "mine.yaml").write_text(STOP.replace('stop_words: ["<|stop|>"]\n', ""))
    path = tiny_run(tmp_path, template=str(tmp_path / "mine.yaml"))
    with pytest.raises(ConfigError) as caught:
        gather(load(path), Silent())
    assert "<|stop|>" in caught.value.got
    added = gather(load(path, {"resize_vocab": True}), Silent())
    assert added.renderer.stop_words == ("<|im_end|>", "<|stop|>")
    assert added.tokenizer.id_of("<|stop|>") is not None


def test_a_template_that_learns_no_end_is_refused_at_the_template(tmp_path):
    (tmp_path / "mine.yaml").write_text(STOP.replace(', stop: "<|stop|>"', ""))
    path = tiny_run(tmp_path, template=str(tmp_path / "mine.yaml"))
    with pytest.raises(ConfigError) as caught:
        gather(load(path), Silent())
    assert caught.value.where.endswith("template")
    assert "talks on" in caught.value.need
    with (tmp_path / "mine.yaml").open("a") as file:
        file.write("open_ended: true\n")
    notes = gather(load(path), Silent()).tokenizer_notes
    assert any("talks on" in note for note in notes)


def test_a_control_string_that_splits_is_in_the_plan_with_its_consequence(tmp_path):
    text = STOP.replace("<|stop|>", "<|im_end|>")
    (tmp_path / "mine.yaml").write_text(text)
    path = tiny_run(tmp_path, template=str(tmp_path / "mine.yaml"))
    (note,) = gather(load(path), Silent()).tokenizer_notes
    assert "<|me|> (" in note
    assert "ordinary text" in note
    assert gather(load(tiny_run(tmp_path)), Silent()).tokenizer_notes == ()


def test_a_text_that_spells_a_token_without_a_row_is_refused_with_its_place(tmp_path):
    rows = [*tiny_rows(4), {"instruction": "a", "input": "", "output": "b </think> c"}]
    assert gather(load(tiny_run(tmp_path, rows=rows)), Silent())
    short = tmp_path / "short"
    short.mkdir()
    path = tiny_run(short, rows=rows, model={"vocab": 467})
    with pytest.raises(ModelError) as caught:
        gather(load(path), Silent())
    assert "row 5" in caught.value.where
    assert "</think> (id 467)" in caught.value.got
    path = tiny_run(short, rows=tiny_rows(4))
    assert gather(load(path), Silent()).data.train


@pytest.mark.parametrize("key", ["model_name_or_path", "dataset_dir", "dataset", "eval_dataset"])
def test_a_path_that_is_beside_the_run_file_but_not_here_says_where_to_go(
    key, tmp_path, monkeypatch
):
    places = {"model_name_or_path": "model", "dataset_dir": "data", "dataset": "./data/tiny.json"}
    place = places.get(key, {"file_name": "data/tiny.json", "formatting": "alpaca"})
    path = tiny_run(tmp_path, **{key: place})
    monkeypatch.chdir(tmp_path)
    assert gather(load("run.yaml"), Silent())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises((ConfigError, ModelError)) as caught:
        gather(load(path), Silent())
    assert caught.value.hint.startswith(f"cd {tmp_path}: paths are relative to the current dir")
    assert str(tmp_path / "elsewhere") in caught.value.hint
