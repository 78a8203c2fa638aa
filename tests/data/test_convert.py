"""Rows become the conversations that LLaMA-Factory makes of them, or a listed deviation."""

import gzip
import json
import random
from itertools import chain
from pathlib import Path

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data import registry
from tunesmith.data.convert import Converter, filled, laid_out
from tunesmith.data.formats import FORMATS
from tunesmith.data.ledger import RowError
from tunesmith.data.rows import Row
from tunesmith.errors import DataError
from tunesmith.templates import choose
from tunesmith.templates.calls import read_calls
from tunesmith.types import Conversation, Message, Origin

GOLDEN = Path(__file__).parents[1] / "golden"
WHOLE = Path(__file__).parents[3] / "shared" / "golden" / "convert.jsonl"
KEPT = gzip.decompress((GOLDEN / "convert.jsonl.gz").read_bytes()).decode("utf8")
VECTORS = {
    vector["id"]: vector
    for line in chain(
        KEPT.splitlines(), WHOLE.read_text("utf8").splitlines() if WHOLE.exists() else []
    )
    for vector in [json.loads(line)]
}
DEVIATIONS = json.loads((GOLDEN / "convert_deviations.json").read_text("utf8"))
CHATML = choose("chatml", load_tiny())


def entry_of(tmp_path, info):
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "a.json", **info}}))
    return registry.load(tmp_path, ["d"])[0]


def read(tmp_path, vector):
    """What becomes of a vector: its conversation, or the fault in the words of the file."""
    try:
        entry = entry_of(tmp_path, vector["dataset_info"])
    except DataError as error:
        return "refused: " + error.where.split(": d.")[1]
    try:
        return FORMATS[entry.formatting](vector["row"], entry.columns, entry.tags)
    except RowError as error:
        return error.reason


def said_by(message, deviation):
    """A message of ours in the words of the vectors, but for what deviates."""
    content = message.content
    if message.calls:
        calls = [{"name": c.name, "arguments": json.loads(c.arguments)} for c in message.calls]
        assert content == deviation.get("beside", "")
        content = calls
    if message.results:
        assert list(message.results) == deviation["results"]
        content = "\n</tool_response>\n<tool_response>\n".join(message.results)
    return {"role": message.role, "content": content}


def said_there(message):
    if message["role"] != "function":
        return message
    calls = [
        {"name": c.name, "arguments": json.loads(c.arguments)}
        for c in read_calls(message["content"], "there")[1]
    ]
    return {"role": "function", "content": calls}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=lambda v: str(v["id"]))
def test_a_row_says_what_it_says_to_llamafactory(tmp_path, vector):
    ours = read(tmp_path, vector)
    deviation = DEVIATIONS.get(str(vector["id"]), {"ours": {}})["ours"]
    if isinstance(deviation, str):
        assert ours == deviation
        return
    theirs = vector["output"]
    assert isinstance(ours, Conversation)
    said = [said_by(message, deviation) for message in ours.messages]
    assert said == [said_there(m) for m in theirs["prompt"] + theirs["response"]]
    assert (ours.system or "") == deviation.get("system", theirs["system"] or "")
    assert (ours.tools or "") == (theirs["tools"] or "")


def test_every_deviation_is_of_a_vector_that_is_there_and_has_a_reason():
    assert {int(key) for key in DEVIATIONS} <= {
        json.loads(line)["id"] for line in KEPT.splitlines()
    }
    assert all(deviation["reason"] for deviation in DEVIATIONS.values())


def rows(*values):
    return [Row(value, Origin("d", "a.json", i + 1, i + 1)) for i, value in enumerate(values)]


def converted(tmp_path, info, *values, renderer=CHATML):
    """Conversations and notes of rows."""
    convert = Converter(entry_of(tmp_path, info), renderer)
    made = [convert(row) for row in rows(*values)]
    return made, list(convert.notes(len(values)))


