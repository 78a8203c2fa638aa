"""The text of a number in a data file is its text in the prompt and in the call."""

import json
import re

import pyarrow as pa
import pytest

from data_files import write
from tiny_tokenizer import load_tiny
from tunesmith.data.prepare import prepare
from tunesmith.templates.choose import choose

TOKENIZER = load_tiny()
NUMBERS = [
    *("1.0", "1.50", "-0", "-0.0", "1e5", "1E+05", "1e400", "-2.5E-999", "1e-7", "0.00001"),
    *("0.1000000000000000055", "123456789012345678901234567890", "12345678901234567890.0"),
    "7" * 4300,
]
LIST = f"[{', '.join(NUMBERS)}]"
TOOLS = f'[{{"name": "f", "parameters": {{"properties": {{"x": {{"enum": {LIST}}}}}}}}}]'
CALL = f'{{"name": "f", "arguments": {{"x": {LIST}, "deep": {{"y": {{"z": {LIST}}}}}}}}}'
ROWS = {  # columns, each as JSON
    "alpaca": {"instruction": '"q"', "output": '"a"', "tools": TOOLS},
    "sharegpt": {
        "conversations": '[{"from": "human", "value": "q"}, '
        f'{{"from": "function_call", "value": {json.dumps(CALL)}}}]',
        "tools": TOOLS,
    },
    "openai": {
        "messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": null, '
        f'"tool_calls": [{{"id": "1", "type": "function", "function": {CALL}}}]}}]',
        "tools": TOOLS,
    },
}
COLUMNS = {
    "alpaca": {"prompt": "instruction", "response": "output", "tools": "tools"},
    "sharegpt": {"messages": "conversations", "tools": "tools"},
    "openai": {"messages": "messages", "tools": "tools"},
}


def prepared(directory, name, formatting):
    """The one example of a file."""
    entry = {"file_name": name, "formatting": formatting, "columns": COLUMNS[formatting]}
    (directory / "dataset_info.json").write_text(json.dumps({"d": entry}))
    (example,) = prepare(
        dataset=["d"],
        dataset_dir=directory,
        renderer=choose("qwen", TOKENIZER),
        tokenizer=TOKENIZER,
        cutoff_len=200_000,
    ).train
    return example


def texts(example):
    """What the model sees of an example, and what it learns of it."""
    learned = [int(i) for i, t in zip(example.ids, example.trained, strict=True) if t]
    decode = TOKENIZER.backend.decode
    return decode(example.ids.tolist(), skip_special_tokens=False), decode(learned)


def lists(text):
    """Every list of numbers in a text."""
    return re.findall(r"\[(?:-?[\d.eE+-]+, )+-?[\d.eE+-]+\]", text)


@pytest.mark.parametrize("formatting", ROWS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_tools_and_arguments_given_as_json_keep_their_numbers(tmp_path, name, formatting):
    row = ", ".join(f'"{key}": {value}' for key, value in ROWS[formatting].items())
    (tmp_path / name).write_text(f"[{{{row}}}]" if name == "a.json" else f"{{{row}}}")
    seen, learned = texts(prepared(tmp_path, name, formatting))
    calls = 0 if formatting == "alpaca" else 2
    assert lists(seen) == [LIST] * (1 + calls)
    assert lists(learned) == [LIST] * calls


@pytest.mark.parametrize("formatting", ROWS)
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv", "a.tsv", "a.json", "a.jsonl"])
def test_json_text_in_a_column_keeps_its_numbers(tmp_path, name, formatting):
    row = {k: v.strip('"') if len(v) < 4 else v for k, v in ROWS[formatting].items()}
    write(tmp_path / name, [row])
    seen, _ = texts(prepared(tmp_path, name, formatting))
    assert lists(seen) == [LIST] * (1 if formatting == "alpaca" else 3)


def test_numbers_of_a_table_are_written_as_python_writes_them(tmp_path):
    call = {"function": {"name": "f", "arguments": {"x": 2**63 - 1, "y": 0.1, "z": 1.0}}}
    said = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    write(tmp_path / "a.parquet", pa.Table.from_pylist([{"messages": said}]))
    seen, _ = texts(prepared(tmp_path, "a.parquet", "openai"))
    assert '{"x": 9223372036854775807, "y": 0.1, "z": 1.0}' in seen


@pytest.mark.parametrize("weight", ["1", "0", "1.0", "0.0", "1.00", "-0", "1e0", "0e400"])
def test_a_weight_is_the_number_that_it_spells(tmp_path, weight):
    said = '{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}'
    more = '{"role": "user", "content": "r"}, {"role": "assistant", "content": "zz", "weight": '
    (tmp_path / "a.jsonl").write_text(f'{{"messages": [{said}, {more}{weight}}}]}}')
    seen, learned = texts(prepared(tmp_path, "a.jsonl", "openai"))
    assert "zz" in seen
    assert ("zz" in learned) == weight.startswith("1")
