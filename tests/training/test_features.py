"""A run with kept features learns what it learns without, and never from those of another thing."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from seeing_run import PROJECTOR, STAGE_1, StopAfter, changed, rows, seeing_run, weights
from tiny_run import tiny_run, train
from tiny_vlm import picture, tiny_vlm
from tunesmith import store
from tunesmith.data.media import features as kept
from tunesmith.errors import ConfigError, StoreError
from tunesmith.training.memory import solve
from tunesmith.training.report import Silent

CACHED = {**STAGE_1, "cache_vision_features": True}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr("tunesmith.training.features._root", lambda: tmp_path / "features")


class Saying(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    @property
    def of_features(self):
        """What is said of features."""
        return [line for line in self.lines if line.startswith("vision features")]


def shards(tmp_path):
    """Directories of all shards."""
    return sorted((tmp_path / "features").glob("*/0*"))


def test_with_and_without_are_equal_to_the_last_bit_picture_by_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(solve.MICRO_BATCH_TOKENS, "cpu", 1)
    path = seeing_run(tmp_path, **STAGE_1)
    plain = train(path, output_dir=str(tmp_path / "plain"))
    cached = train(path, cache_vision_features=True)
    assert cached.metrics["train_loss"] == plain.metrics["train_loss"]
    assert not changed(weights(tmp_path / "plain"), weights(tmp_path / "out"))


def test_with_and_without_differ_by_rounding_where_pictures_share_batches(tmp_path):
    path = seeing_run(tmp_path, val_size=2, **STAGE_1)
    plain = train(path, output_dir=str(tmp_path / "plain"))
    cached = train(path, cache_vision_features=True)
    for name in ("train_loss", "eval_loss"):
        assert cached.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-5)
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "out")
    assert changed(one, other) <= PROJECTOR
    for name in PROJECTOR:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=2e-5)


def test_the_second_run_makes_nothing_and_learns_the_same_bits(tmp_path):
    path, first, second = seeing_run(tmp_path, **CACHED), Saying(), Saying()
    result = train(path, first)
    assert "8 pictures to compute" in first.of_features[0]
    assert any("of 8 pictures is kept in" in note for note in result.plan.notes)
    before = {path: path.stat().st_mtime_ns for path in shards(tmp_path)}
    train(path, second, output_dir=str(tmp_path / "again"), learning_rate=1e-2)
    assert len(second.of_features) == 1
    assert "8 pictures found" in second.of_features[0]
    assert {path: path.stat().st_mtime_ns for path in shards(tmp_path)} == before
    assert not changed(weights(tmp_path / "again"), weights(tmp_path / "out"))


@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_second_stage_finds_what_the_first_has_left(tmp_path, bf16):
    path, said = seeing_run(tmp_path, max_steps=3, bf16=bf16, **CACHED), Saying()
    train(path, output_dir=str(tmp_path / "stage1"))
    tuned = {"model_name_or_path": str(tmp_path / "stage1"), "freeze_language_model": False}
    train(path, said, **tuned)
    assert "8 pictures found" in said.of_features[0]


def test_the_tower_computes_once_for_each_picture(tmp_path, monkeypatch):
    from transformers import CLIPVisionModel

    calls, own = [], CLIPVisionModel.forward

    def counted(self, pixel_values, *args, **kwargs):
        if pixel_values.device.type != "meta":
            calls.append(len(pixel_values))
        return own(self, pixel_values, *args, **kwargs)

    monkeypatch.setattr(CLIPVisionModel, "forward", counted)
    train(seeing_run(tmp_path, num_train_epochs=3, **CACHED))
    assert calls == [1] * 8


def test_rows_that_a_short_run_never_comes_to_are_not_made(tmp_path):
    said = Saying()
    train(seeing_run(tmp_path, max_steps=1, **CACHED), said)
    assert any(f"{n} pictures to compute" in said.of_features[0] for n in (2, 3))


def test_resumed_is_straight(tmp_path):
    path = seeing_run(tmp_path, **CACHED)
    train(path, output_dir=str(tmp_path / "straight"))
    for shard in shards(tmp_path):
        store.remove(shard)
    stop = StopAfter(4)
    assert train(path, stop, stop).status == "stopped"
    assert train(path).status == "trained"
    assert not changed(weights(tmp_path / "straight"), weights(tmp_path / "out"))


def test_another_picture_of_the_same_name_is_another_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(solve.MICRO_BATCH_TOKENS, "cpu", 1)
    path, said = seeing_run(tmp_path, **CACHED), Saying()
    train(path, output_dir=str(tmp_path / "first"))
    stat = (tmp_path / "3.png").stat()
    data = rows(tmp_path)
    picture(tmp_path / "3.png", (43, 30), seed=99)
    os.utime(tmp_path / "3.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path = seeing_run(tmp_path, data=data, **CACHED)
    picture(tmp_path / "3.png", (43, 30), seed=99)
    train(path, said, output_dir=str(tmp_path / "second"))
    assert ": 1 picture to compute" in said.of_features[0]
    train(path, cache_vision_features=False)
    assert not changed(weights(tmp_path / "second"), weights(tmp_path / "out"))
    assert changed(weights(tmp_path / "first"), weights(tmp_path / "out"))


def directories(tmp_path):
    """Names of the towers that have features."""
    return {path.parent.name for path in shards(tmp_path)}


@pytest.mark.slow
def test_whatever_changes_what_a_tower_makes_has_features_of_its_own(tmp_path):
    path = seeing_run(tmp_path, max_steps=1, **CACHED)
    train(path)
    seen = directories(tmp_path)
    train(path, output_dir=str(tmp_path / "text"), learning_rate=1e-4, num_train_epochs=1)
    assert directories(tmp_path) == seen  # nothing that the tower sees
    file = tmp_path / "llava" / "model.safetensors"
    tensors = load_file(file)
    name = next(n for n in tensors if "vision_tower" in n and n.endswith("layers.0.mlp.fc1.bias"))
    tensors[name][0] += 1e-3
    save_file(tensors, file, {"format": "pt"})
    for number, keys in enumerate(({}, {"image_max_pixels": 100}, {"bf16": True})):
        train(path, output_dir=str(tmp_path / f"other{number}"), **keys)
        assert len(directories(tmp_path)) == len(seen) + number + 1


@pytest.mark.parametrize("noticed", [True, False])
def test_damaged_features_are_made_again(tmp_path, noticed):
    path, said = seeing_run(tmp_path, **CACHED), Saying()
    train(path, output_dir=str(tmp_path / "whole"))
    (shard,) = shards(tmp_path)
    file = shard / "features.bin"
    stat, raw = file.stat(), bytearray(file.read_bytes())
    raw[100] ^= 255
    with file.open("r+b") as opened:
        opened.write(raw)
    if not noticed:  # the medium has failed silently
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = train(path, said)
    assert any("damaged" in note for note in result.notes) == (not noticed)
    assert ("8 pictures to compute" in said.of_features[0]) == noticed
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "out"))
    train(path, said, output_dir=str(tmp_path / "third"))
    assert ("found in" in said.of_features[-1]) == noticed
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "third"))


def test_a_disk_without_room_is_one_error_before_anything_is_written(tmp_path, monkeypatch):
    path = seeing_run(tmp_path, **CACHED)
    real = store.space.free_bytes

    def free(place):
        return 100 if "features" in str(place) else real(place)

    monkeypatch.setattr(store.space, "free_bytes", free)
    with pytest.raises(StoreError, match="features") as told:
        train(path)
    assert told.value.got == "100 bytes free"
    assert not shards(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_tower_that_learns_is_refused_by_name(tmp_path):
    path = seeing_run(tmp_path, **CACHED)
    with pytest.raises(ConfigError, match="cache_vision_features") as told:
        train(path, freeze_vision_tower=False)
    assert "vision_tower" in str(told.value.got)
    assert "which learns" in str(told.value.got)
    path = seeing_run(tmp_path, cache_vision_features=True, lora_target="q_proj")
    with pytest.raises(ConfigError, match="which learns"):
        train(path, freeze_vision_tower=False)
    assert not (tmp_path / "out").exists()


def test_adapters_on_the_text_model_learn_over_kept_features(tmp_path):
    keys = {"lora_target": "q_proj,v_proj", "max_steps": 2}
    train(seeing_run(tmp_path, **keys), output_dir=str(tmp_path / "plain"))
    train(seeing_run(tmp_path, cache_vision_features=True, **keys))
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "out")
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=2e-5)
    assert shards(tmp_path)


def test_families_whose_pictures_do_not_stand_alone_are_refused(tmp_path):
    model = tiny_vlm(tmp_path, "mllama")
    with pytest.raises(ConfigError, match="cache_vision_features") as told:
        train(seeing_run(tmp_path, model=model, **CACHED))
    assert "mllama" in str(told.value.got)
    assert "llava" in told.value.need


def test_without_pictures_there_is_a_note(tmp_path):
    result = train(tiny_run(tmp_path, max_steps=1, cache_vision_features=True))
    assert any("no row has a picture" in note for note in result.plan.notes)
    assert not shards(tmp_path)


def test_a_run_does_not_forget_what_it_is_about_to_use(tmp_path):
    path, said = seeing_run(tmp_path, max_steps=1, **CACHED), Saying()
    train(path)
    (shard,) = shards(tmp_path)
    os.utime(shard.parent, (1e9, 1e9))
    train(path, said, output_dir=str(tmp_path / "more"), max_steps=3)
    assert "where " in said.of_features[0]


@pytest.mark.slow
def test_two_runs_at_once_make_each_picture_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    path = seeing_run(tmp_path, **CACHED)
    command = [sys.executable, "-m", "tunesmith", "train", str(path)]
    both = [
        subprocess.Popen([*command, f"output_dir={tmp_path / name}"], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for name in "ab"
    ]  # fmt: skip
    said = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sum("8 pictures to compute" in text for text in said) == 1
    assert not changed(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_run_that_was_stopped_while_making_goes_on(tmp_path, monkeypatch):
    from tunesmith.data.media.family import Family

    monkeypatch.setattr(kept, "SHARD_PICTURES", 2)
    path, said, own = seeing_run(tmp_path, **CACHED), Saying(), Family.inputs
    train(path, output_dir=str(tmp_path / "whole"))
    for shard in shards(tmp_path):
        store.remove(shard)
    monkeypatch.setattr("tunesmith.training.features._MEASURED", 1)
    opened = []

    def failing(self, media):
        opened.append(media)
        if len(opened) == 2 + 6:  # two were looked at by the plan
            raise KeyboardInterrupt
        return own(self, media)

    monkeypatch.setattr("tunesmith.training.features._LOOKED_AT", 2)
    monkeypatch.setattr(Family, "inputs", failing)
    with pytest.raises(KeyboardInterrupt):
        train(path)
    monkeypatch.setattr(Family, "inputs", own)
    found = len(shards(tmp_path))
    assert 0 < found < 4
    train(path, said)
    assert f"{8 - 2 * found} pictures to compute" in said.of_features[0]
    assert f"where {2 * found} are" in said.of_features[0]
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "out"))
