"""What a template writes, and what serving shows of it."""

from tunesmith.templates.jinja_texts import ASKED, Shape, Texts, beyond

OFF = "<t></t>"


def write(system, contents, prompting, trace):
    said = "".join(f"{'UA'[i % 2]}:{word};" for i, word in enumerate(contents))
    return said + (f"A:{OFF}" if prompting else "")


def test_the_last_answer_stands_behind_the_prompt_that_switches_thoughts_off():
    assert Texts(write)(None, ["q", "a"], False, None) == "U:q;A:a;"
    texts = Texts(write, silenced=True)
    assert texts(None, ["q", "a", "r", "b"], False, None) == f"U:q;A:a;U:r;A:{OFF}b;"
    assert texts(None, ["q"], True, None) == f"U:q;A:{OFF}"
    assert texts(None, ["q", f"{OFF}a"], False, None) == f"U:q;A:{OFF}a;"


def test_a_text_that_goes_another_way_than_its_prompt_stays_as_it_is():
    assert Texts(write, silenced=True).as_served("U:Q;A:a;", f"U:q;A:{OFF}") == "U:Q;A:a;"


def test_the_pieces_of_a_shape_stand_around_its_words():
    texts = Texts(write, silenced=True)
    assert texts.pieces(Shape(False, 2, False)) == ("U:", f";A:{OFF}", ";")
    assert texts.pieces(ASKED) == ("U:", f";A:{OFF}")
    assert Texts(lambda *_: "none").pieces(ASKED) is None
    assert beyond(("U:", ";A:!"), ("U:", ";A:", ";")) == "!"
    assert beyond(("U:", ";A:"), ("U:", ";B:", ";")) == beyond(None, None) == ""
