"""A row is a conversation, a pair of answers or a labelled one, or an error with its field."""

import pytest

from tunesmith.data.entry import OPENAI_COLUMNS, OPENAI_TAGS, SHAREGPT_COLUMNS, Columns, Tags
from tunesmith.data.formats.answers import changed, conversations, label, read
from tunesmith.data.ledger import RowError
from tunesmith.types import Call, Conversation, Labelled, Message, Preference

PAIR = {"chosen": "chosen", "rejected": "rejected"}
COLUMNS = {
    "alpaca": Columns(response=None, history="history", system="system", **PAIR),
    "sharegpt": SHAREGPT_COLUMNS._replace(**PAIR),
    "openai": OPENAI_COLUMNS._replace(**PAIR),
}
TAGS = {"alpaca": Tags(), "sharegpt": Tags(), "openai": OPENAI_TAGS}
ASKED = [{"from": "human", "value": "q"}]
GOOD, BAD = {"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}
ROW = {"conversations": ASKED, "chosen": GOOD, "rejected": BAD}
PROMPT = Conversation((Message("user", "q"),))
SAID = Preference(PROMPT, Message("assistant", "a"), Message("assistant", "b"))


def pair(row, formatting="sharegpt", tell=lambda words: None):
    columns, tags = COLUMNS[formatting], TAGS[formatting]
    return read(row, columns, tags, tell, formatting=formatting, ranking=True)


def test_a_pair_is_the_same_in_every_layout():
    assert pair({"instruction": "q", "chosen": "a", "rejected": "b"}, "alpaca") == SAID
    assert pair(ROW) == SAID
    said = [{"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"))]
    other = {"role": "assistant", "content": "b"}
    row = {"messages": said[:1], "chosen": said[1], "rejected": other}
    assert pair(row, "openai") == SAID
    assert pair({**row, "chosen": [said[1]], "rejected": [other]}, "openai") == SAID


def test_a_table_spells_the_messages_of_a_pair_as_json_text():
    row = {"conversations": '[{"from": "human", "value": "q"}]'}
    row |= {"chosen": '{"from": "gpt", "value": "a"}', "rejected": '[{"from":"gpt","value":"b"}]'}
    assert pair(row) == SAID


def test_the_prompt_of_a_pair_has_system_text_and_history():
    row = {"instruction": "q", "system": "S", "history": [["1", "2"]], "chosen": "a"}
    said = pair({**row, "rejected": "b"}, "alpaca")
    assert said.prompt.system == "S"
    assert [m.content for m in said.prompt.messages] == ["1", "2", "q"]


def test_an_answer_of_a_pair_may_call_tools():
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    row = {"messages": [{"role": "user", "content": "q"}], "chosen": call}
    said = pair({**row, "rejected": {"role": "assistant", "content": "b"}}, "openai")
    assert said.chosen == Message("function", "", calls=(Call("f", "{}"),))


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"chosen": None}, "wrong type", "chosen"),
        ({"chosen": "a"}, "wrong type", "chosen"),
        ({"chosen": 1}, "wrong type", "chosen"),
        ({"chosen": []}, "wrong type", "chosen"),
        ({"chosen": [GOOD, BAD]}, "wrong type", "chosen"),
        ({"chosen": {"value": "a"}}, "missing column", "chosen.from"),
        ({"chosen": {"from": "gpt"}}, "missing column", "chosen.value"),
        ({"chosen": {"from": "gpt", "value": None}}, "null instead of text", "chosen.value"),
        ({"chosen": {"from": "gpt", "value": " "}}, "empty answer", "chosen.value"),
        ({"rejected": {"from": "human", "value": "b"}}, "role out of order", "rejected.from"),
        ({"rejected": {"from": "observation", "value": "b"}}, "role out of order", "rejected.from"),
        ({"rejected": {"from": "system", "value": "b"}}, "role out of order", "rejected.from"),
        ({"rejected": [{"from": "bot", "value": "b"}]}, "unknown role", "rejected[0].from"),
        ({"conversations": []}, "no messages", "conversations"),
        ({"conversations": [*ASKED, GOOD]}, "no question at the end", "conversations[1].from"),
        ({"conversations": [GOOD]}, "role out of order", "conversations[0].from"),
    ],
)
def test_a_bad_pair_is_refused_with_its_field(change, reason, field):
    with pytest.raises(RowError) as error:
        pair({**ROW, **change})
    assert (error.value.reason, error.value.where) == (reason, field)
    assert error.value.got is not None
    assert error.value.need


@pytest.mark.parametrize("column", ["chosen", "rejected"])
def test_a_pair_without_one_of_its_answers_is_refused(column):
    alpaca = {"instruction": "q", "chosen": "a", "rejected": "b"}
    for formatting, row in (("sharegpt", ROW), ("alpaca", alpaca)):
        with pytest.raises(RowError) as error:
            pair({k: v for k, v in row.items() if k != column}, formatting)
        assert (error.value.reason, error.value.where) == ("missing column", column)
    for value, reason in (
        (None, "null instead of text"),
        (GOOD, "wrong type"),
        ("", "empty answer"),
    ):
        with pytest.raises(RowError) as error:
            pair({**alpaca, column: value}, "alpaca")
        assert (error.value.reason, error.value.where) == (reason, column)


