"""Rendering equals the recorded vectors; what is learned is the words and the end of the turn."""

import datetime
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from template_cases import BOS, EOS, bound, turns
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.models.vocabulary import extend
from tunesmith.templates import registry
from tunesmith.templates.calls import read_calls
from tunesmith.templates.format import Format, Roles, Token, Turn
from tunesmith.templates.render import Template
from tunesmith.types import Call, Conversation, Message, Span

GOLDEN = Path(__file__).parents[1] / "golden"
SHARED = Path(__file__).parents[3] / "shared" / "golden" / "render.jsonl"
RECORD = json.loads(lzma.decompress((GOLDEN / "render.json.xz").read_bytes()))
DEVIATIONS = json.loads((GOLDEN / "templates_deviations.json").read_text(encoding="utf8"))


def listed(name, case, options):
    """The listed reasons why a row is not equal."""
    return [
        entry["why"]
        for entry in DEVIATIONS["rows"]
        if case in entry["cases"]
        and name in entry["templates"]
        and (options is None or "options" not in entry or options in entry["options"])
    ]


def conversation_of(messages, system, tools):
    """A recorded conversation as ours."""
    said = []
    for number, message in enumerate(messages):
        words, calls = message["content"], ()
        if message["role"] == "function":
            words, calls = read_calls(words, f"messages[{number}].content")
        said.append(Message(message["role"], words, calls=calls))
    return Conversation(tuple(said), system, tools)


def text_of(elements, template):
    marks = {"bos": BOS, "eos": template.eos}
    return "".join(marks.get(kind) or rest[0] for kind, *rest in elements)


def learned(spans):
    """Text of each run of learned spans."""
    out, open_run = [], False
    for span in spans:
        if span.trained and open_run:
            out[-1] += span.text
        elif span.trained:
            out.append(span.text)
        open_run = span.trained
    return out


def rendered(template, recorded, options):
    """Text and learned parts; without the one eos that follows the last answer."""
    _, history_cut = options or (None, False)
    conversation = conversation_of(*recorded)
    render = template.render if history_cut else template.render_as_given
    spans = render(conversation)
    if template.format.efficient_eos:
        assert spans.pop() == Span(template.eos, trained=True)
    spoken = [part for m in conversation.messages for part in (m.content, *map(str, m.calls))]
    spoken += [conversation.system, template.system, conversation.tools or ""]
    if not conversation.tools and not any(m.calls for m in conversation.messages):
        assert all(span.control or any(span.text in s for s in spoken if s) for span in spans)
    return "".join(span.text for span in spans), [text for text in learned(spans) if text]


def wanted(template, pairs):
    """What the record has: the whole text, and the answers without what follows their end."""
    roles = template.format.roles
    afters = {template.text(turn.after) for turn in (roles.assistant, roles.function) if turn}
    answers = [text_of(answer, template) for _, answer in pairs]
    cut = [min((a.removesuffix(after) for after in afters), key=len) for a in answers]
    return "".join(text_of(p + a, template) for p, a in pairs), [text for text in cut if text]


def agrees(name, options, recorded, pairs):
    """Whether a recorded row is what this template says, learned parts included."""
    thinking = True if options is None else options[0]
    template = bound(name, enable_thinking=thinking, today=datetime.date(2025, 1, 1))
    try:
        text, answers = rendered(template, recorded, options)
    except TemplateError:
        return pairs is None
    if pairs is None:
        return False
    whole, theirs = wanted(template, pairs)
    if options and options[1]:  # with the history cut only the last answer is sure to be learned
        answers, theirs = answers[-1:], theirs[-1:]
    return (text, answers) == (whole, theirs)


def disagreements(rows):
    """Rows that differ without being listed, and listed ones that do not differ."""
    found = []
    for name, case, options, recorded, pairs in rows:
        same = agrees(name, options, recorded, pairs)
        if same == bool(listed(name, case, options)):
            found.append((name, case, options))
    return found


@pytest.mark.parametrize("name", registry.names())
def test_text_and_learned_parts_equal_the_recorded_ones_but_for_the_listed_rows(name):
    rows = [
        (*row[:3], RECORD["conversations"][row[3]], row[4])
        for row in RECORD["rows"]
        if row[0] == name
    ]
    assert disagreements(rows) == []


def test_the_record_is_the_shared_one_where_that_is_there():
    if not SHARED.exists():
        pytest.skip("shared/golden is not there")
    rows = []
    for line in SHARED.read_text(encoding="utf8").splitlines():
        row = json.loads(line)
        options = row["options"] and list(row["options"].values())
        pairs = row["pairs"] and [[p["prompt"], p["response"]] for p in row["pairs"]]
        recorded = [row["messages"], row["system"], row["tools"]]
        rows.append([row["template"], row["case"], options or None, recorded, pairs])
    assert rows == [[*r[:3], RECORD["conversations"][r[3]], r[4]] for r in RECORD["rows"]]


