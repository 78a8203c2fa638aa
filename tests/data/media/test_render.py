"""What stands for media is the template's text, not the speaker's."""

from like_stock import made
from tiny_vlm import picture
from tunesmith.data.media.marks import mark, marked
from tunesmith.data.media.render import Seeing
from tunesmith.templates import choose
from tunesmith.types import Conversation, Media, Message


def test_marks_become_control_text_and_foreign_ones_stay(tmp_path):
    seen = made(tmp_path, "llava")
    template = choose("chatml", seen.checked)
    laying = Seeing(template, seen.family)
    media = (Media("image", str(picture(tmp_path / "a.png"))),)
    foreign = mark(77)
    said = Conversation(
        (Message("user", f"a<image>b{foreign}"), Message("assistant", "c")), media=media
    )
    spans = laying.render(marked(said))
    (seen_span,) = [span for span in spans if span.medium is not None]
    assert seen_span.control
    assert not seen_span.trained
    assert seen_span.text == seen.family.words(media[0])
    assert any(span.text == f"b{foreign}" and not span.control for span in spans)
    assert laying.shape(marked(said)) is None


def test_without_media_it_is_the_template_itself(tmp_path):
    seen = made(tmp_path, "llava")
    template = choose("chatml", seen.checked)
    laying = Seeing(template, seen.family)
    said = Conversation((Message("user", "<image>"), Message("assistant", "c")))
    assert laying.render(said) == template.render(said)
    assert laying.shape(said) == template.shape(said)
    assert laying.identity() != template.identity()
    assert (laying.name, laying.stop_words) == (template.name, template.stop_words)