def test_columns_that_are_there_and_not_read_are_named_with_the_line_to_add(tmp_path):
    values = [
        {"instruction": "I", "output": "O", "system": "S", "history": [["q", "a"]]},
        {"instruction": "I", "output": "O", "system": "S", "history": []},
    ]
    _, notes = converted(tmp_path, {}, *values)
    assert len(notes) == 1
    assert "'history' in 1, 'system' in 2 of 2 rows" in notes[0]
    assert '"columns": {"prompt": "instruction", ' in notes[0]
    assert '"history": "history", "system": "system"} in ' in notes[0]


@pytest.mark.parametrize("formatting", ["sharegpt", "openai"])
def test_columns_and_keys_beside_messages_are_named_too(tmp_path, formatting):
    turns = [
        {"role": "user", "content": "a", "mood": "good"},
        {"role": "assistant", "content": "b"},
    ]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    tags["assistant_tag"] = "assistant"
    info = {"formatting": formatting, "columns": {"messages": "messages"}, "tags": tags}
    _, notes = converted(tmp_path, info, {"messages": turns, "tools": "[]", "system": ""})
    assert "'mood' in 1 of 1 rows" in notes[0]
    assert "'tools' in 1 of 1 rows" in notes[1]
    assert '{"messages": "messages", "tools": "tools"}' in notes[1]


def test_placeholders_are_filled_and_the_others_counted(tmp_path):
    values = [
        {"instruction": "Who?", "output": "I am {{name}} of {{author}}, {{name}}."},
        {"instruction": "{{ jinja }}", "output": "no"},
        {"instruction": "By?", "output": "{{author}}"},
    ]
    made, notes = converted(tmp_path, {"fill": {"name": "Ada", "other": "x"}}, *values)
    assert made[0].messages[1].content == "I am Ada of {{author}}, Ada."
    assert (
        "2 rows with placeholders that nothing fills: {{author}} in 2 (first: a.json:1" in notes[0]
    )
    assert '"fill": {"name": "Ada", "other": "x", "author": "…"} in ' in notes[0]
    assert "fill names other, which no row holds" in notes[1]


def test_fill_reaches_every_text_and_no_arguments():
    messages = (
        Message("user", "{{a}}"),
        Message("function", "{{a}}", None, (), "{{a}}"),
        Message("observation", "", None, (), "", ("{{a}}", "{{b}}")),
    )
    made = filled(Conversation(messages, "{{a}}", "{{a}}"), {"a": "{{b}}"})
    assert made.system == "{{b}}"
    assert made.tools == "{{a}}"
    assert [m.content for m in made.messages] == ["{{b}}", "{{b}}", ""]
    assert made.messages[1].thought == "{{b}}"
    assert made.messages[2].results == ("{{b}}", "{{b}}")


THINKS = {
    "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "hm"},
    ]
}


def test_a_thought_is_written_with_the_marks_of_the_template(tmp_path):
    qwen, _ = converted(
        tmp_path, {"formatting": "openai"}, THINKS, renderer=choose("qwen3", load_tiny())
    )
    assert qwen[0].messages[1] == Message("assistant", "<think>\nhm\n</think>\n\nb")
    plain, notes = converted(tmp_path, {"formatting": "openai"}, THINKS)
    assert plain == qwen
    assert "1 row with thoughts, which the template has no marks for" in notes[0]


def test_an_openai_entry_without_tags_reads_both_spellings(tmp_path):
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    made, _ = converted(tmp_path, {"formatting": "openai"}, THINKS, {"conversations": turns})
    assert [[m.role for m in one.messages] for one in made] == [["user", "assistant"]] * 2


def test_what_a_row_tells_is_counted_once_with_its_first_place(tmp_path):
    turns = [{"from": "system", "value": "S"}, {"from": "human", "value": "a"}]
    row = {"conversations": [*turns, {"from": "gpt", "value": "b"}], "system": "T"}
    columns = {"messages": "conversations", "system": "system"}
    made, notes = converted(tmp_path, {"formatting": "sharegpt", "columns": columns}, row, row)
    assert made[0].system == "S"
    assert "2 rows with a system message at the start" in notes[0]
    assert "(first: a.json:1 (row 1))" in notes[0]