@pytest.mark.parametrize("name", registry.names())
def test_the_prompt_of_each_answer_begins_the_whole_text(name):
    template = bound(name)
    whole = Conversation(turns("a", "b", "c", "d"), "S")
    text = "".join(span.text for span in template.render(whole))
    for count in (1, 3):
        part = whole._replace(messages=whole.messages[:count])
        prompt = "".join(s.text for s in template.render(part, add_generation_prompt=True))
        assert text.startswith(prompt)


OWN_EOS = {"aquila": "###", "deepseekcoder": "<|EOT|>", "granite3": "<|end_of_text|>"}
"""Templates whose last word is the eos of their own tokenizers."""


@pytest.mark.parametrize("name", [n for n in registry.names() if n != "empty"])
def test_every_answer_ends_with_a_learned_stop(name):
    spans = bound(name).render(Conversation(turns("a", "b", "c", "d")))
    last = [span for span in spans if span.trained][-1]
    assert last.control
    assert last.text.strip() in (*bound(name).stop_words, EOS, OWN_EOS.get(name))


BOS_IN_TURNS = {"atom", "llama2", "llama2_zh", "seed_coder", "seed_oss"}
"""Their makers, and upstream, open each turn or each question with bos, not the text alone."""


@pytest.mark.parametrize("name", registry.names())
def test_a_text_has_one_bos_at_most_but_where_the_family_opens_turns_with_it(name):
    template = bound(name)
    said = turns("a", "b", "c", "d", "e", "f")
    text = "".join(span.text for span in template.render(Conversation(said)))
    assert (text.count(BOS) > 1) == (name in BOS_IN_TURNS)
    assert BOS not in text.removeprefix(BOS) or name in BOS_IN_TURNS


def test_an_answer_marked_so_is_not_learned_and_its_text_stays():
    template = bound("chatml")
    first = Message("assistant", "b", False)
    whole = Conversation((turns("a")[0], first, *turns("c", "d")))
    plain = Conversation(turns("a", "b", "c", "d"))
    assert learned(template.render(whole)) == ["d<|im_end|>"]
    assert [s.text for s in template.render(whole)] == [s.text for s in template.render(plain)]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ((), "messages"),
        (turns("a", "b")[::-1], "messages[0].role"),
        ((Message("user", "a"), Message("user", "b")), "messages[1].role"),
        (turns("a"), "messages"),
        ((Message("user", "a"), Message("tool", "b")), "messages[1].role"),
        ((Message("user", "a"), Message("function", "{}")), "messages[1].calls"),
        ((Message("user", "a", True), Message("assistant", "b")), "messages[0].trained"),
    ],
)
def test_turns_out_of_order_are_refused_by_place(messages, place):
    with pytest.raises(TemplateError) as caught:
        bound("qwen").render(Conversation(messages))
    assert caught.value.where == f"template: qwen: {place}"


def test_a_generation_prompt_needs_a_question_at_the_end():
    with pytest.raises(TemplateError, match="messages"):
        bound("qwen").render(Conversation(turns("a", "b")), add_generation_prompt=True)


def test_tools_that_define_nothing_are_refused_not_dropped():
    with pytest.raises(TemplateError, match="tools"):
        bound("qwen").render(Conversation(turns("a", "b"), tools="[{}]"))


ARGUMENTS = ('{"city": "Kraków", "days": 3, "odd": [1.5, null, {"a": "b"}]}', '{"id": "5"}')
DEFINED = json.dumps([{"name": name, "description": "d"} for name in ("weather", "time")])


@pytest.mark.parametrize("words", ["", "Let me look.", "two\nlines\n"])
@pytest.mark.parametrize("name", registry.names())
def test_words_and_calls_read_back_from_an_answer_are_those_that_were_written(name, words):
    template = bound(name)
    calls = (Call("weather", ARGUMENTS[0]), Call("time", ARGUMENTS[1]))
    for message in (
        Message("function", words, calls=calls[:1]),
        Message("function", words, calls=calls),
        Message("assistant", words),
    ):
        asked = Conversation((Message("user", "q"), message), tools=DEFINED)
        text = "".join(span.text for span in template.render(asked) if span.trained)
        end = min([text.find(w) for w in template.stop_words if w in text], default=len(text))
        assert template.read(text[:end]) == (words, message.calls)
        assert message.calls or template.said(text[:end]) == words


def test_a_chain_of_calls_keeps_its_thoughts_until_the_next_question():
    call = Message("function", "<think>\nx\n</think>\n\n", calls=(Call("f", "{}"),))
    chain = (
        *turns("q"),
        call,
        Message("observation", "1"),
        *turns("", "<think>\ny\n</think>\n\nz")[1:],
    )
    text = "".join(s.text for s in bound("qwen3").render(Conversation(chain)))
    assert "<think>\nx\n</think>" in text
    later = Conversation((*chain, *turns("q2", "a2")))
    assert "<think>\nx" not in "".join(s.text for s in bound("qwen3").render(later))


