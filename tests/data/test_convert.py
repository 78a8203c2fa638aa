"""Rows become the conversations that LLaMA-Factory makes of them, or a listed deviation."""

import gzip
import json
import random
import re
from itertools import chain
from pathlib import Path

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data import registry
from tunesmith.data.convert import Converter, filled, laid_out
from tunesmith.data.formats import answers
from tunesmith.data.ledger import RowError
from tunesmith.data.rows import Row
from tunesmith.errors import DataError
from tunesmith.templates import choose
from tunesmith.templates.calls import read_calls
from tunesmith.types import Conversation, Labelled, Message, Origin, Preference

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


def says(entry, row):
    how = {"formatting": entry.formatting, "ranking": entry.ranking}
    return answers.read(row, entry.columns, entry.tags, **how)


def in_their_words(said):
    """Prompt and answers as the vectors have them: a label is the place of an empty answer."""
    if isinstance(said, Preference):
        return said.prompt, said.prompt.messages, (said.chosen, said.rejected)
    if isinstance(said, Labelled):
        conversation, empty = said.conversation, Message("assistant", "")
        answer = conversation.messages[-1]
        pair = (answer, empty) if said.desirable else (empty, answer)
        return conversation, conversation.messages[:-1], pair
    return said, said.messages[:-1], said.messages[-1:]


def read(tmp_path, vector):
    """What becomes of a vector: its conversation, or the fault in the words of the file."""
    try:
        entry = entry_of(tmp_path, vector["dataset_info"])
    except DataError as error:
        return "refused: " + error.where.split(": d.")[1]
    try:
        return says(entry, vector["row"])
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
    if "label" in deviation:
        assert isinstance(ours, Labelled)
        assert ours.desirable == deviation["label"]
        ours = ours.conversation
    conversation, prompt, response = in_their_words(ours)
    for mine, his in ((prompt, theirs["prompt"]), (response, theirs["response"])):
        assert [said_by(message, deviation) for message in mine] == [said_there(m) for m in his]
    assert (conversation.system or "") == deviation.get("system", theirs["system"] or "")
    assert (conversation.tools or "") == (theirs["tools"] or "")


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


def test_the_line_to_add_names_no_column_that_no_row_has(tmp_path):
    _, (note,) = converted(tmp_path, {}, {"instruction": "I", "output": "O", "system": "S"})
    line = '"columns": {"prompt": "instruction", "response": "output", "system": "system"} in '
    assert line in note
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    row = {"conversations": turns, "images": ["1.jpg"]}
    _, (note,) = converted(tmp_path, {"formatting": "openai"}, row)
    assert '{"messages": "conversations", "images": "images"}' in note


def test_where_no_row_is_read_nothing_is_said_to_read_more_of_it(tmp_path):
    convert = Converter(entry_of(tmp_path, {"formatting": "sharegpt"}), CHATML)
    (row,) = rows({"messages": THINKS["messages"], "system": "S"})
    with pytest.raises(RowError):
        convert(row)
    (note,) = convert.notes(1)
    assert note.endswith("columns that are not read: 'system' in 1 of 1 rows")


