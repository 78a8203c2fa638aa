"""The model's own template: transformers' text, and the answers in it, or a refusal."""

import gzip
import json
from itertools import product
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers.utils.chat_template_utils import render_jinja_template

from real_tokenizers import real
from template_cases import turns
from tiny_tokenizer import load_tiny
from tunesmith.data.tokenize import encode, encode_prompt
from tunesmith.errors import TemplateError
from tunesmith.templates.apart import apart
from tunesmith.templates.jinja import OwnJinja
from tunesmith.types import Conversation, Message, Span

GOLDEN = Path(__file__).parents[1] / "golden" / "templates_own.json.gz"
OWN = json.loads(gzip.decompress(GOLDEN.read_bytes()))
WORDS = [
    ("hi", "there"),
    (" spaced \n", "\n\nlead"),
    ("system\nuser", "assistant"),
    ("<|im_end|>", "{{ x }} \ue000 it's"),
    ("q", "<think>\nhm\n</think>\n\nA "),
    ("", "x"),
    ("x", ""),
]


def own(name, **options):
    facts = OWN[name]
    tiny = load_tiny(facts["chat_template"])
    special = [t for t in (facts["bos_token"], facts["eos_token"]) if t]
    tiny.backend.add_special_tokens([AddedToken(t, special=True) for t in special])
    tiny = tiny._replace(
        bos=facts["bos_token"],
        eos=facts["eos_token"],
        pad=facts["pad_token"],
        unk=facts["unk_token"],
    )
    return OwnJinja(facts["chat_template"], tiny, **options)


def theirs(name, conversation, prompting):
    facts = OWN[name]
    messages = [{"role": "system", "content": conversation.system}] * bool(conversation.system)
    messages += [{"role": m.role, "content": m.content} for m in conversation.messages]
    tokens = {key: facts[key] for key in facts if key.endswith("_token") and facts[key]}
    (text,), _ = render_jinja_template(
        [messages], chat_template=facts["chat_template"], add_generation_prompt=prompting, **tokens
    )
    return text


def learned(spans):
    return "".join(span.text for span in spans if span.trained)


