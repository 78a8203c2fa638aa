"""What hides or moves text is spelled; letters that need such a character keep it."""

import pytest

from tunesmith.data.visible import hidden, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"),
        ("\x1b[31m\x07\x9b", "\\x1b[31m\\x07\\x9b"),
        ("one\rtwo\u2028three", "one\\x0dtwo⟨U+2028⟩three"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("👩\u200d👧", "👩\u200d👧"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200db", "a⟨U+200D⟩b"),
        ("你好 é", "你好 é"),
    ],
)
def test_what_is_not_seen_is_spelled(text, shown):
    assert visible(text) == shown
    assert bool(hidden(text)) == (shown != text)
