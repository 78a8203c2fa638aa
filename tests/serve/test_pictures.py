"""Pictures of a request: data becomes media in their places, everything else is refused."""

import base64

import pytest

from tunesmith.serve.pictures import taken_out
from tunesmith.serve.refusal import Refusal
from tunesmith.types import Media

DATA = "data:image/png;base64," + base64.b64encode(b"pixels").decode()


def said(*parts, role="user"):
    return {"role": role, "content": list(parts)}


def picture(url=DATA):
    return {"type": "image_url", "image_url": {"url": url}}


def text(words):
    return {"type": "text", "text": words}


def test_pictures_become_media_in_the_order_of_their_places():
    other = "data:image/jpeg;base64," + base64.b64encode(b"other").decode()
    given = [said(text("a"), picture(), text("b")), {"role": "assistant", "content": "c"},
             said(picture(other))]  # fmt: skip
    messages, media = taken_out(given, sees=True, most=2)
    assert media == (Media("image", b"pixels"), Media("image", b"other"))
    assert messages[0]["content"] == [text("a"), text("<image>"), text("b")]
    assert messages[1] == given[1]
    assert given[0]["content"][1] == picture()


def test_without_pictures_words_stay_words():
    given = [{"role": "user", "content": "what is <image>?"}, said(text("<image>"))]
    assert taken_out(given, sees=True, most=0) == (given, ())


@pytest.mark.parametrize(
    ("given", "sees", "told"),
    [
        ([said(picture())], False, "reads text alone"),
        ([said({"type": "input_audio"})], True, "takes text and pictures"),
        ([said(picture("https://example.com/a.png"))], True, "nothing is fetched"),
        ([said(picture("file:///etc/passwd"))], True, "nothing is fetched"),
        ([said(picture("/etc/passwd"))], True, "nothing is fetched"),
        ([said({"type": "image_url"})], True, "nothing is fetched"),
        ([said({"type": "image_url", "image_url": {"url": 7}})], True, "nothing is fetched"),
        ([said(picture("data:image/png;base64,%%%"))], True, "no base64"),
        ([said(picture(), picture(), picture())], True, "3 pictures, at most 2"),
        ([said(picture(), text("<image>"))], True, "send parts instead"),
        ([{"role": "system", "content": "<image>"}, said(picture())], True, "send parts instead"),
    ],
)
def test_everything_else_is_refused_at_its_place(given, sees, told):
    with pytest.raises(Refusal) as caught:
        taken_out(given, sees=sees, most=2)
    assert told in str(caught.value)