@pytest.mark.parametrize("name", OWN)
def test_the_text_is_that_of_transformers_and_the_answers_are_found(name):
    renderer = own(name)
    for (question, answer), system, count in product(WORDS, (None, "sys"), (1, 2, 3, 4, 6)):
        conversation = Conversation(turns(*([question, answer] * 3)[:count]), system)
        prompting = count % 2 == 1
        spans = renderer.render(conversation, add_generation_prompt=prompting)
        text = "".join(span.text for span in spans)
        assert text == theirs(name, conversation, prompting)
        if prompting:
            continue
        prompt = conversation._replace(messages=conversation.messages[:-1])
        before = theirs(name, prompt, True)
        assert text.startswith(before)
        last = text[len(before) :]
        end = last.rindex(renderer.stop_words[0]) + len(renderer.stop_words[0])
        assert learned(spans).endswith(last[:end])
        if name != "qwen3":
            words = answer.strip() if name in ("llama3_1", "gemma3") else answer
            assert learned(spans) == (words + renderer.stop_words[0]) * (count // 2)


@pytest.mark.parametrize("name", OWN)
def test_a_speakers_words_are_never_marked_as_the_templates(name):
    renderer = own(name)
    conversation = Conversation(turns("Uq1", "Aa1", "Uq2", "<think>T</think>Aa2"), "Sy")
    for span in renderer.render(conversation):
        if span.control:
            assert not any(word in span.text for word in ("Uq1", "Aa1", "Uq2", "Aa2", "Sy"))


def test_an_answer_that_the_template_rewrites_later_is_context_there():
    renderer = own("qwen3")
    assert "without their thoughts" in renderer.notes[0]
    spans = renderer.render(Conversation(turns("a", "b", "c", "d")))
    assert learned(spans) == "<think>\n\n</think>\n\nd<|im_end|>"
    assert own("smollm2").notes == ()


def test_the_message_says_whether_it_is_learned():
    conversation = Conversation((turns("a")[0], Message("assistant", "b", False), *turns("c", "d")))
    assert learned(own("smollm2").render(conversation)) == "d<|im_end|>"


def test_the_default_system_text_of_the_run_is_passed_to_the_template():
    spans = own("smollm2", default_system="Be brief.").render(Conversation(turns("a", "b")))
    assert spans[1] == Span("Be brief.", control=False)


REFUSED = {
    "not a prefix": "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}",
    "no end": "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}",
    "answers are not shown": "{% for m in messages %}{{ m.role }}:<|im_end|>{% endfor %}",
    "loops forever": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "not Jinja": "{% for m in messages %}",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_learned_from_is_refused_before_any_row(reason):
    with pytest.raises(TemplateError) as caught:
        OwnJinja(REFUSED[reason], load_tiny(), name="odd")
    assert caught.value.where.startswith("template: odd")


@pytest.mark.parametrize("source", ["", " \n"])
def test_a_template_without_a_word_is_told_as_such(source):
    with pytest.raises(TemplateError) as caught:
        OwnJinja(source, load_tiny())
    assert (caught.value.got, caught.value.need) == ("nothing", "a Jinja chat template")


def test_a_template_that_swallows_the_system_text_is_refused():
    source = (
        "{% for m in messages if m.role != 'system' %}{{ m.role }}:{{ m.content }}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    renderer = OwnJinja(source, load_tiny())
    assert renderer.render(Conversation(turns("a", "b")))
    with pytest.raises(TemplateError):
        renderer.render(Conversation(turns("a", "b"), "S"))


def test_a_generation_tag_changes_nothing():
    source = (
        "{% for m in messages %}{{ m.role }}:{% generation %}{{ m.content }}<|im_end|>"
        "{% endgeneration %}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    spans = OwnJinja(source, load_tiny()).render(Conversation(turns("a", "b")))
    assert learned(spans) == "b<|im_end|>"


def test_a_prompt_that_reads_otherwise_for_some_words_is_refused_for_that_row():
    source = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ 'model:' if messages[-1].content == 'odd' else 'assistant:' }}{% endif %}"
    )
    renderer = OwnJinja(source, load_tiny())
    assert renderer.render(Conversation(turns("a", "b")))
    with pytest.raises(TemplateError, match=r"messages\[1\]"):
        renderer.render(Conversation(turns("odd", "b")))


def test_whether_an_answer_is_learned_asks_nothing_of_the_template():
    source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}" + (
        "{{ '' if messages | tojson else '' }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    renderer, ran = OwnJinja(source, load_tiny()), []
    row = Conversation(turns("a", "b", "c", "d"))
    whole, run = renderer.render(row), renderer._render
    renderer._render = lambda *args, **kwargs: ran.append(1) or run(*args, **kwargs)
    for flags in ((True, False), (False, True), (None, False), (True, True)):
        messages = list(row.messages)
        for number, flag in zip((1, 3), flags, strict=True):
            messages[number] = messages[number]._replace(trained=flag)
        masked = row._replace(messages=tuple(messages))
        spans = renderer.render(masked)
        assert [s.text for s in spans] == [s.text for s in whole]
        kept = [flag is not False for flag in flags]
        assert learned(spans) == "".join(
            f"{w}<|im_end|>" * k for w, k in zip("bd", kept, strict=True)
        )
        assert renderer.reads_as_given(masked) == [True, True]
    assert ran == []


def test_the_prompt_of_an_earlier_answer_is_held_to_the_text_too():
    source = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ 'model:' if messages[-1].content == 'odd' else 'assistant:' }}{% endif %}"
    )
    renderer = OwnJinja(source, load_tiny())
    assert renderer.render(Conversation(turns("a", "b", "c", "d")))
    with pytest.raises(TemplateError, match=r"messages\[1\]"):
        renderer.render(Conversation(turns("odd", "b", "c", "d")))


TINY = load_tiny()
SILENT = {"enable_thinking": False}
EMPTY = "<think>\n\n</think>\n\n"
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)


