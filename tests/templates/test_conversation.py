"""Conversations of separators: the text of LLaVA's `get_prompt`, and what of it is learned."""

import enum
from itertools import product
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers.utils.chat_template_utils import render_jinja_template

from template_cases import turns
from tiny_tokenizer import load_tiny
from tunesmith import templates, types
from tunesmith.errors import TemplateError
from tunesmith.templates import Asked, choose, registry
from tunesmith.templates.conversation import STYLES
from tunesmith.templates.conversation import Conversation as Separated

SYSTEM = "A chat between a user and an assistant."
CHATML = ("<|im_start|>user\n", "<|im_start|>assistant\n")
SHOTS = ("Hi there", "Hello!", "And?", "Nothing.")
WORDS = ("  2 + 2? {{x}}", "4.\n", "why", " </s> [INST]")
KNOWN = {
    "SINGLE": dict(roles=("Human", "Assistant"), sep="###"),
    "TWO": dict(roles=("USER", "ASSISTANT"), sep=" ", sep2="<|endoftext|>"),
    "MPT": dict(roles=CHATML, sep="<|im_end|>"),
    "LLAMA_2": dict(roles=("USER", "ASSISTANT"), sep="<s>", sep2="</s>"),
    "PLAIN": dict(roles=("", ""), sep="\n", sep2="<|endoftext|>"),
}


def prompt_of(style, said, system, roles, sep, sep2):
    """What `get_prompt` gives for these words; an open question ends in the answer's header."""
    colon = {"SINGLE": ": ", "TWO": ": ", "MPT": ""}.get(style)
    if style == "LLAMA_2":
        block = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else ""
        rounds = [f"[INST] {q} [/INST]" for q in (block + said[0], *said[2::2])]
        answers = [f" {a} {sep2}" for a in said[1::2]]
        text = "".join(
            sep + q + (answers[i] if i < len(answers) else "") for i, q in enumerate(rounds)
        )
        return text.removeprefix(sep)
    ends = {"TWO": (sep, sep2), "PLAIN": (sep, sep2)}.get(style, (sep, sep))
    if style == "PLAIN":
        return system + "".join(words + ends[i % 2] for i, words in enumerate(said))
    text = system + sep
    for i, words in enumerate(said):
        text += f"{roles[i % 2]}{colon}{words}{ends[i % 2]}"
    return text + roles[1] + colon.rstrip() if len(said) % 2 else text


def made(style, system=SYSTEM, shots=0, **more):
    keys = {**KNOWN[style], **more}
    messages = [(keys["roles"][i % 2], text) for i, text in enumerate(SHOTS[:shots])]
    return Separated(system=system, messages=messages, offset=shots, sep_style=style, **keys)


def bound(conversation, **asked):
    fields = {**conversation.template(), "name": "c"}
    return templates.Template(registry.from_fields(fields, "c")).bind(load_tiny(), **asked)


def text_of(renderer, conversation, prompting=False):
    spans = renderer.render(conversation, add_generation_prompt=prompting)
    return "".join(span.text for span in spans)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("system", [SYSTEM, ""])
