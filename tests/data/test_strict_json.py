"""The fast parser and the slow walker judge alike, and every refusal names its place."""

import json
import os
import random

import pytest

from tunesmith.data.strict_json import Refused, decode, line_and_column, load, parse, walk
from tunesmith.errors import DataError
from tunesmith.templates.calls import dumps

DEEP = "[" * 65 + "]" * 65

REFUSED = [
    ('{"a": 1, "a": 2}', "duplicate key", 9),
    ('{"a": {"b": 1, "c": 2, "b": 3}}', "duplicate key", 23),
    ('{"a": 1, "\\u0061": 2}', "duplicate key", 9),
    ('{"a": NaN}', "NaN or Infinity", 6),
    ("[1, -Infinity]", "NaN or Infinity", 4),
    ("Infinity", "NaN or Infinity", 0),
    ("9" * 4301, "number too large", 0),
    ('"\\ud800"', "lone surrogate", 1),
    ('{"k": "x\\uDC00y"}', "lone surrogate", 8),
    ('{"\\ud800": 1}', "lone surrogate", 2),
    ('"\\ud83d\\ude00 \\ud83d"', "lone surrogate", 14),
    (DEEP, "nested too deep", 64),
    ("[" * 100_000, "nested too deep", 64),
    ('{"a":' * 5000, "nested too deep", 5 * 64),
    ("", "not JSON", 0),
    ("{", "not JSON", 1),
    ('{"a"', "not JSON", 4),
    ('{"a":', "not JSON", 5),
    ('{"a": 1', "not JSON", 7),
    ('{"a": 1,', "not JSON", 8),
    ('{"a": 1,}', "not JSON", 8),
    ("[1,]", "not JSON", 3),
    ("[1 2]", "not JSON", 3),
    ("{a: 1}", "not JSON", 1),
    ("{'a': 1}", "not JSON", 1),
    ('"abc', "not JSON", 4),
    ('"a\\x"', "not JSON", 2),
    ('"a\\u12"', "not JSON", 2),
    ('"a\nb"', "not JSON", 2),
    ('"a\tb"', "not JSON", 2),
    ("tru", "not JSON", 0),
    ("None", "not JSON", 0),
    ("-", "not JSON", 0),
    ("+1", "not JSON", 0),
    (".5", "not JSON", 0),
    ("[1,\u00a02]", "not JSON", 3),
    ("\ufeff{}", "not JSON", 0),
    ("// comment", "not JSON", 0),
]


@pytest.mark.parametrize(("text", "reason", "at"), REFUSED, ids=lambda v: str(v)[:20])
def test_what_strict_json_does_not_have_is_refused_at_its_place(text, reason, at):
    with pytest.raises(Refused) as refused:
        parse(text)
    assert (refused.value.reason, refused.value.at) == (reason, at)
    assert refused.value.got
    assert refused.value.need


@pytest.mark.parametrize(
    "text",
    [
        "9" * 3999,
        "[" * 64 + "]" * 64,
        '"\\ud83d\\ude00"',
        '"\\\\ud800"',
        '"a\u2028b\u0085c"',
        "[0, -1, 1.0, -0.0, 1e+16, 2.5]",
        '{"": {"": null}}',
        json.dumps({str(i): [[]] for i in range(100)}),
    ],
    ids=lambda v: v[:20],
)
def test_what_is_strict_json_is_read_as_the_library_reads_it(text):
    assert parse(text) == (json.loads(text), len(text))
    assert walk(text)[0] == len(text)


@pytest.mark.parametrize("text", ["-0", "1E-400", "1e999", "1.50", "0.10000000000000000001"])
@pytest.mark.parametrize("around", ["%s", "[%s]", '{"a": {"b": [1, %s]}}'])
def test_a_number_that_python_writes_otherwise_keeps_its_text(text, around):
    whole = around % text
    value, end = parse(whole)
    assert dumps(value) == whole
    assert end == walk(whole)[0] == len(whole)


