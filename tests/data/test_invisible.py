"""What nobody sees is found, and what writing needs is left alone."""

import pytest

from tunesmith.data.examples import Said
from tunesmith.data.invisible import Invisible, invisible, name
from tunesmith.data.ledger import Ledger
from tunesmith.types import Conversation, Message, Origin

OUT_OF_PLACE = {
    "zero width space": "pass\u200bword",
    "joiner between Latin letters": "pass\u200dword",
    "non-joiner between Latin letters": "Auf\u200clage",
    "joiner after the last emoji": "\U0001f468\u200d",
    "non-joiner in an emoji": "\U0001f468\u200c\U0001f469",
    "word joiner": "a\u2060b",
    "byte order mark inside": "a\ufeffb",
    "soft hyphen": "hy\u00adphen",
    "left-to-right mark in Latin": "a\u200eb",
    "override": "if \u202eadmin\u202c",
    "override in Hebrew": "\u05e9\u05dc\u05d5\u05dd \u202eabc",
    "isolate in Latin": "a\u2066b\u2069",
    "NUL": "a\0b",
    "escape": "a\x1b[31mb",
    "form feed": "a\x0cb",
    "delete": "a\x7fb",
    "C1": "a\x85b",
    "tags": "hi\U000e0068\U000e0069",
    "tags behind a flag": "\U0001f3f4\U000e0067\U000e007f\U000e0068",
    "Hangul filler": "a\u3164b",
    "variation selectors that hide bytes": "\U0001f600\ufe01\ufe02",
    "variation selector alone": "\ufe0fa",
    "annotation": "a\ufff9b",
    "deprecated": "a\u206ab",
}
IN_PLACE = {
    "plain": "Two words.\n\tAnd a line.\r\n",
    "no-break space and dashes": "10\u00a0km \u2013 \u2026",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "skin": "\U0001f9d1\U0001f3fd\u200d\U0001f4bb",
    "gender": "\U0001f3c3\U0001f3fb\u200d\u2640\ufe0f",
    "pride": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "arrow": "\U0001f3c3\u200d\u27a1\ufe0f",
    "keycap": "1\ufe0f\u20e3",
    "Scotland": "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Sinhala": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    "Hindi": "\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937",
    "Malayalam": "\u0d28\u0d4d\u200d",
    "Bengali": "\u09b0\u200d\u09cd\u09af",
    "Khmer": "\u1797\u17b6\u179f\u17b6\u200b\u1781\u17d2\u1798\u17c2\u179a",
    "Thai": "\u0e20\u0e32\u0e29\u0e32\u200b\u0e44\u0e17\u0e22",
    "Hebrew with a mark": "\u05e9\u05dc\u05d5\u05dd C++\u200e \u05d5\u05e2\u05d5\u05d3",
    "Arabic with isolates": "\u2067\u0645\u0631\u062d\u0628\u0627\u2069 ok",
    "Mongolian": "\u182e\u1823\u1829\u182d\u1823\u182f\u180e\u180b",
    "Japanese variant": "\u845b\U000e0100\u57ce",
    "old Hangul": "\u1112\u1160\u11ab",
    "CJK": "\u4f60\u597d\uff0c\u4e16\u754c",
}


@pytest.mark.parametrize("text", OUT_OF_PLACE.values(), ids=OUT_OF_PLACE)
def test_what_nobody_sees_is_found(text):
    assert list(invisible(text))


@pytest.mark.parametrize("text", IN_PLACE.values(), ids=IN_PLACE)
def test_what_writing_needs_is_left_alone(text):
    assert list(invisible(text)) == []


def test_every_character_has_a_name():
    for text in OUT_OF_PLACE.values():
        for sign in invisible(text):
            assert name(sign).startswith(f"U+{ord(sign):04X} ")
    assert name("\ufeff") == "U+FEFF byte order mark"
    assert name("\u200b") == "U+200B zero width space"


def test_rows_are_counted_once_and_each_character_has_its_first_place():
    def said(row, *texts, system=None):
        turns = tuple(Message("user", text) for text in texts)
        return Said(Conversation(turns, system), Origin("d", "a.json", row, row), False)

    rows = [
        said(1, "clean"),
        said(2, "a\u200bb\u200bc", "x\u200by"),
        said(3, "clean", system="\ufeffyou are"),
        said(4, "a\u200b\ufeffb"),
    ]
    ledger = Ledger()
    counting = Invisible(ledger)
    assert list(counting.counting(rows)) == rows
    assert ledger.findings["invisible"].count == 3
    assert ledger.findings["invisible"].first[0] == "a.json:2 (row 2)"
    (note,) = counting.notes()
    assert note == (
        "3 rows with characters that nobody sees: U+200B zero width space in 2 (first: a.json:2 "
        "(row 2)), U+FEFF byte order mark in 2 (first: a.json:3 (row 3))"
    )
    assert list(Invisible(Ledger()).notes()) == []
