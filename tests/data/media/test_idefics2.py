"""Idefics 2, as stock transformers has it."""

import pytest

from like_stock import check, made
from tiny_vlm import picture
from tunesmith.data.media.marks import marked
from tunesmith.data.media.render import Seeing
from tunesmith.templates import choose
from tunesmith.types import Conversation, Media, Message


def test_like_stock(tmp_path):
    check(tmp_path, "idefics2")


@pytest.mark.parametrize(
    "asked",
    [
        "<image>What is it?", "<image> What?", "<image>\nWhat?", "<image><image>What?", "A<image>",
        "<image> <image>", "<image><b>", "Is <image>like\n<image>?",
    ],
)  # fmt: skip
def test_what_stands_around_a_picture_is_what_the_processor_writes(tmp_path, asked):
    seen = made(tmp_path, "idefics2")
    media = tuple(
        Media("image", str(picture(tmp_path / f"{i}.png", seed=i)))
        for i in range(asked.count("<image>"))
    )
    row = Conversation((Message("user", asked), Message("assistant", "Yes.")), media=media)
    template = choose("chatml", seen.checked)
    ours = "".join(span.text for span in Seeing(template, seen.family).render(marked(row)))
    text = "".join(span.text for span in template.render(row))
    theirs = seen.family.process(text, {"image": [seen.family.open(one) for one in media]}, [])
    backend = seen.checked.backend
    assert backend.encode(ours, add_special_tokens=False).ids == theirs["input_ids"][0].tolist()


def test_the_marks_are_never_learned(tmp_path):
    seen = made(tmp_path, "idefics2")
    names = {seen.checked.backend.id_to_token(number) for number in seen.family.token_ids}
    assert names == {"<image>", "<fake_token_around_image>"}