def check_every_answer_is_learned_behind_its_prompt(renderer, row):
    parts = apart(renderer, row)
    assert len(parts) == len(row.messages) // 2
    for number, part in enumerate(parts):
        asked = row._replace(messages=row.messages[: 2 * number + 1])
        prompt = renderer.render(asked, add_generation_prompt=True)
        before = "".join(span.text for span in prompt)
        assert before.endswith(EMPTY)
        spans = renderer.render(part)
        assert "".join(span.text for span in spans) == (
            f"{before}{row.messages[2 * number + 1].content}<|im_end|>\n"
        )
        assert learned(spans) == row.messages[2 * number + 1].content + "<|im_end|>"
        said = [m.content for m in part.messages]
        assert all(s.control != (s.text in said) for s in spans)


def test_where_thoughts_are_off_each_answer_is_learned_behind_the_empty_one_of_its_prompt():
    renderers = [own("qwen3", options=SILENT), OwnJinja(FORGETFUL, load_tiny(), options=SILENT)]
    for renderer, count in product(renderers, (2, 4, 6)):
        words = ("q one", "a one", "q two", "a two", "q three", "a three")[:count]
        check_every_answer_is_learned_behind_its_prompt(renderer, Conversation(turns(*words)))


def test_the_ids_behind_an_empty_thought_are_those_that_serving_sends():
    tokenizer = real("qwen3")
    row = Conversation(turns("a", "b", "c", "d"), "S")
    for source in (tokenizer.chat_template, FORGETFUL):
        renderer = OwnJinja(source, tokenizer, options=SILENT)
        for part in apart(renderer, row):
            prompt = encode_prompt(part._replace(messages=part.messages[:-1]), renderer, tokenizer)
            (example,) = encode([part], renderer, tokenizer)
            assert example.ids[: len(prompt)].tolist() == prompt
            assert not example.trained[: len(prompt)].any()
            assert example.trained[len(prompt)]


def test_where_thoughts_are_off_answers_are_learned_without_theirs():
    thoughts = ("q", "<think>\nhm\n</think>\n\na one", "r", "\n<think>ha</think>a two")
    plain, thinking = (
        Conversation(turns("q", "a one", "r", "a two")),
        Conversation(turns(*thoughts)),
    )
    for renderer in (own("qwen3", options=SILENT), OwnJinja(FORGETFUL, TINY, options=SILENT)):
        for count in (2, 4):
            rows = [c._replace(messages=c.messages[:count]) for c in (plain, thinking)]
            parts = [[renderer.render(p) for p in apart(renderer, row)] for row in rows]
            assert parts[0] == parts[1]
        prompts = [
            renderer.render(c._replace(messages=c.messages[:3]), add_generation_prompt=True)
            for c in (plain, thinking)
        ]
        assert prompts[0] == prompts[1]
        assert not renderer.notes or "later prompts" in renderer.notes[0]


def test_half_a_thought_is_no_thought_that_could_be_left_out():
    renderer = OwnJinja(FORGETFUL, TINY, options=SILENT)
    spans = renderer.render(Conversation(turns("q", "a </think> b")))
    assert learned(spans) == "a </think> b<|im_end|>"


def test_thoughts_stay_where_the_template_cannot_switch_them_off():
    source = FORGETFUL.replace("enable_thinking is false", "false")
    renderer = OwnJinja(source, TINY, options=SILENT)
    assert "enable_thinking: false changes nothing" in renderer.notes[0]
    row = Conversation(turns("q", "<think>\nhm\n</think>\n\na"))
    assert renderer.left_out is None
    assert learned(renderer.render(row)) == "<think>\nhm\n</think>\n\na<|im_end|>"


def test_a_prompt_that_leaves_a_thought_open_is_no_text_without_thoughts():
    source = FORGETFUL.replace("{{ '<think>\n\n</think>\n\n' }}", "").replace(
        "assistant\n{% if", "assistant\n<think>\n{% if"
    )
    with pytest.raises(TemplateError, match="prompt"):
        OwnJinja(source, load_tiny(), options=SILENT)