def test_what_is_to_be_added_to_a_path_alone_is_told_as_the_whole_entry(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    row = {"messages": [*THINKS["messages"][:1], {"role": "assistant", "content": "{{name}}"}]}
    row |= {"images": ["1.jpg"], "system": "S"}
    (entry,) = registry.load(tmp_path, [str(path)])
    entry, found, _ = laid_out(entry, iter(rows(row)))
    convert = Converter(entry, CHATML)
    before = convert(*found)
    (by_fill, by_columns) = convert.notes(1)
    for note in (by_fill, by_columns):
        assert note.endswith(f" in place of {path}")
    told = json.loads(by_fill.partition("to fill them: ")[2].partition(" in place of ")[0])
    (entry,) = registry.load(tmp_path, [{**told, "fill": {"name": "Ada"}}])
    filled_in = Converter(entry, CHATML)(*rows(row))
    assert (filled_in.system, filled_in.messages[0]) == ("S", before.messages[0])
    assert filled_in.messages[1].content == "Ada"


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


def test_the_line_to_add_fills_the_placeholders_that_are_shown(tmp_path):
    names = [f"n{i}" for i in range(7)]
    values = [
        {"instruction": "Who?", "output": " ".join(f"{{{{{name}}}}}" for name in names[i:])}
        for i in range(7)
    ]
    _, (note,) = converted(tmp_path, {}, *values)
    shown, _, line = note.partition("; to fill them: ")
    assert re.findall(r"{{(\w+)}} in (\d)", shown) == [
        (f"n{i}", str(i + 1)) for i in range(6, 1, -1)
    ]
    assert re.findall(r'"(n\d)": "…"', line) == [f"n{i}" for i in range(6, 1, -1)]


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
    values = THINKS, {"conversations": turns}, {"messages": json.dumps(turns)}  # of a table
    made, notes = converted(tmp_path, {"formatting": "openai"}, *values)
    assert [[m.role for m in one.messages] for one in made] == [["user", "assistant"]] * 3
    assert not [note for note in notes if "no row has" in note]


def test_what_a_row_tells_is_counted_once_with_its_first_place(tmp_path):
    turns = [{"from": "system", "value": "S"}, {"from": "human", "value": "a"}]
    row = {"conversations": [*turns, {"from": "gpt", "value": "b"}], "system": "T"}
    columns = {"messages": "conversations", "system": "system"}
    made, notes = converted(tmp_path, {"formatting": "sharegpt", "columns": columns}, row, row)
    assert made[0].system == "S"
    assert "2 rows with a system message at the start" in notes[0]
    assert "(first: a.json:1 (row 1))" in notes[0]


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
    assert says(entry, value).messages
    assert laid_out(entry, iter([]))[0] == entry


def test_a_plain_path_of_unknown_rows_names_their_columns(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    (entry,) = registry.load(tmp_path, [str(path)])
    with pytest.raises(DataError) as error:
        laid_out(entry, iter(rows({"a": 1})))
    assert "columns a" in error.value.got


PAIRS = {"ranking": True, "columns": {"prompt": "q", "chosen": "c", "rejected": "r"}}


def test_a_pair_is_filled_and_spelled_like_any_row(tmp_path):
    (pair, _), notes = converted(
        tmp_path,
        {**PAIRS, "fill": {"name": "Ada"}},
        {"q": "{{name}}?", "c": "{{name}}", "r": "{{other}}"},
        {"q": "a", "c": "b", "r": "b"},
    )
    said = [m.content for m in (*pair.prompt.messages, pair.chosen, pair.rejected)]
    assert said == ["Ada?", "Ada", "{{other}}"]
    assert "1 row with a chosen answer that is the rejected one too" in notes[0]
    assert "(first: a.json:2 (row 2))" in notes[0]
    assert "{{other}} in 1" in notes[1]


def test_thoughts_and_unread_keys_of_both_answers_are_seen(tmp_path):
    said = {"role": "assistant", "content": "a"}
    row = {
        "messages": THINKS["messages"][:1],
        "chosen": {**said, "reasoning_content": "hm"},
        "rejected": {**said, "mood": "bad"},
    }
    (pair,), notes = converted(tmp_path, {"formatting": "openai", "ranking": True}, row)
    assert pair.chosen.content == "<think>\nhm\n</think>\n\na"
    assert "1 row with thoughts" in notes[0]
    assert "'mood' in 1 of 1 rows" in notes[1]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([True, False, True], "2 rows with a good answer, 1 row with a bad one"),
        ([True, True], "2 rows, all with a good answer; KTO learns from the difference to bad"),
        ([False], "1 row, all with a bad answer; KTO learns from the difference to good"),
    ],
)
def test_labels_are_counted_and_one_kind_alone_is_told(tmp_path, labels, told):
    columns = {"prompt": "q", "response": "a", "kto_tag": "l"}
    values = [{"q": "a", "a": "b", "l": label} for label in labels]
    made, notes = converted(tmp_path, {"columns": columns}, *values)
    assert [one.desirable for one in made] == labels
    assert told in notes[0]


