"""Runs whose rows have pictures: what was declared learns, however rows share batches."""

import json

import pytest
import torch
from safetensors.torch import load_file

from seeing_run import (
    FREEZES,
    PROJECTOR,
    STAGE_1,
    StopAfter,
    changed,
    rows,
    seeing_run,
    weights,
)
from tiny_model import tiny_model
from tiny_run import train
from tunesmith.errors import ConfigError, DataError
from tunesmith.models.load import load_model
from tunesmith.training.memory import solve


@pytest.mark.parametrize("part", ["vision_tower", "multi_modal_projector", "language_model"])
def test_exactly_the_declared_part_learns(tmp_path, part):
    from tunesmith.models.parts import parts

    freeze = {f"freeze_{one}": one != part for one in FREEZES}
    result = train(seeing_run(tmp_path, finetuning_type="full", **freeze))
    before, after = (load_model(tmp_path / name, dtype=torch.float32) for name in ("llava", "out"))
    of = parts(before)
    learned = changed(before.state_dict(), after.state_dict())
    assert {of(name) for name in learned} == {part}
    names = {name for name, _ in before.named_parameters() if of(name) == part}
    idle = {name for name in names if "encoder.layers.1" in name or "post_layernorm" in name}
    assert learned >= names - idle  # behind the layer that the projector looks at
    told = any("1 row without media" in note for note in result.plan.notes)
    assert told == (part != "language_model")


def test_adapters_fall_on_the_text_model_and_are_read_again(tmp_path):
    path = seeing_run(tmp_path, lora_target="q_proj,v_proj", save_steps=2)
    train(path)
    found = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert found
    assert all("language_model" in name for name in found)
    assert "vision_tower" not in json.dumps(list(found))
    peft = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert all("language_model" in name for name in peft["target_modules"])


def test_the_result_opens_in_stock_transformers(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    train(seeing_run(tmp_path, **STAGE_1))
    out = tmp_path / "out"
    model, told = AutoModelForImageTextToText.from_pretrained(out, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    processor = AutoProcessor.from_pretrained(out)
    theirs = (tmp_path / "llava" / "processor_config.json").read_bytes()
    assert (out / "processor_config.json").read_bytes() == theirs
    assert processor.image_token == "<image>"


@pytest.mark.parametrize("tokens", [1, 64])
def test_how_rows_share_batches_does_not_change_what_is_learned(tmp_path, tokens, monkeypatch):
    train(seeing_run(tmp_path / "a", **STAGE_1))
    monkeypatch.setitem(solve.MICRO_BATCH_TOKENS, "cpu", tokens)
    train(seeing_run(tmp_path / "b", **STAGE_1))
    one, other = (weights(tmp_path / name / "out") for name in "ab")
    for name in PROJECTOR:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("at", [1, 4])
def test_resumed_is_straight(tmp_path, at):
    path = seeing_run(tmp_path, **STAGE_1)
    train(path, output_dir=str(tmp_path / "straight"))
    stop = StopAfter(at)
    assert train(path, stop, stop).status == "stopped"
    assert train(path).status == "trained"
    assert not changed(weights(tmp_path / "straight"), weights(tmp_path / "out"))


def test_the_pictures_matter(tmp_path):
    train(seeing_run(tmp_path / "a", **STAGE_1))
    other = rows(tmp_path / "a")
    for row in other:
        row["images"] = ["0.png"] * len(row["images"])
    seeing_run(tmp_path / "b", **STAGE_1)
    train(seeing_run(tmp_path / "b", data=other, **STAGE_1))
    one, two = (weights(tmp_path / name / "out") for name in "ab")
    assert changed(one, two) == PROJECTOR


def test_bounds_of_pictures_are_part_of_what_is_learned(tmp_path):
    path = seeing_run(tmp_path, save_steps=1, **STAGE_1)
    first = train(path)
    again = train(path, output_dir=str(tmp_path / "small"), image_max_pixels=100)
    assert first.plan.identity != again.plan.identity


def test_a_picture_that_cannot_be_read_stops_the_run_with_its_path(tmp_path):
    path = seeing_run(tmp_path, **STAGE_1)
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"3\.png"):
        train(path)
    assert not (tmp_path / "out").exists()
    result = train(path, on_bad_row="skip")
    assert result.plan.train_examples == 8


def test_more_placeholders_than_pictures_is_a_row_error(tmp_path):
    data = rows(tmp_path)
    data[2]["messages"][0]["content"] += "<image>"
    with pytest.raises(DataError, match="2 <image> in the messages, 1 in images"):
        train(seeing_run(tmp_path, data=data))


def test_pictures_for_a_model_that_only_reads_are_refused(tmp_path):
    model = tiny_model(tmp_path)
    with pytest.raises(DataError, match="a model that takes them, or a dataset of text"):
        train(seeing_run(tmp_path, model=model))


def test_sharing_of_beginnings_is_refused_where_places_look_alike(tmp_path):
    with pytest.raises(ConfigError, match="places look alike"):
        train(seeing_run(tmp_path, prefix_sharing=True))
