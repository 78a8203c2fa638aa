"""MiniCPM-V, as stock transformers has it."""

import json
from types import SimpleNamespace

import pytest
import torch

from like_stock import LIMITS, check, made, moving, stock_inputs
from seeing_run import rows, seeing_run, weights
from tiny_tokenizer import load_tiny
from tiny_vlm import picture, tiny_vlm
from tunesmith.cli.main import main
from tunesmith.data.media.families import family_of
from tunesmith.data.media.marks import marked
from tunesmith.data.media.render import Seeing
from tunesmith.data.tokenize import encode
from tunesmith.errors import ModelError
from tunesmith.templates import choose
from tunesmith.types import Conversation, Media, Message

KINDS = ["minicpmv4_6", "minicpmv4_7"]
numpy = pytest.mark.filterwarnings("ignore:__array_wrap__")  # transformers' processor of videos


@moving
@numpy
@pytest.mark.parametrize("kind", [*KINDS, "minicpmv4_6, 4x"])
def test_like_stock(tmp_path, kind):
    check(tmp_path, kind)


@moving
@numpy
@pytest.mark.parametrize("kind", KINDS)
def test_the_pictures_of_a_conversation_are_numbered_as_the_processor_does(tmp_path, kind):
    _, model, checked, family = made(tmp_path, kind)
    sizes = [(40, 30), (20, 20), (90, 20)]
    paths = [str(picture(tmp_path / f"{i}.png", size)) for i, size in enumerate(sizes)]
    film = tuple(str(picture(tmp_path / f"f{i}.png", (48, 32), seed=i)) for i in range(3))
    media = (
        Media("image", paths[0]),
        Media("video", film),
        *(Media("image", p) for p in paths[1:]),
    )
    turns = [
        Message("user", "<image>Is <video>it?"), Message("assistant", "Yes."),
        Message("user", "And <image> or <image>?"), Message("assistant", "No."),
    ]  # fmt: skip
    row, template = Conversation(tuple(turns), media=media), choose("chatml", checked)
    (found,) = encode([marked(row)], Seeing(template, family), checked)
    text = "".join(span.text for span in template.render(row))
    for medium, slot in family.slots.items():
        text = text.replace(f"<{medium}>", slot.token)
    theirs = stock_inputs(family, text, row)
    assert found.ids.tolist() == theirs["input_ids"][0].tolist()
    numbers = [checked.backend.decode([i]) for i in found.ids if i in _digits(checked)]
    assert "".join(numbers) == {"minicpmv4_6": "0012", "minicpmv4_7": "012"}[kind]
    with torch.no_grad():  # as many places as features, or the model refuses
        model(**{name: value for name, value in theirs.items() if name != "attention_mask"})


def _digits(checked):
    return {checked.backend.token_to_id(digit) for digit in "012"}


@moving
@numpy
def test_a_run_learns_and_keeps_what_the_tower_made(tmp_path):
    model = tiny_vlm(tmp_path, "minicpmv4_7")
    path = seeing_run(
        tmp_path, model=model, data=rows(tmp_path, 4), finetuning_type="full", num_train_epochs=3,
        freeze_multi_modal_projector=False, cache_vision_features=True, learning_rate=3e-3,
    )  # fmt: skip
    assert main(["train", str(path)]) == 0
    log = (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in log if '"loss"' in line]
    assert losses[-1] < losses[0]
    before, after = weights(model), weights(tmp_path / "out")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("vision_tower" in name for name in moved)
    assert any("merger.mlp" in name for name in moved)
    assert any("language_model" in name for name in moved)


def test_a_processor_that_reads_the_pictures_first_is_refused():
    config = SimpleNamespace(model_type="minicpm_ocr")
    with pytest.raises(ModelError, match="minicpm_ocr") as caught:
        family_of(None, config, load_tiny().backend, LIMITS)
    assert "minicpmv4_6" in caught.value.hint
