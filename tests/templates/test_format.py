"""Template files: what is valid, and how what is not is named."""

import pytest

from tunesmith.errors import TemplateError
from tunesmith.templates import registry
from tunesmith.templates.format import Special, Turn, from_fields, read

GOOD = """
name: a
stop_words: ["<end>"]
roles:
  user: {open: "U:", stop: "<end>"}
  assistant: {open: [{special: bos}, "A:"], stop: {special: eos}, after: "\\n"}
"""


def _no_parent(name):
    raise AssertionError(f"nobody asked for {name}")


def test_a_string_a_special_token_and_a_list_are_all_texts():
    turn = read(GOOD, "f.yaml", _no_parent)["a"].roles.assistant
    assert turn.open == (Special(special="bos"), "A:")
    assert turn.stop == (Special(special="eos"),)
    assert turn.after == ("\n",)


def test_a_child_states_only_what_differs():
    text = GOOD + "---\nname: b\nlike: a\nroles:\n  user: {open: 'Q:'}\n"
    parent, child = read(text, "f.yaml", _no_parent).values()
    assert child.roles.user.open == ("Q:",)
    assert child.roles.user.stop == ("<end>",)
    assert child.roles.assistant == parent.roles.assistant
    assert child.stop_words == ("<end>",)


def test_a_child_of_another_file_is_asked_for_by_name():
    parent = read(GOOD, "f.yaml", _no_parent)["a"]
    found = read("name: b\nlike: a\ndefault_system: S\n", "g.yaml", {"a": parent}.__getitem__)
    assert found["b"].default_system == "S"


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        (GOOD + "stop_word: []\n", "f.yaml: a.stop_word", "stop_words"),
        (GOOD.replace("after:", "aftr:"), "f.yaml: a.roles.assistant.aftr", "after"),
        (GOOD.replace("  user:", "  usr:"), "f.yaml: a.roles.usr", "user"),
        (GOOD.replace("roles:", "role:"), "f.yaml: a.role", "roles"),
        ("like: chatml\ntools: glm4\n", "f.yaml: f.tools", "tool_format: glm4"),
        ("like: chatmal\n", "f.yaml: like", "chatml"),
        ("like: xyz9.txt\n", "f.yaml: like", "tunesmith template list"),
        ("like: chatml\ntools: {opn: x}\n", "f.yaml: f.tools.opn", "open"),
        (
            "like: chatml\nthinking: {open: a, close: b, histry: keep}\n",
            "f.yaml: f.thinking.histry",
            "history",
        ),
        (GOOD.replace("{special: eos}", "{special: end}"), "f.yaml: a.roles.assistant.stop", ""),
        (GOOD + "replace_eos: [1]\n", "f.yaml: a.replace_eos", ""),
        ("- a\n", "f.yaml", ""),
        ("a: [\n", "f.yaml:2:1", ""),
        ("", "f.yaml", ""),
        (GOOD + "---" + GOOD, "f.yaml: name", ""),
    ],
)
def test_what_is_wrong_is_one_error_with_file_and_key(text, where, hint):
    with pytest.raises(TemplateError) as caught:
        read(text, "f.yaml", registry.format)
    assert caught.value.where.startswith(where)
    assert caught.value.need
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "got", "hint"),
    [
        ("{special: foo}", {"special": "foo"}, ""),
        ("{tokn: x}", {"tokn": "x"}, "{token: x}"),
        ("[a, {specal: eos}]", {"specal": "eos"}, "{special: eos}"),
        ("{eos_token}", {"eos_token": None}, "{special: eos}"),
        ("[{bos_token}, a]", {"bos_token": None}, "{special: bos}"),
        ("{token: ''}", {"token": ""}, ""),
        ("{round: x}", {"round": "x"}, ""),
        ("[a, {round: 1, later: b}]", {"round": 1, "later": "b"}, ""),
        ("1", 1, ""),
    ],
)
def test_a_slot_that_does_not_exist_is_answered_with_those_that_do(text, got, hint):
    with pytest.raises(TemplateError) as caught:
        read(GOOD.replace('"U:"', text), "f.yaml", _no_parent)
    assert caught.value.where == "f.yaml: a.roles.user.open"
    assert (caught.value.got, caught.value.hint) == (got, hint)
    for slot in ("{special: bos or eos or start}", "{token: TEXT}", "{round: NUMBER}"):
        assert slot in caught.value.need


