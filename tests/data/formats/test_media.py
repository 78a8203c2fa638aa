"""Media are found and counted against their placeholders, and never opened."""

import os

import pytest

from tunesmith.data.entry import SHAREGPT_COLUMNS
from tunesmith.data.formats.media import Place, with_media
from tunesmith.data.ledger import RowError
from tunesmith.types import Conversation, Labelled, Media, Message, Preference

COLUMNS = SHAREGPT_COLUMNS._replace(images="pics", videos="clips", audios="sounds")


def said(*texts):
    roles = ("user", "assistant")
    return Conversation(tuple(Message(roles[i % 2], text) for i, text in enumerate(texts)))


@pytest.fixture
def place(tmp_path):
    for name in ("1.jpg", "2.jpg", "1.mp4", "1.wav"):
        (tmp_path / name).write_bytes(b"not a picture, and nobody looks")
    return Place(tmp_path)


def test_media_stand_beside_the_messages_in_the_order_of_their_kind(place):
    row = {"pics": ["2.jpg", "1.jpg"], "clips": "1.mp4", "sounds": ["1.wav"]}
    read = with_media(said("<audio><image>?<video>", "<image>"), row, COLUMNS, place)
    there = place.folder
    assert read.media == (
        Media("image", str(there / "2.jpg")),
        Media("image", str(there / "1.jpg")),
        Media("video", str(there / "1.mp4")),
        Media("audio", str(there / "1.wav")),
    )
    assert read.messages == said("<audio><image>?<video>", "<image>").messages


@pytest.mark.parametrize("nothing", [{}, {"pics": None}, {"pics": []}, {"pics": ""}])
def test_a_row_may_have_none(place, nothing):
    assert with_media(said("a", "b"), nothing, COLUMNS, place).media == ()


def test_a_table_spells_a_list_as_json_text(place):
    read = with_media(said("<image><image>"), {"pics": '["1.jpg", "2.jpg"]'}, COLUMNS, place)
    assert len(read.media) == 2


def test_bytes_are_what_they_are_also_as_datasets_keeps_them(place):
    for item in (b"x", {"bytes": b"x", "path": "gone.jpg"}, {"bytes": b"x"}):
        read = with_media(said("<image>"), {"pics": item}, COLUMNS, place)
        assert read.media == (Media("image", b"x"),)
    read = with_media(said("<image>"), {"pics": {"bytes": None, "path": "1.jpg"}}, COLUMNS, place)
    assert read.media == (Media("image", str(place.folder / "1.jpg")),)


def test_the_frames_of_a_video_are_one_video(place):
    read = with_media(said("<video>"), {"clips": [["1.jpg", "2.jpg"]]}, COLUMNS, place)
    names = (str(place.folder / "1.jpg"), str(place.folder / "2.jpg"))
    assert read.media == (Media("video", names),)


@pytest.mark.parametrize(
    ("row", "words", "reason", "where", "got"),
    [
        ({"pics": ["1.jpg"]}, "?", "placeholders and media differ", "pics",
         "0 <image> in the messages, 1 in pics"),
        ({"pics": ["1.jpg"]}, "<image><image>", "placeholders and media differ", "pics",
         "2 <image> in the messages, 1 in pics"),
        ({}, "<video>", "placeholders and media differ", "clips",
         "1 <video> in the messages, 0 in clips"),
        ({"pics": ["1.jpg", "3.jpg"]}, "<image><image>", "media that is not there", "pics[1]",
         "3.jpg: no such file in "),
        ({"pics": "https://example.org/1.jpg"}, "<image>", "media that is not there", "pics",
         "https://example.org/1.jpg: no such file in "),
        ({"pics": "/1.jpg"}, "<image>", "media that is not there", "pics", "/1.jpg: no such file"),
        ({"pics": "."}, "<image>", "media that is not there", "pics", ".: no such file"),
        ({"pics": "a\0b"}, "<image>", "media that is not there", "pics", "a\0b: no such file"),
        ({"pics": "x" * 5000}, "<image>", "media that is not there", "pics", "xxx"),
        ({"pics": [None]}, "<image>", "wrong type", "pics[0]", "null"),
        ({"pics": 7}, "<image>", "wrong type", "pics", "7"),
        ({"pics": {"url": "1.jpg"}}, "<image>", "wrong type", "pics", "null"),
        ({"pics": [["1.jpg"]]}, "<image>", "wrong type", "pics[0]", "['1.jpg']"),
        ({"clips": [["1.jpg", "3.jpg"]]}, "<video>", "media that is not there", "clips[0][1]", "3"),
        ({"clips": [[]]}, "<video>", "wrong type", "clips[0]", "[]"),
        ({"pics": b""}, "<image>", "wrong type", "pics", "b''"),
    ],
)  # fmt: skip
def test_media_that_cannot_be_used_are_refused_with_field_and_counts(
    place, row, words, reason, where, got
):
    with pytest.raises(RowError) as error:
        with_media(said(words, "a"), row, COLUMNS, place)
    assert (error.value.reason, error.value.where) == (reason, where)
    assert got in str(error.value.got)
    assert error.value.need


def test_a_placeholder_without_a_column_is_no_word_beside_other_media(place):
    columns = COLUMNS._replace(videos=None)
    with pytest.raises(RowError) as error:
        with_media(said("<image><video>"), {"pics": ["1.jpg"]}, columns, place)
    assert error.value.where == "videos"
    assert error.value.got == "1 <video> in the messages, no column videos in the entry"


def test_without_columns_of_media_placeholders_are_words(place):
    assert with_media(said("<image>"), {"pics": 3}, SHAREGPT_COLUMNS, place) == said("<image>")


def test_each_answer_of_a_pair_is_counted_with_the_prompt(place):
    row = {"pics": ["1.jpg"]}
    pair = Preference(said("<image>?"), Message("assistant", "a"), Message("assistant", "b"))
    assert len(with_media(pair, row, COLUMNS, place).prompt.media) == 1
    for changed in ({"chosen": "<image>"}, {"rejected": "<image>"}):
        (key, words), *_ = changed.items()
        with pytest.raises(RowError, match="pics"):
            with_media(pair._replace(**{key: Message("assistant", words)}), row, COLUMNS, place)


def test_a_labelled_row_has_media_too(place):
    read = with_media(Labelled(said("<image>", "a"), True), {"pics": "1.jpg"}, COLUMNS, place)
    assert len(read.conversation.media) == 1


def test_rows_from_elsewhere_name_files_of_the_folder_only(place, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}.jpg"
    outside.write_bytes(b"mine")
    inside = Place(tmp_path, anywhere=False)
    for path in (str(outside), f"../{outside.name}", f"a/../../{outside.name}"):
        assert with_media(said("<image>"), {"pics": path}, COLUMNS, place).media
        with pytest.raises(RowError) as error:
            with_media(said("<image>"), {"pics": path}, COLUMNS, inside)
        assert (error.value.reason, error.value.got) == ("path out of media_dir", path)
    for path in ("1.jpg", f"{tmp_path}{os.sep}1.jpg", "a/../1.jpg"):
        assert with_media(said("<image>"), {"pics": path}, COLUMNS, inside).media