def test_a_system_text_that_cannot_be_expressed_is_refused_not_dropped():
    roles = Roles(system=None, user=Turn(open=("U:",)))
    template = Template(Format(name="mute", roles=roles), eos=EOS)
    assert template.render(Conversation(turns("a", "b")))
    with pytest.raises(TemplateError, match="mute: system"):
        template.render(Conversation(turns("a", "b"), "S"))


def test_the_default_system_text_of_the_run_goes_before_that_of_the_file():
    template = registry.get("qwen").bind(load_tiny(), default_system="Be brief.")
    spans = template.render(Conversation(turns("a", "b")))
    assert spans[1] == Span("Be brief.", control=False)
    assert template.render(Conversation(turns("a", "b"), "Own."))[1].text == "Own."


def test_binding_says_what_the_tokenizer_lacks():
    tiny = load_tiny()
    assert "begins with bos" in registry.get("deepseek3").bind(tiny).notes[0]
    with pytest.raises(TemplateError, match="deepseek3"):
        registry.get("deepseek3").bind(tiny._replace(eos=None))
    roles = Roles(user=Turn(open=(Token(token="<|user|>"),)))
    single = Template(Format(name="single", roles=roles))
    with pytest.raises(TemplateError, match="add_special_tokens") as caught:
        single.bind(tiny)
    assert caught.value.got == "<|user|>"
    rows = tiny.backend.get_vocab_size(with_added_tokens=True)
    single.bind(extend(tiny, rows, special=["<|user|>"]).tokenizer)  # as it says


def test_the_first_stop_word_replaces_eos_where_the_file_says_so():
    tiny = load_tiny()._replace(eos="<|endoftext|>")
    assert registry.get("qwen").bind(tiny).eos == "<|im_end|>"
    assert registry.get("smollm2").bind(tiny).stop_words == ("<|endoftext|>", "<|im_end|>")


TOOL = json.dumps([{"name": "f", "description": "d", "parameters": {"type": "object"}}])


def changed(name, **fields):
    template = bound(name)
    return replace(template, format=template.format.model_copy(update=fields))


def text_with(template, words="", *, system=None, tools=None):
    messages = (Message("user", "q"), Message("function", words, calls=(Call("f", "{}"),)))
    return "".join(span.text for span in template.render(Conversation(messages, system, tools)))


def test_tools_lose_their_first_line_breaks_where_nothing_stands_before_them():
    kept = changed("qwen", default_system=None)
    trimmed = changed("qwen", default_system=None, trim_tools=True)
    assert "system\n\n\n# Tools" in text_with(kept, tools=TOOL)
    assert "system\n# Tools" in text_with(trimmed, tools=TOOL)
    for template in (kept, trimmed):
        assert "system\nS\n\n# Tools" in text_with(template, system="S", tools=TOOL)
    first = Turn(open=("\n",))
    assert "system\n# Tools" in text_with(
        changed("qwen", default_system=None, trim_tools=True, tools=first), tools=TOOL
    )


@pytest.mark.parametrize(
    ("between", "words", "written"),
    [
        (None, "Look.", "Look.<|assistant|>f\n{}"),
        (None, "Look.\n", "Look.\nf\n{}"),
        ("", "Look.", "Look.f\n{}"),
        ("\n", "Look.", "Look.\nf\n{}"),
        ("\n", "Look.\n", "Look.\n\nf\n{}"),
        ("\n", "", "<|assistant|>f\n{}"),
    ],
)
def test_words_are_parted_from_calls_as_the_format_says(between, words, written):
    template = changed("glm4", between=between)
    assert text_with(template, words).removesuffix(template.eos).endswith(written)


@pytest.mark.parametrize(
    ("words", "between"), [("<think>\nHm\n</think>\n\n", ""), ("<think>a</think>Look.", "\n")]
)
def test_a_thought_alone_is_not_parted_from_calls(words, between):
    text = text_with(changed("qwen3", between="\n"), words)
    assert f"{words}{between}<tool_call>" in text


THOUGHT = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("words", "kept", "shown"),
    [
        ("b", False, "<|channel|>final<|message|>b<|end|>"),
        (f"{THOUGHT}b", False, "<|channel|>final<|message|>b<|end|>"),
        ("b", True, "<|channel|>final<|message|>b<|end|>"),
        (f"{THOUGHT}b", True, f"{THOUGHT}b<|end|>"),
    ],
)
def test_an_earlier_answer_of_gpt_oss_has_its_channel_and_its_end(words, kept, shown):
    template = bound("gpt_oss", preserve_thinking=kept)
    talk = Conversation(turns("a", words, "c", f"{THOUGHT}d"))
    text = "".join(span.text for span in template.render(talk))
    asked = "<|start|>user<|message|>a<|end|><|start|>assistant"
    assert f"{asked}{shown}<|start|>user<|message|>c<|end|>" in text
    assert text.endswith(f"<|start|>assistant{THOUGHT}d{EOS}")
    assert template.reads_as_given(talk) == [False, True]
    assert learned(template.render(talk)) == [f"{THOUGHT}d{EOS}"]