def test_rows_of_running_text_are_refused_where_answers_are_learned(tmp_path):
    with pytest.raises(DataError, match="rows without answers"):
        Converter(entry_of(tmp_path, {"formatting": "text"}), CHATML)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"instruction": "I", "output": "O", "tools": "[]"}, "alpaca (prompt: instruction"),
        ({"prompt": "I", "response": "O"}, "alpaca (prompt: prompt, response: response)"),
        (THINKS, "sharegpt (messages: role, content; assistant, user)"),
        ({"text": "long"}, "text"),
    ],
)
def test_a_plain_path_has_the_layout_of_its_rows(tmp_path, value, said):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    (entry,) = registry.load(tmp_path, [str(path)])
    assert entry.formatting is None
    entry, again, notes = laid_out(entry, iter(rows(value, value)))
    assert len(list(again)) == 2
    assert f"{path}: read as {said}" in notes[0]
    assert FORMATS[entry.formatting](value, entry.columns, entry.tags).messages
    assert laid_out(entry, iter([]))[0] == entry


def test_a_plain_path_of_unknown_rows_names_their_columns(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    (entry,) = registry.load(tmp_path, [str(path)])
    with pytest.raises(DataError) as error:
        laid_out(entry, iter(rows({"a": 1})))
    assert "columns a" in error.value.got


_LEAVES = [
    None, True, 0, 1, -1, 1.5, "", " ", "a", "{{x}}", "[]", "{", '{"name": "f", "arguments": {}}',
    [], {}, [None], "<think>", "user", "human", "gpt", "assistant", "tool", "system",
]  # fmt: skip
_KEYS = [
    "messages", "conversations", "instruction", "input", "output", "history", "system", "tools",
    "role", "from", "content", "value", "tool_calls", "function_call", "tool_call_id", "id", "name",
    "arguments", "function", "weight", "train", "loss", "reasoning_content", "type", "text",
]  # fmt: skip


def anything(draw, depth=0):
    """Values that look like rows often enough to get far."""
    kind = draw.random()
    if depth > 4 or kind < 0.35:
        return draw.choice(_LEAVES)
    if kind < 0.6:
        return [anything(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(_KEYS): anything(draw, depth + 1) for _ in range(draw.randrange(5))}


def chat(draw, role, content):
    """Messages that are nearly right."""
    right = {"role": ["user", "assistant"], "from": ["human", "gpt"]}[role]
    names = ["tool", "system", "observation", "function_call", *right]
    turns = []
    for i in range(draw.randrange(6)):
        turn = {role: right[i % 2] if draw.random() < 0.8 else draw.choice(names), content: "a"}
        if draw.random() < 0.2:
            turn[content] = anything(draw, 3)
        if draw.random() < 0.2:
            turn[draw.choice(_KEYS)] = anything(draw, 2)
        turns.append(turn)
    return turns


@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt", "openai"])
def test_whatever_a_row_holds_it_is_read_or_refused_with_its_field(tmp_path, formatting):
    draw = random.Random(formatting)
    columns = {
        "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
        "sharegpt": {"messages": "conversations"},
        "openai": {"messages": "messages"},
    }[formatting]
    columns |= {"system": "system", "tools": "tools"}
    columns |= {"history": "history"} if formatting == "alpaca" else {}
    convert = Converter(entry_of(tmp_path, {"formatting": formatting, "columns": columns}), CHATML)
    read, refused = 0, []
    for number in range(3000):
        row = {key: anything(draw) for key in draw.sample(_KEYS, 3)}
        row |= {"messages": chat(draw, "role", "content")} if number % 2 else {}
        row |= {"conversations": chat(draw, "from", "value")} if number % 2 else {}
        row |= {"instruction": "a", "output": "b"} if number % 3 == 0 else {}
        try:
            conversation = convert(Row(row, Origin("d", "a.json", number, number)))
        except RowError as error:
            refused.append(error)
            continue
        read += 1
        assert conversation.messages
        CHATML.render(conversation)
    assert read > 50
    assert len({error.reason for error in refused}) >= 4
    assert all(error.where and error.need for error in refused)
    assert list(convert.notes(3000))