def random_value(draw, depth=0):
    kind = draw.randrange(8 if depth < 5 else 6)
    if kind == 6:
        return [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 7:
        return {draw.choice("abcü\n😀"): random_value(draw, depth + 1) for _ in range(3)}
    return [None, True, -12, 3.5e20, 'x\\"\u2028😀', ""][kind]


@pytest.mark.parametrize("seed", range(30))
def test_fast_and_slow_agree_on_damaged_texts(seed):
    draw = random.Random(seed)
    for _ in range(60):
        text = json.dumps(random_value(draw), ensure_ascii=draw.random() < 0.5)
        for _ in range(draw.randrange(3)):
            at = draw.randrange(len(text) + 1)
            text = (
                text[:at]
                + draw.choice(['"', "\\", "{", "]", ",", "1", "\\ud800", ""])
                + (text[at + draw.randrange(2) :])
            )
        try:
            end = parse(text)[1]
        except Refused:
            with pytest.raises(Refused):
                walk(text)
        else:
            assert walk(text)[0] == end


def test_a_refused_value_of_sound_syntax_tells_where_it_ends():
    with pytest.raises(Refused) as refused:
        parse('  {"a": NaN, "a": 1}, 2', 2)
    assert refused.value.end == 20


def test_a_cut_off_value_tells_where_the_open_thing_begins():
    with pytest.raises(Refused) as refused:
        parse('[1, {"k": "words and')
    assert (refused.value.end, refused.value.began) == (None, 10)
    assert "cut off" in refused.value.got


@pytest.mark.parametrize(
    ("text", "began"),
    [("[1, ", 0), ('[1, {"a": [2,', 10), ('[1, {"a":', 4), ('{"a": [1], "b": ', 0)],
)
def test_a_value_that_is_missing_at_the_end_began_with_the_bracket_around_it(text, began):
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.began == began


def test_the_walk_knows_where_everything_stands():
    text = '{"a": {"b": [1,\n 22]},\n "c": 3}'
    places = walk(text)[1]
    assert text[places[("a", "b", 1)] :].startswith("22")
    assert line_and_column(text, places[("c",)]) == (3, 2)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_unicode_encodings_give_the_same_text(encoding):
    text = '[{"a": "Grüße, 世界 😀\u2028"}]'
    assert decode(text.encode(encoding), "a.json") == text


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ('[\n{"a": "中文"}]'.encode("gb18030"), "a.json:2: byte 9"),
        ('["é"]'.encode("latin-1"), "a.json:1: byte 2"),
        (b'["\xed\xa0\x80"]', "a.json:1: byte 2"),
        (b'["a\xe4\xb8', "a.json:1: byte 3"),
        (b"\xef\xbb\xbf[\xff]", "a.json:1: byte 4"),
        ('["a"]'.encode("utf-32"), "a.json:1: byte 0"),
        ('["a"]'.encode("utf-16")[:-1], "a.json:1: byte 10"),
        (b'\xff\xfe[\x00"\x00\x00\xd8"\x00]\x00', "a.json:1: byte 6"),
    ],
)
def test_another_encoding_is_refused_with_the_byte(raw, place):
    with pytest.raises(DataError) as error:
        decode(raw, "a.json")
    assert error.value.where == place
    assert "UTF-8 or UTF-16" in error.value.need


def test_chinese_bytes_get_the_command_that_converts_them():
    with pytest.raises(DataError) as error:
        decode("中文".encode("gb18030"), "a.json")
    assert error.value.hint.endswith("iconv -f GB18030 -t UTF-8 a.json > a.json.utf8")


def test_a_file_error_names_line_and_column(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{\n "a": 1,\n "a": 2}')
    with pytest.raises(DataError) as error:
        load(file)
    assert error.value.where == f"{file}:3:2"
    file.write_text("{} {}")
    with pytest.raises(DataError) as error:
        load(file)
    assert error.value.where == f"{file}:1:4"


def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(DataError, match="git-lfs pointer"):
        load(file)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DataError, match="a pipe"):
        load(tmp_path / "a.json")


def test_broken_syntax_is_told_with_line_column_and_what_it_means(tmp_path):
    path = tmp_path / "dataset_info.json"
    path.write_text("{\n  bad: 1}")
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.got == "'bad: 1}' at line 2, column 3"
    assert "a key in double quotes there" in caught.value.need
    assert "not valid JSON" in caught.value.need