@pytest.mark.parametrize("shots", [0, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_text_is_that_of_get_prompt(style, system, shots, count):
    said = (*SHOTS[:shots], *WORDS[:count])
    facts = {"sep2": None, **KNOWN[style]}
    ours = text_of(
        bound(made(style, system, shots)), types.Conversation(turns(*WORDS[:count])), count % 2 == 1
    )
    assert ours == prompt_of(style, said, system, **facts)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shots", [0, 2])
def test_a_system_text_of_the_row_takes_the_place_of_the_templates(style, shots):
    row = types.Conversation(turns(*WORDS), "Mine.")
    said = (*SHOTS[:shots], *WORDS)
    expected = prompt_of(style, said, "Mine.", **{"sep2": None, **KNOWN[style]})
    assert text_of(bound(made(style, shots=shots)), row) == expected


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shots", [0, 2])
def test_a_prompt_begins_the_text_and_every_answer_ends_in_a_learned_stop(style, shots):
    renderer = bound(made(style, shots=shots))
    whole = types.Conversation(turns(*WORDS))
    spans = renderer.render(whole)
    text = "".join(span.text for span in spans)
    for count in (1, 3):
        prompt = text_of(renderer, whole._replace(messages=whole.messages[:count]), True)
        assert text.startswith(prompt)
        stop = KNOWN[style].get("sep2") or KNOWN[style]["sep"]
        end = text.index(WORDS[count], len(prompt)) + len(WORDS[count])
        learned = text[len(prompt) : text.index(stop, end) + len(stop)]
        assert learned in "".join(span.text if span.trained else "\0" for span in spans)
        assert learned.strip(" ").endswith(renderer.stop_words[-1])
    assert renderer.stop_words[-1] == stop
    trained = "".join(span.text for span in spans if span.trained)
    assert SHOTS[1] not in trained
    assert WORDS[2] not in trained


@pytest.mark.parametrize("style", STYLES)
def test_the_written_jinja_renders_the_same(style):
    for system, shots, count in product((SYSTEM, ""), (0, 2), (1, 2, 3, 4)):
        for mine in (None, "Mine."):
            renderer = bound(made(style, system, shots))
            if mine and renderer.format.roles.system is None:
                continue
            conversation = types.Conversation(turns(*WORDS[:count]), mine)
            asked = [{"role": "system", "content": mine}] * bool(mine)
            asked += [{"role": m.role, "content": m.content} for m in conversation.messages]
            (theirs,), _ = render_jinja_template(
                [asked], chat_template=renderer.jinja(), add_generation_prompt=count % 2 == 1
            )
            assert theirs == text_of(renderer, conversation, count % 2 == 1)


def test_without_sep2_a_plain_question_runs_into_its_answer_as_projector_alignment_has_it():
    renderer = bound(made("PLAIN", "", sep2=None))
    spans = renderer.render(types.Conversation(turns("<image>", "a cat")))
    assert "".join(span.text for span in spans) == "<image>a cat\n"
    assert "".join(span.text for span in spans if span.trained) == "a cat\n"


def test_examples_that_can_not_follow_the_system_text_refuse_one_of_the_row():
    renderer = bound(made("LLAMA_2", "", shots=2))
    with pytest.raises(TemplateError, match="system"):
        renderer.render(types.Conversation(turns("a", "b"), "Mine."))


def test_bos_is_there_where_the_tokenizer_itself_puts_it():
    tiny = load_tiny(bos="<|im_start|>")
    format = registry.from_fields({**made("TWO").template(), "name": "c"}, "c")
    row = types.Conversation(turns("a", "b"))
    assert text_of(templates.Template(format).bind(tiny), row).startswith(SYSTEM)
    tiny.backend.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    spans = templates.Template(format).bind(tiny).render(row)
    assert "".join(span.text for span in spans).startswith("<|im_start|>" + SYSTEM)


def test_a_registered_conversation_is_found_by_its_version(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    mine = templates.Conversation(
        system=SYSTEM, roles=("USER", "ASSISTANT"), version="v1_qwen", messages=(), offset=0,
        sep_style="TWO", sep=" ", sep2="<|endoftext|>",
    )  # fmt: skip
    templates.register(mine)
    templates.register(mine)  # a cell of a notebook, run again
    renderer = choose("v1_qwen", load_tiny(), Asked("Other."))
    assert renderer.name == "v1_qwen"
    assert "v1_qwen" in templates.names()
    text = text_of(renderer, types.Conversation(turns("hi", "there")))
    assert text == "Other. USER: hi ASSISTANT: there<|endoftext|>"
    with pytest.raises(TemplateError) as caught:
        choose("v1_qwem", load_tiny())
    assert "v1_qwen" in caught.value.hint


@pytest.mark.parametrize("version", ["Unknown", "chatml"])
def test_a_conversation_needs_a_name_of_its_own(version):
    with pytest.raises(TemplateError, match="version"):
        templates.register(made("SINGLE", version=version))


def test_a_style_may_be_an_enum_as_in_llavas_code():
    style = enum.Enum("SeparatorStyle", "SINGLE TWO").TWO
    assert Separated(roles=("U", "A"), sep_style=style, sep2="</s>").sep_style == "TWO"


YAML = """\
system: Be brief.
roles: [USER, ASSISTANT]
version: v1_qwen
sep_style: TWO
sep: " "
sep2: <|endoftext|>
offset: 0
messages: []
"""


def test_a_file_of_these_keys_is_a_template(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(YAML, encoding="utf8")
    renderer = choose(str(path), load_tiny())
    assert renderer.name == "v1_qwen"
    row = types.Conversation(turns("hi", "there"))
    assert text_of(renderer, row) == "Be brief. USER: hi ASSISTANT: there<|endoftext|>"
    path.write_text(YAML.replace("version: v1_qwen\n", ""), encoding="utf8")
    assert choose(str(path), load_tiny()).name == "mine"


EXAMPLES = Path(__file__).parents[2] / "examples" / "conversations"


@pytest.mark.parametrize(
    ("name", "text", "learned"),
    [
        ("v1_qwen", " USER: hi ASSISTANT: there<|endoftext|>", " there<|endoftext|>"),
        ("plain", "hithere\n", "there\n"),
    ],
)
def test_the_examples_are_templates(name, text, learned):
    renderer = choose(str(EXAMPLES / f"{name}.yaml"), load_tiny())
    spans = renderer.render(types.Conversation(turns("hi", "there")))
    assert renderer.name == name
    assert "".join(span.text for span in spans) == renderer.system + text
    assert "".join(span.text for span in spans if span.trained) == learned


@pytest.mark.parametrize(
    ("old", "new", "where", "hint"),
    [
        ("offset", "offsett", "offsett", "offset"),
        ("system:", "sytem:", "sytem", "system"),
        ("sep_style: TWO", "sep_style: TWOO", "sep_style", "TWO"),
        ("sep_style: TWO", "sep_style: ADD_COLON_TWO", "sep_style", "TWO"),
        ("sep_style: TWO\n", "", "sep_style", ""),
        ("sep2: <|endoftext|>\n", "", "sep2", ""),
        ("sep2: <|endoftext|>", "sep2: ''", "sep2", ""),
        ("sep2: <|endoftext|>", "sep2: 3", "sep2", ""),
        ("roles: [USER, ASSISTANT]", "roles: USER", "roles", ""),
        ("roles: [USER, ASSISTANT]\n", "", "roles", ""),
        ("system: Be brief.", "system: [a]", "system", ""),
        ("offset: 0", "offset: 1", "offset", ""),
        ("messages: []", "messages: [[USER, hi]]", "messages", ""),
        ("messages: []", "messages: [[USER, hi], [USER, hi]]", "messages[1]", ""),
        ("messages: []", "messages: [hi]", "messages[0]", ""),
        ("messages: []", "messages: 7", "messages", ""),
        ("messages: []", "messages: [7]", "messages[0]", ""),
        ("roles: [USER, ASSISTANT]", "roles: 3", "roles", ""),
        ("version: v1_qwen", "version: v 1", "v 1.name", ""),
    ],
)
def test_what_is_wrong_in_a_file_is_one_error(old, new, where, hint, tmp_path):
    path = tmp_path / "mine.yaml"
    assert old in YAML
    path.write_text(YAML.replace(old, new), encoding="utf8")
    with pytest.raises(TemplateError) as caught:
        choose(str(path), load_tiny())
    assert caught.value.where == f"{path}: {where}"
    assert caught.value.hint == hint


@pytest.mark.parametrize(("style", "key"), [("SINGLE", "sep"), ("MPT", "sep"), ("TWO", "sep2")])
def test_the_separator_that_nothing_can_stop_at_is_the_one_named(style, key):
    with pytest.raises(TemplateError) as caught:
        made(style, sep=" ", sep2=" " if key == "sep2" else "</s>")
    assert caught.value.where.endswith(f": {key}")
