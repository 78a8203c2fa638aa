"""Hand-made bad files: each refused with one error at its place, or read with its ledger closed."""

import json

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data.prepare import prepare
from tunesmith.errors import DataError
from tunesmith.templates.choose import choose

TOKENIZER = load_tiny()
CHATML = choose("chatml", TOKENIZER)
GOOD = '{"instruction": "I", "output": "O"}'
TALK = '{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}'


def lines(bad):
    """A bad row between two good ones, as JSON lines."""
    return "\n".join([GOOD, bad, GOOD])


def turns(*said):
    return json.dumps({"conversations": [{"from": r, "value": v} for r, v in said]})


def row(**columns):
    return json.dumps({"instruction": "I", "output": "O", **columns})


DEEP = '{"instruction": "I", "output": "O", "x": ' + "[" * 70 + "]" * 70 + "}"

# name -> content (§ stands for a good row), place of the error after the name of the file
ALPACA = {
    "empty.json": ("", ""),
    "empty.jsonl": ("", ""),
    "blank.jsonl": ("\n \n\n", ""),
    "bom_only.json": ("\ufeff", ""),
    "no_rows.json": ("[]", ""),
    "null.json": ("null", ":1:1"),
    "number.json": ("42", ":1:1"),
    "string.json": ('"rows"', ":1:1"),
    "html.json": ("<!DOCTYPE html>\n<html>", ":1:1"),
    "yaml.json": ("instruction: I\noutput: O", ":1:1"),
    "csv.jsonl": ("instruction,output\nI,O", ":1:1"),
    "python.json": ("[{'instruction': 'I', 'output': 'O'}]", ":1:3"),
    "wrapped.json": ('{"data": [§]}', ":1"),
    "by_number.json": ('{\n"0": §,\n"1": §}', ":1"),
    "one_indented.json": ('{\n "instruction": "I",\n "output": "O"\n}', ":1"),
    "indented.jsonl": ('{\n "instruction": "I",\n "output": "O"\n}', ":1:2"),
    "comma_at_end.json": ("[§,\n]", ":2:1"),
    "comma_twice.json": ("[§,,§]", ":1:38"),
    "comma_missing.json": ("[§\n§]", ":2:1"),
    "comma_lines.jsonl": ("§,\n§,", ":1:36"),
    "comment.json": ("[§, // one\n§]", ":1:39"),
    "two_arrays.json": ("[§]\n[§]", ":2:1"),
    "unclosed.json": ("[§,\n§", ":2:36"),
    "cut_in_word.json": ('[§,\n{"instruction": "I am', ":2:22"),
    "cut_in_key.json": ('[§,\n{"instr', ":2:8"),
    "cut_in_escape.json": ('[§,\n{"a": "\\u00', ":2:12"),
    "cut_after_colon.json": ('[§,\n{"a":', ":2:6"),
    "cut_after_comma.json": ("[§,\n", ":2:1"),
    "cut_open.json": ("[", ":1:2"),
    "cut.jsonl": (GOOD + '\n{"instruction": "I", "out', ":2:26"),
    "nul_bytes.json": ("[§]" + "\0\0\0", ":1:38"),
    "nul_inside.jsonl": (lines('{"instruction": "\0", "output": "O"}'), ":2:18"),
    "tab_inside.jsonl": (lines('{"instruction": "\t", "output": "O"}'), ":2:18"),
    "newline_inside.jsonl": (lines('{"instruction": "a\nb", "output": "O"}'), ":2:19"),
    "two_on_a_line.jsonl": (lines(GOOD + GOOD), ":2:36"),
    "array_lines.jsonl": (GOOD + '\n["I", "O"]', ":2"),
    "null_line.jsonl": (lines("null"), ":2"),
    "null_row.json": ("[§,\nnull]", ":2"),
    "number_row.json": ("[1, 2, 3]", ":1"),
    "nested_rows.json": ("[[§]]", ":1"),
    "twice.jsonl": (lines('{"instruction": "I", "output": "O", "output": "P"}'), ":2:37"),
    "nan.jsonl": (lines('{"instruction": "I", "output": NaN}'), ":2:32"),
    "infinity.jsonl": (lines('{"instruction": "I", "output": "O", "x": -Infinity}'), ":2:42"),
    "digits.jsonl": (lines('{"output": "O", "x": ' + "7" * 5000 + "}"), ":2:22"),
    "surrogate.jsonl": (lines('{"instruction": "\\ud83d", "output": "O"}'), ":2:18"),
    "deep.jsonl": (lines(DEEP), ":2:105"),
    "very_deep.json": ("[" * 100_000, ":1:66"),
    "deep_objects.jsonl": (lines('{"a":' * 50_000), ":2:321"),
    "no_output.jsonl": (lines('{"instruction": "I"}'), ":2: output"),
    "no_instruction.jsonl": (lines('{"output": "O"}'), ":2: instruction"),
    "misspelt.jsonl": (lines('{"instruction": "I", "ouput": "O"}'), ":2: output"),
    "upper_case.jsonl": (lines('{"Instruction": "I", "Output": "O"}'), ":2: instruction"),
    "empty_object.jsonl": (lines("{}"), ":2: instruction"),
    "null_output.jsonl": (lines(row(output=None)), ":2: output"),
    "number_output.jsonl": (lines(row(output=12)), ":2: output"),
    "bool_output.jsonl": (lines(row(output=True)), ":2: output"),
    "list_output.jsonl": (lines(row(output=["O"])), ":2: output"),
    "object_output.jsonl": (lines(row(output={"text": "O"})), ":2: output"),
    "empty_output.jsonl": (lines(row(output="")), ":2: output"),
    "spaces_output.jsonl": (lines(row(output=" \t\n")), ":2: output"),
    "number_input.jsonl": (lines(row(input=3.5)), ":2: input"),
    "list_instruction.jsonl": (lines(row(instruction=["I"])), ":2: instruction"),
    "latin1.json": ('[{"instruction": "é", "output": "O"}]'.encode("latin-1"), ":1: byte 18"),
    "gb18030.json": ('[{"instruction": "问", "output": "答"}]'.encode("gb18030"), ":1: byte 18"),
    "utf32.json": (f"[{GOOD}]".encode("utf-32"), ":1: byte 0"),
    "utf16_cut.json": (f"[{GOOD}]".encode("utf-16")[:-1], ":1: byte 74"),
    "utf8_cut.jsonl": (GOOD.encode() + b'\n{"instruction": "\xe4\xb8', ":2: byte 53"),
    "gzip.json": (b"\x1f\x8b\x08\x00\x00\x00", ":1: byte 1"),
    "parquet.json": (b"PAR1\x15\x04\x15\x80", ":1: byte 7"),
    "pointer.json": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9", ""),
}
SHAREGPT = {
    "no_messages.jsonl": ('{"conversations": []}', ":1: conversations"),
    "null_messages.jsonl": ('{"conversations": null}', ":1: conversations"),
    "other_column.jsonl": ('{"messages": []}', ":1: conversations"),
    "text_messages.jsonl": ('{"conversations": "a"}', ":1: conversations"),
    "list_message.jsonl": ('{"conversations": [["human", "a"]]}', ":1: conversations[0]"),
    "no_value.jsonl": ('{"conversations": [{"from": "human"}]}', ":1: conversations[0].value"),
    "no_from.jsonl": ('{"conversations": [{"value": "a"}]}', ":1: conversations[0].from"),
    "openai.jsonl": (
        '{"conversations": [{"role": "user", "content": "a"}]}',
        ":1: conversations[0].from",
    ),
    "null_value.jsonl": (turns(("human", None)), ":1: conversations[0].value"),
    "number_value.jsonl": (turns(("human", "a"), ("gpt", 4)), ":1: conversations[1].value"),
    "empty_value.jsonl": (turns(("human", "a"), ("gpt", "")), ":1: conversations[1].value"),
    "unknown_role.jsonl": (turns(("human", "a"), ("bot", "b")), ":1: conversations[1].from"),
    "user_role.jsonl": (turns(("user", "a"), ("gpt", "b")), ":1: conversations[0].from"),
    "upper_role.jsonl": (turns(("Human", "a"), ("gpt", "b")), ":1: conversations[0].from"),
    "answer_first.jsonl": (turns(("gpt", "a"), ("human", "b")), ":1: conversations[0].from"),
    "two_questions.jsonl": (turns(("human", "a"), ("human", "b")), ":1: conversations[1].from"),
    "no_answer.jsonl": (turns(("human", "a")), ":1: conversations[0].from"),
    "late_system.jsonl": (
        turns(("human", "a"), ("gpt", "b"), ("system", "s"), ("gpt", "c")),
        ":1: conversations[2].from",
    ),
    "open_end.jsonl": (
        turns(("human", "a"), ("gpt", "b"), ("human", "c")),
        ":1: conversations[2].from",
    ),
    "only_system.jsonl": (turns(("system", "s")), ":1: conversations"),
}
READ = {  # odd, but sound: read whole
    "windows.jsonl": (GOOD + "\r\n" + GOOD + "\r\n", 2),
    "no_newline.jsonl": (GOOD, 1),
    "bom.jsonl": ("\ufeff" + GOOD, 1),
    "utf16.json": (f"[{GOOD}]".encode("utf-16"), 1),
    "utf16_no_bom.jsonl": (GOOD.encode("utf-16-le"), 1),
    "lines.json": (GOOD + "\n" + GOOD, 2),
    "array.jsonl": ("[§, §]", 2),
    "separators.jsonl": (row(output="a\u2028b\u0085c\x0c") + "\n" + GOOD, 2),
    "raw_separators.jsonl": ('{"instruction": "a\u2028b\u0085c", "output": "O"}', 1),
    "pair.jsonl": ('{"instruction": "\\ud83d\\ude00", "output": "O"}', 1),
    "other_columns.jsonl": (row(a=1, b=None, c=[{"d": {}}], e=1e300) + "\n" + GOOD, 2),
    "empty_question.jsonl": (row(instruction=""), 1),
    "null_input.jsonl": (row(input=None), 1),
    "blank_lines.jsonl": (f"\n{GOOD}\n\n{GOOD}\n", 2),
    "wide.jsonl": (row(**{str(i): i for i in range(5000)}), 1),
}