def test_equal_answers_are_told_and_read():
    told = []
    assert pair({**ROW, "rejected": GOOD}, tell=told.append).chosen == Message("assistant", "a")
    pair(ROW, tell=told.append)
    assert told == ["chosen answer that is the rejected one too: such a pair teaches nothing"]


def test_the_answer_of_messages_may_stand_in_a_response_column():
    columns = SHAREGPT_COLUMNS._replace(response="chosen")
    said = read(ROW, columns, Tags(), formatting="sharegpt")
    assert said == Conversation((*PROMPT.messages, Message("assistant", "a")))
    with pytest.raises(RowError) as error:
        read({**ROW, "conversations": [*ASKED, GOOD]}, columns, Tags(), formatting="sharegpt")
    assert error.value.reason == "no question at the end"
    assert "chosen" in error.value.need


@pytest.mark.parametrize(
    ("value", "good"),
    [(True, True), (False, False), ("true", True), ("False", False), ("TRUE", True)],
)
def test_a_label_is_true_or_false_or_one_of_these_words(value, good):
    row = {"instruction": "q", "output": "a", "label": value}
    said = read(row, Columns(kto_tag="label"), Tags(), formatting="alpaca")
    assert said == Labelled(Conversation((*PROMPT.messages, Message("assistant", "a"))), good)


@pytest.mark.parametrize("value", [0, 1, 1.0, "1", "yes", "", "good", [], {}, [True]])
def test_anything_else_is_no_label(value):
    with pytest.raises(RowError) as error:
        label({"label": value}, "label")
    assert (error.value.reason, error.value.where) == ("wrong type", "label")
    assert error.value.got == value


def test_a_label_that_is_null_or_not_there_is_refused():
    with pytest.raises(RowError) as error:
        label({"label": None}, "label")
    assert (error.value.reason, error.value.got) == ("null instead of true or false", "null")
    with pytest.raises(RowError) as error:
        label({"lable": True}, "label")
    assert error.value.reason == "missing column"
    assert "'lable'" in error.value.hint


def test_the_texts_of_a_row_are_its_prompt_with_each_answer():
    texts = conversations(SAID)
    assert [[m.content for m in text.messages] for text in texts] == [["q", "a"], ["q", "b"]]
    assert conversations(PROMPT) == (PROMPT,)
    assert conversations(Labelled(PROMPT, False)) == (PROMPT,)


def test_a_change_of_words_reaches_every_message_and_keeps_the_kind():
    def louder(conversation):
        messages = tuple(m._replace(content=m.content.upper()) for m in conversation.messages)
        return conversation._replace(messages=messages)

    made = changed(SAID, louder)
    assert isinstance(made, Preference)
    assert [m.content for m in (*made.prompt.messages, made.chosen, made.rejected)] == list("QAB")
    assert changed(Labelled(PROMPT, False), louder) == Labelled(louder(PROMPT), False)
    assert changed(PROMPT, louder) == louder(PROMPT)


ROLES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
FROMS = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
USERS = [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]
ELSE = {
    "alpaca, messages": ("alpaca", {"messages": ROLES}, '"columns": {"messages": "messages"}'),
    "alpaca, sharegpt": ("alpaca", {"conversations": FROMS}, '"user_tag": "human"'),
    "sharegpt, messages": ("sharegpt", {"messages": ROLES}, '"messages": "messages"'),
    "sharegpt, its keys": ("sharegpt", {"conversations": ROLES}, '"role_tag": "role"'),
    "sharegpt, its roles": ("sharegpt", {"conversations": USERS}, '"user_tag": "user"'),
    "sharegpt, alpaca": ("sharegpt", {"prompt": "a", "answer": "b"}, '"response": "answer"'),
    "openai, sharegpt": ("openai", {"messages": FROMS}, '"role_tag": "from"'),
    "alpaca, names": ("alpaca", {"prompt": "a", "answer": "b"}, '"prompt": "prompt"'),
}


@pytest.mark.parametrize(("formatting", "row", "line"), ELSE.values(), ids=ELSE)
def test_a_row_of_another_layout_names_the_lines_to_add(formatting, row, line):
    columns = {"alpaca": Columns(), "sharegpt": SHAREGPT_COLUMNS, "openai": OPENAI_COLUMNS}
    with pytest.raises(RowError) as error:
        read(row, columns[formatting], TAGS[formatting], formatting=formatting)
    assert "looks like" in error.value.hint
    assert line in error.value.hint


def test_a_role_that_the_entry_could_name_is_told_rather_than_another_layout():
    tags = Tags(observation_tag=None)
    turns = [*FROMS[:1], {"from": "observation", "value": "x"}, *FROMS[1:]]
    with pytest.raises(RowError) as error:
        read({"conversations": turns}, SHAREGPT_COLUMNS, tags, formatting="sharegpt")
    assert error.value.hint == '"observation_tag": "observation" under tags'