def test_media_are_counted_and_looked_for_where_the_run_says(tmp_path):
    (tmp_path / "pics").mkdir()
    for name in ("1.jpg", "pics/2.jpg"):
        (tmp_path / name).write_bytes(b"x")
    columns = {"prompt": "q", "response": "a", "images": "i"}
    row = {"q": "<image>", "a": "b", "i": "1.jpg"}
    (made,), notes = converted(tmp_path, {"columns": columns}, row)
    assert made.media[0].source == str(tmp_path / "1.jpg")
    assert "1 images in 1 row, with as many placeholders" in notes[0]
    entry = entry_of(tmp_path, {"columns": columns})
    convert = Converter(entry, CHATML, media_dir=tmp_path / "pics")
    with pytest.raises(RowError, match="i"):
        convert(*rows(row))
    assert convert(*rows({**row, "i": "2.jpg"})).media[0].source == str(tmp_path / "pics/2.jpg")
    elsewhere = Converter(entry._replace(source="hf_hub_url"), CHATML)
    with pytest.raises(RowError) as error:
        elsewhere(*rows({**row, "i": "/etc/passwd"}))
    assert error.value.reason == "path out of media_dir"


def test_media_that_are_there_and_not_read_are_named(tmp_path):
    row = {"instruction": "<image>", "output": "b", "images": ["1.jpg"]}
    _, notes = converted(tmp_path, {}, row)
    assert "'images' in 1 of 1 rows" in notes[0]
    assert '"images": "images"' in notes[0]


_LEAVES = [
    None, True, 0, 1, -1, 1.5, "", " ", "a", "{{x}}", "[]", "{", '{"name": "f", "arguments": {}}',
    [], {}, [None], "<think>", "user", "human", "gpt", "assistant", "tool", "system",
]  # fmt: skip
_KEYS = [
    "messages", "conversations", "instruction", "input", "output", "history", "system", "tools",
    "role", "from", "content", "value", "tool_calls", "function_call", "tool_call_id", "id", "name",
    "arguments", "function", "weight", "train", "loss", "reasoning_content", "type", "text",
    "chosen", "rejected", "label", "images",
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


def pair(draw, formatting):
    """Two answers that are nearly right, after messages that nearly end with a question."""
    if formatting == "alpaca":
        return {"chosen": draw.choice(["a", anything(draw, 3)]), "rejected": "b"}
    role, content, name = ("from", "value", "gpt")
    if formatting == "openai":
        role, content, name = "role", "content", "assistant"
    ask = {role: "human" if name == "gpt" else "user", content: draw.choice(["q", "<image>"])}
    right = {role: name, content: "a"}
    row = {"chosen": draw.choice([right, anything(draw, 2)]), "rejected": right}
    return {**row, "conversations": [ask], "messages": [ask]} if draw.random() < 0.7 else row


_BESIDE = {
    "alone": {},
    "pairs": {"chosen": "chosen", "rejected": "rejected"},
    "labels": {"kto_tag": "label"},
    "media": {"images": "images"},
}


@pytest.mark.parametrize("beside", _BESIDE)
@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt", "openai"])
def test_whatever_a_row_holds_it_is_read_or_refused_with_its_field(tmp_path, formatting, beside):
    draw = random.Random(formatting + beside)
    columns = {
        "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
        "sharegpt": {"messages": "conversations"},
        "openai": {"messages": "messages"},
    }[formatting]
    columns |= {"system": "system", "tools": "tools"}
    columns |= {"history": "history"} if formatting == "alpaca" else {}
    columns |= _BESIDE[beside]
    info = {"formatting": formatting, "ranking": beside == "pairs", "columns": columns}
    convert = Converter(entry_of(tmp_path, info), CHATML)
    read, refused = 0, []
    for number in range(3000):
        row = {key: anything(draw) for key in draw.sample(_KEYS, 3)}
        row |= {"messages": chat(draw, "role", "content")} if number % 2 else {}
        row |= {"conversations": chat(draw, "from", "value")} if number % 2 else {}
        row |= {"instruction": "a", "output": "b"} if number % 3 == 0 else {}
        row |= {"label": draw.choice([True, False, None])} if number % 4 else {}
        row |= pair(draw, formatting) if beside == "pairs" and number % 2 else {}
        try:
            said = convert(Row(row, Origin("d", "a.json", number, number)))
        except RowError as error:
            refused.append(error)
            continue
        read += 1
        for conversation in answers.conversations(said):
            assert conversation.messages
            CHATML.render(conversation)
    assert read > 50
    assert len({error.reason for error in refused}) >= 4
    assert all(error.where and error.need for error in refused)
    assert list(convert.notes(3000))