def run(directory, name, content, formatting, **options):
    raw = content if isinstance(content, bytes) else content.replace("§", GOOD).encode()
    (directory / name).write_bytes(raw)
    info = {"d": {"file_name": name, "formatting": formatting}}
    (directory / "dataset_info.json").write_text(json.dumps(info))
    return prepare(
        dataset=["d"],
        dataset_dir=directory,
        renderer=CHATML,
        tokenizer=TOKENIZER,
        cutoff_len=2048,
        **options,
    )


CASES = [(n, c, p, "alpaca") for n, (c, p) in ALPACA.items()]
CASES += [(n, c, p, "sharegpt") for n, (c, p) in SHAREGPT.items()]


@pytest.mark.parametrize(
    ("name", "content", "place", "formatting"), CASES, ids=lambda v: str(v)[:24]
)
def test_a_bad_file_gets_one_error_at_its_place(tmp_path, name, content, place, formatting):
    with pytest.raises(DataError) as error:
        run(tmp_path, name, content, formatting)
    assert error.value.where == f"{tmp_path / name}{place}"
    assert error.value.need
    assert len(str(error.value).splitlines()) < 30
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["dataset_info.json", name])


@pytest.mark.parametrize(
    ("name", "content"), [(n, c) for n, (c, _) in ALPACA.items() if n.endswith(".jsonl")]
)
def test_skipping_bad_rows_closes_the_ledger_or_refuses_the_file(tmp_path, name, content):
    try:
        prepared = run(tmp_path, name, content, "alpaca", on_bad_row="skip")
    except DataError as error:
        told = error.where
    else:
        told, (account,) = "", prepared.ledger.files.values()
    if told:
        assert str(tmp_path / name) in told
        return
    assert account.read == account.used + account.num_skipped
    assert account.used == len(prepared.train) > 0
    assert account.num_skipped > 0


@pytest.mark.parametrize("name", READ)
def test_an_odd_file_is_read_whole(tmp_path, name):
    content, count = READ[name]
    prepared = run(tmp_path, name, content, "alpaca")
    assert len(prepared.train) == count
    assert prepared.ledger.skips() == {}
