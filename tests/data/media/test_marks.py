"""Placeholders become one private character each, which says which medium."""

from tunesmith.data.media.marks import MARK, mark, marked, number_of
from tunesmith.types import Conversation, Media, Message


def test_each_placeholder_becomes_the_mark_of_its_medium():
    media = (Media("image", "a"), Media("image", "b"), Media("video", "c"))
    turns = (
        Message("user", "<image>x<video>"),
        Message("observation", "", results=("<image>", "<audio>")),
        Message("assistant", "y"),
    )
    found = marked(Conversation(turns, media=media)).messages
    assert found[0].content == f"{mark(0)}x{mark(2)}"
    assert found[1].results == (mark(1), "<audio>")
    assert [number_of(one) for one in MARK.findall(found[0].content)] == [0, 2]


def test_a_conversation_without_media_keeps_its_text():
    said = Conversation((Message("user", "<image>"),))
    assert marked(said) is said