@pytest.mark.parametrize(
    ("old", "new", "where", "hint"),
    [
        ('"U:"', '"<|user|>{{content}}<|end|>"', "roles.user.open", "`stop`"),
        ('"U:"', '["<|user|>", "{{ idx }}"]', "roles.user.open", "{round: 0}"),
        ("roles:", 'tools: {open: "{{content}}"}\nroles:', "tools.open", "`open`"),
        ("roles:", 'prefix: "{{content}}"\nroles:', "prefix", "`open`"),
    ],
)
def test_a_place_in_braces_is_refused_with_how_it_is_written_here(old, new, where, hint):
    with pytest.raises(TemplateError) as caught:
        read(GOOD.replace(old, new), "f.yaml", _no_parent)
    assert caught.value.where == f"f.yaml: a.{where}"
    assert "a slot that exists: text, `{special: bos" in caught.value.need
    assert hint in caught.value.hint


def test_braces_that_are_somebodys_words_stay():
    text = "version: a\nsep_style: MPT\nsep: </s>\nroles: [U, A]\n"
    words = 'messages: [[U, "what is {{content}}?"], [A, "a slot"]]\n'
    assert "{{content}}" in str(read(text + words, "f.yaml", _no_parent)["a"])


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("name: x\nlike: x\n", "a cycle: x like x"),
        ("like: f\n", "a cycle: f like f"),
        ("name: x\nlike: y\n---\nname: y\nlike: x\n", "a cycle: x like y like x"),
        ("name: x\nlike: y\n---\nname: y\nlike: y\n", "a cycle: x like y like y"),
        (f"name: x\nlike: a\n---\n{GOOD}", "x like a"),
        ("name: x\nlike: y\n---\nname: y\nlike: chatml\n", "x like y"),
        ("name: x\nlike: y\n---\nname: y\nlike: [chatml]\n", "x like y"),
        ("name: [x]\nlike: y\n---\nname: y\n", "['x'] like y"),
        ("like: [chatml]\n", ["chatml"]),
        ("like: null\n", None),
    ],
)
def test_a_parent_that_cannot_be_one_is_told_as_such(text, got):
    with pytest.raises(TemplateError) as caught:
        read(text, "f.yaml", registry.format)
    assert caught.value.where == "f.yaml: like"
    assert caught.value.got == got


def test_a_template_cannot_be_changed():
    format = read(GOOD, "f.yaml", _no_parent)["a"]
    with pytest.raises(ValueError, match="frozen"):
        format.name = "b"


def test_an_unknown_tool_format_is_told_where_the_file_names_it():
    with pytest.raises(TemplateError) as caught:
        read(GOOD + "tool_format: qwenn\n", "f.yaml", _no_parent)
    assert caught.value.where == "f.yaml: a.tool_format"
    assert caught.value.got == "qwenn"
    assert "qwen" in caught.value.hint


def test_another_tool_format_brings_its_own_turns_of_calls():
    ends = {"stop": "<end>", "after": "\n", "open": "A:"}
    roles = {"user": {}, "assistant": ends, "function": {"lead": "[CALLS]", "stop": "<end>"}}
    fields = {"name": "a", "roles": roles, "tools": {"open": "<|tool|>"}, "between": "\n"}
    other = from_fields(fields, "f.yaml").with_tool_format("qwen")
    assert other.roles.function == Turn(stop=({"special": "eos"},))
    assert (other.tool_format, other.tools, other.between) == ("qwen", Turn(), None)
    assert other.roles.assistant.after == ("\n",)
    once = from_fields({**fields, "efficient_eos": True}, "f.yaml").with_tool_format("qwen")
    assert once.roles.function == Turn(stop="<end>", after="\n")
