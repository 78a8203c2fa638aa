"""Jinja templates read back as template files: equal in what is kept, named in what is not."""

import json

import pytest

from own_jinjas import GOLDEN, RECORD, SHARED, own
from real_tokenizers import real
from template_cases import BOS, bound, turns
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.templates import OwnJinja, registry
from tunesmith.templates.parse import parse
from tunesmith.templates.render import Template
from tunesmith.types import Call, Conversation, Message

WORDS = "{{content}}"
LOST = {
    "qwen3": {"white space around words"},
    "llama3": {"tools", "white space around words"},
    "llama3_1": {"tools", "white space around words"},
    "deepseek_v3": {"tools"},
    "gemma3": {"tools", "white space around words"},
    "smollm2": {"tools"},
}
DEVIATIONS = json.loads((GOLDEN / "parse_deviations.json").read_text(encoding="utf8"))
LISTED = {entry["id"]: entry["fields"] for entry in DEVIATIONS}
TOOLS = '[{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}]'
CALLED = (Message("user", "q"), Message("function", "", calls=(Call("f", "{}"),)))


def test_answers_that_stand_elsewhere_in_the_history_are_not_read_back():
    template = bound("gpt_oss")  # thinking.earlier
    tiny = load_tiny()._replace(bos=BOS, eos=template.eos, stops=template.stop_words)
    parsed = parse(OwnJinja(template.jinja(), tiny))
    assert parsed.format is None
    assert [why.partition(":")[0] for why in parsed.lost] == ["turns"]


@pytest.mark.parametrize("name", [n for n in registry.names() if n not in ("empty", "gpt_oss")])
def test_the_jinja_that_a_shipped_template_writes_is_read_back(name):
    template = bound(name)
    end = template.text(template.format.roles.assistant.stop).strip()
    stops = (*template.stop_words, end)
    tiny = load_tiny()._replace(bos=BOS, eos=template.eos, stops=stops)
    parsed = parse(OwnJinja(template.jinja(), tiny))
    assert parsed.format is not None
    assert {why.partition(":")[0] for why in parsed.lost} == {"tools"} & (
        {"tools"} if name == "chatglm2" else set()
    )


@pytest.mark.parametrize("name", [name for name in LOST if name != "llama3"])
def test_what_the_models_own_templates_lose_is_named(name):
    tokenizer = real(name)
    parsed = parse(OwnJinja(tokenizer.chat_template, tokenizer))
    assert parsed.format is not None
    assert {why.partition(":")[0] for why in parsed.lost} == LOST[name]
    assert parsed == parse(own(name)), "the record has the tokens that matter"


def read_back(name):
    jinja = own(name)
    parsed = parse(jinja)
    return jinja, Template(parsed.format, bos=jinja.bos, eos=jinja.eos), parsed.lost


def strings(template):
    """What was read, as the record has it."""
    roles, format = template.format.roles, template.format
    around = {role: getattr(roles, role) for role in ("user", "assistant", "system")}
    said = {
        role: template.text((*turn.open, WORDS, *turn.stop, *turn.after))
        for role, turn in around.items()
    }
    answer = template.text(roles.assistant.open)
    inside = format.system_style == "inside_first_user"
    return {
        "error": None,
        "template_kind": "reasoning" if format.thinking else "llama2" if inside else "plain",
        "format_user": [said["user"] + answer],
        "format_assistant": [
            template.text(roles.assistant.lead) + said["assistant"][len(answer) :]
        ],
        "format_system": [said["system"]],
        "format_prefix": [text] if (text := template.text(format.prefix)) else [],
        "default_system": template.system,
    }


def upstream_text(row, conversation):
    """What the recorded strings give for a conversation."""
    system = conversation.system or row["default_system"]
    around = {role: "".join(row[f"format_{role}"]) for role in ("user", "assistant", "system")}
    said = [("system", system)] if system else []
    said += [(message.role, message.content) for message in conversation.messages]
    return "".join([*row["format_prefix"], *(around[r].replace(WORDS, w) for r, w in said)])


@pytest.mark.parametrize("name", RECORD)
def test_only_the_listed_strings_differ_from_the_recorded_ones(name):
    _, template, lost = read_back(name)
    ours, row = strings(template), RECORD[name]
    assert sorted(key for key in ours if row.get(key) != ours[key]) == LISTED.get(name, [])
    assert {why.partition(":")[0] for why in lost} == LOST[name]


@pytest.mark.parametrize("name", RECORD)
def test_what_is_read_gives_the_text_of_the_jinja_and_listed_strings_of_upstream_do_not(name):
    jinja, template, _ = read_back(name)
    equal = []
    for system in (None, "Be brief."):
        for said in (turns("Q?"), turns("Q?", "A.", "Why?")):
            talk = Conversation(said, system)
            asked = jinja.text(talk, prompting=True)
            spans = template.render(talk, add_generation_prompt=True)
            assert "".join(span.text for span in spans) == asked
            equal.append(not RECORD[name]["error"] and upstream_text(RECORD[name], talk) == asked)
    assert all(equal) == (name not in LISTED)


def test_every_deviation_has_a_reason_and_is_listed_once():
    assert all(entry["why"] for entry in DEVIATIONS)
    assert len(LISTED) == len(DEVIATIONS)
    assert set(LISTED) <= set(RECORD)


def test_the_committed_record_is_the_whole_one():
    if not SHARED.exists():
        pytest.skip("no full set beside the checkout")
    rows = [json.loads(line) for line in SHARED.read_text(encoding="utf8").splitlines()]
    assert rows == list(RECORD.values())


@pytest.mark.parametrize("name", [name for name in LOST if "tools" in LOST[name]])
@pytest.mark.parametrize(
    ("talk", "got"),
    [
        (Conversation(CALLED[:1], None, TOOLS), "definitions of tools"),
        (Conversation((*CALLED, *CALLED[:1])), "a call of f"),
        (Conversation((Message("observation", "1"),)), "observation"),
    ],
)
def test_tools_that_are_not_proven_are_refused_and_never_become_other_text(name, talk, got):
    _, template, _ = read_back(name)
    with pytest.raises(TemplateError) as caught:
        template.render(talk, add_generation_prompt=True)
    assert caught.value.got == got
    assert "no words for them" in caught.value.need


def test_the_date_of_the_day_is_named_as_what_stays_that_of_today():
    dated = (
        "<|im_start|>system\n{{ strftime_now('%d %b') }}<|im_end|>\n"
        "{% for m in messages %}"
        "<|im_start|>{{ m.role + '\\n' + m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    plain = dated.replace("strftime_now('%d %b')", "'7 March'")
    for source, expected in ((dated, 1), (plain, 0)):
        parsed = parse(OwnJinja(source, load_tiny()))
        assert parsed.format is not None
        assert sum(why.startswith("date: ") for why in parsed.lost) == expected


def test_a_list_of_no_tools_is_no_tool():
    _, template, _ = read_back("smollm2")
    none = Conversation(CALLED[:1], None, "[]")
    assert template.render(none, add_generation_prompt=True)


def test_the_header_that_some_write_behind_a_last_answer_is_none_of_it():
    jinja, template, _ = read_back("llama3")
    talk = Conversation(turns("Q?", "A."))
    text = "".join(span.text for span in template.render(talk))
    header = template.text(template.format.roles.assistant.open)
    assert jinja.text(talk, prompting=False) == text + header
