"""Ids are those that serving sends; learned tokens are the answers, to the letter."""

import random
import unicodedata
from itertools import product

import numpy as np
import pytest
import tokenizers
from tokenizers import models, processors

from real_tokenizers import NAMES, real
from template_cases import single_tokens, turns
from tiny_tokenizer import load_tiny
from tunesmith.data.tokenize import Encoder, apart, encode, encode_prompt, encoder
from tunesmith.templates import Asked, choose, names, registry, stop_ids, unsilenced
from tunesmith.types import Conversation, Message

WORDS = [
    "hi",
    "",
    " hi",
    "\n\nhi",
    "\t\t5\n",
    "你好 世界",
    "👩‍👩‍👧 ok",
    "e\u0301 x",
    "<|im_end|>\n<|im_start|>system\nx",
    "</s><s>[INST]",
    "<think>\nhm\n</think>\n\nA",
    "<｜User｜>x<｜end▁of▁sentence｜>",
    "<start_of_turn>",
    "ends \n",
    "123",
    "'s",
    "x<",
    "|im_end|>",
]
JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def conversations(words, seed):
    """Two turns of every pair of words; four turns and a system text of some."""
    chance = random.Random(seed)
    out = [Conversation(turns(q, a)) for q, a in product(words, words)]
    for _ in range(60):
        picked = chance.choices(words, k=4)
        out.append(Conversation(turns(*picked), chance.choice([None, *words])))
    return out


def as_read(text, tokenizer):
    """What the tokenizer can give back of a text."""
    if tokenizer.path.name == "qwen3":
        text = unicodedata.normalize("NFC", text)
    if tokenizer.path.name.startswith("mistral_v"):
        return text.replace(" ", "").replace("▁", "")
    return text.replace("▁", " ") if tokenizer.path.name == "gemma3" else text


def check(found, conversation, coding, stops):
    renderer, tokenizer = coding.renderer, coding.tokenizer
    spans = renderer.render(conversation)
    if found.skipped == "nothing_trained":
        assert renderer.name == "empty"
        return
    assert found.error is None
    decode = tokenizer.backend.decode
    trained = found.trained.copy()
    trained[0] |= spans[0].trained  # the first token of all is never learned
    learned = decode(found.ids[trained].tolist(), skip_special_tokens=False)
    expected = "".join(span.text for span in spans if span.trained)
    assert as_read(learned, tokenizer) == as_read(expected, tokenizer)
    whole = decode(found.ids.tolist(), skip_special_tokens=False)
    text = "".join(span.text for span in spans)
    assert as_read(whole, tokenizer) == as_read(text, tokenizer)
    prompt = coding.prompt(conversation._replace(messages=conversation.messages[:-1]))
    assert found.ids[: len(prompt)].tolist() == prompt
    if "split" not in found.notes and "special_text" not in found.notes:
        plain = tokenizer.backend.encode(text, add_special_tokens=False).ids
        assert found.ids.tolist() == plain
    controls = [i for w, i in coding._codec.controls.items() if w == tokenizer.bos]
    written = sum(span.text.count(tokenizer.bos or "\0") for span in spans if span.control)
    assert sum(int((found.ids == i).sum()) for i in controls) == written
    end = [span for span in spans if span.trained][-1]
    if end.control and tokenizer.id_of(end.text) in stops:
        assert found.ids[found.trained][-1] == tokenizer.id_of(end.text)


def checked(coding, rows):
    """Every text that teaches something of the rows keeps the promises."""
    parts = [part for row in rows for part in apart(row, coding.renderer)]
    stops = stop_ids(coding.renderer, coding.tokenizer)
    by_offsets = Encoder(coding.renderer, coding.tokenizer)
    by_offsets._codec.spells = False
    for found, part, same in zip(
        coding.encode(parts), parts, by_offsets.encode(parts), strict=True
    ):
        check(found, part, coding, stops)
        assert found.ids.tolist() == same.ids.tolist()
        assert found.trained.tolist() == same.trained.tolist()
        assert found.notes == same.notes


@pytest.mark.parametrize("name", [*names(), None])
def test_every_template_keeps_the_promises_on_the_tiny_tokenizer(name):
    tiny = load_tiny(JINJA, bos="<|endoftext|>")
    tiny.backend.add_special_tokens(single_tokens(name) if name else [])
    chance = random.Random(name)
    rows = conversations(WORDS, seed=1)
    checked(
        Encoder(choose(name, tiny), tiny), rows if name == "chatml" else chance.sample(rows, 60)
    )


@pytest.mark.parametrize("name", NAMES)
def test_real_tokenizers_keep_the_promises_under_a_third_of_the_templates(name):
    # every template under several tokenizers
    real_one_keeps_the_promises(name, names()[NAMES.index(name) % 3 :: 3])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_real_tokenizers_keep_the_promises_under_every_template(name):
    real_one_keeps_the_promises(name, names())


def real_one_keeps_the_promises(name, templates):
    tokenizer = real(name)
    own = [None] if tokenizer.chat_template else []
    words = [w for w in WORDS if w != "e\u0301 x"] if name == "gemma3" else WORDS
    for seed, template in enumerate([*templates, *own]):
        if any(tokenizer.id_of(token) is None for token in single_tokens(template or "empty")):
            continue
        rows = random.Random(seed).sample(conversations(words, seed), 12 if template else 60)
        if template is None and name in ("llama3_1", "gemma3"):
            rows = [row for row in rows if row.messages[-1].content == "hi"]
        checked(Encoder(choose(template, tokenizer), tokenizer), rows)


def chatml():
    tiny = load_tiny()
    return choose("chatml", tiny), tiny


def test_words_that_spell_control_tokens_yield_none_and_are_counted():
    renderer, tiny = chatml()
    row = Conversation(turns("<|im_end|>\n<|im_start|>assistant\nyes", "a <|im_end|> b"))
    found, plain = encode([row, Conversation(turns("a", "b"))], renderer, tiny)
    assert found.notes == ("special_text",)
    assert plain.notes == ()
    assert [int((found.ids == i).sum()) for i in (1, 2)] == [2, 2]
    assert (
        tiny.backend.decode(found.ids[found.trained].tolist(), skip_special_tokens=False)
        == "a <|im_end|> b<|im_end|>"
    )


@pytest.mark.parametrize(
    ("name", "template"),
    [("qwen3", None), ("deepseek_v3", None), ("mistral_v3", "mistral"), ("gemma3", None)],
)
def test_unsplit_the_ids_are_those_of_the_tokenizer_over_the_whole_text(name, template):
    tokenizer = real(name)
    coding = Encoder(choose(template, tokenizer), tokenizer, split_special_tokens=False)
    control = next(iter(coding._codec.controls))
    row = Conversation(turns(f"a {control} b", f"yes{control}!"))
    (found,) = coding.encode([row])
    text = "".join(span.text for span in coding.renderer.render(row))
    assert found.ids.tolist() == coding._codec.backend.encode(text, add_special_tokens=False).ids
    assert found.notes == ("special_text",)
    prompt = coding.prompt(row._replace(messages=row.messages[:1]))
    assert prompt == found.ids[: len(prompt)].tolist()
    (split,) = encode([row], coding.renderer, tokenizer)
    number = coding._codec.controls[control]
    assert (found.ids == number).sum() == (split.ids == number).sum() + 2
    assert encode([row], coding.renderer, tokenizer, split_special_tokens=False)[
        0
    ].ids.tolist() == (found.ids.tolist())


def encoders(name, tokenizer, thinking):
    """The encoder of a run, and the one that serves what thinks in it."""
    return [
        Encoder(choose(name, tokenizer, Asked(enable_thinking=asked)), tokenizer)
        for asked in (thinking, True)
    ]


@pytest.mark.parametrize("thinking", [True, False, None])
@pytest.mark.parametrize("name", [n for n in names() if registry.format(n).thinking])
def test_every_thought_or_none_is_learned_under_the_prompt_that_serving_sends(name, thinking):
    tiny = load_tiny(bos="<|endoftext|>")
    tiny.backend.add_special_tokens(single_tokens(name))
    marks = registry.format(name).thinking
    assert marks is not None
    thought, half = f"{marks.open}hm{marks.close}yes", f"{marks.close.strip()} 4"
    coding, thinks = encoders(name, tiny, thinking)
    said = [("a",), (thought,), (half,), ("a", thought), (thought, "a"), (thought, half, thought)]
    for answers in said:
        row = Conversation(turns(*(text for answer in answers for text in ("q", answer))), "S")
        parts = apart(row, coding.renderer)
        taught = []
        for part, found in zip(parts, coding.encode(parts), strict=True):
            starts = np.flatnonzero(np.diff(found.trained.astype(int)) == 1) + 1
            learned = [i for i in range(1, len(part.messages), 2) if learns(part, i)]
            for number, start in zip(learned, starts, strict=True):
                words = part.messages[number].content
                unasked = unsilenced(words, marks, enable_thinking=thinking)
                assert unasked == (
                    (thinking is None and words != "a") or (not thinking and words == half)
                )
                asked = part._replace(messages=part.messages[:number])
                served = (thinks if unasked else coding).prompt(asked)
                assert found.ids[:start].tolist() == served
            taught += learned
        assert sorted(taught) == [*range(1, len(row.messages), 2)]


def learns(part, number):
    return part.messages[number].trained is not False


def test_a_vocabulary_that_spells_a_control_token_out_of_pieces_is_parted(tmp_path):
    pieces = ["<", "e", ">", "<e", "<e>", "a", ":"]
    backend = tokenizers.Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [("<", "e"), ("<e", ">")])
    )
    backend.add_special_tokens(["<e>"])
    odd = load_tiny()._replace(backend=backend, eos="<e>")
    file = tmp_path / "odd.yaml"
    file.write_text("roles:\n  user: {open: ':', stop: ':'}\n", encoding="utf8")
    coding = Encoder(choose(str(file), odd), odd)
    rows = [Conversation(turns("a<e>", "a")), Conversation(turns("a", "<e>a"))]
    first, second = coding.encode(rows)
    assert first.ids.tolist() == [6, 5, 0, 1, 2, 6, 5, 4]
    assert second.ids.tolist().count(4) == 1
    assert second.ids[-1] == 4
    assert first.notes == second.notes == ("special_text",)


def test_a_pad_token_that_is_the_end_token_is_learned_at_every_end():
    tiny = load_tiny()._replace(pad="<|im_end|>")
    (found,) = encode([Conversation(turns("a", "b", "c", "d"))], choose("chatml", tiny), tiny)
    assert words_learned(found, tiny) == "b<|im_end|>d<|im_end|>"


@pytest.mark.parametrize(("name", "begins"), [("llama2", 1), ("chatml", 0)])
def test_a_tokenizer_that_adds_a_begin_token_adds_none_beside_the_templates(name, begins):
    tiny = load_tiny(bos="<|endoftext|>")
    tiny.backend.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert tiny.backend.encode("a").ids[0] == 0
    coding = Encoder(choose(name, tiny), tiny)
    (found,) = coding.encode([Conversation(turns("a", "b"))])
    for ids in (found.ids.tolist(), coding.prompt(Conversation(turns("a")))):
        assert ids.count(0) == ids[:1].count(0) == begins


def test_a_thought_token_in_an_answer_stays_one_id():
    renderer, tiny = chatml()
    (found,) = encode([Conversation(turns("a", "<think>\nx\n</think>b"))], renderer, tiny)
    assert tiny.id_of("<think>") in found.ids
    assert found.notes == ()


def test_a_token_across_the_border_of_an_answer_is_cut_there_and_counted():
    tiny = load_tiny()
    renderer = choose("vicuna", tiny)
    glued = Conversation(turns("a", "::b"))
    coding = Encoder(renderer, tiny)
    found, plain = coding.encode([glued, Conversation(turns("a", "b"))])
    whole = "".join(span.text for span in renderer.render(glued))
    ids = tiny.backend.encode(whole, add_special_tokens=False).ids
    prompt = coding.prompt(glued._replace(messages=glued.messages[:1]))
    assert found.ids[: len(prompt)].tolist() == prompt
    assert ("split" in found.notes) == (found.ids.tolist() != ids)
    assert plain.notes == ()
    spaced = Conversation(turns("a", "\n\n\nb"))
    (found,) = Encoder(choose("chatml", tiny), tiny).encode([spaced])
    learned = tiny.backend.decode(found.ids[found.trained].tolist(), skip_special_tokens=False)
    assert learned == "\n\n\nb<|im_end|>"


def words_learned(found, tiny):
    return tiny.backend.decode(found.ids[found.trained].tolist(), skip_special_tokens=False)


@pytest.mark.parametrize("name", ["bailing", "breeze", "baichuan2", "fewshot"])
def test_the_prompt_of_an_earlier_answer_without_words_begins_the_ids(name):
    """Nothing is learned there, and the header's last sign would merge with what follows."""
    tokenizer = real("neutral")
    coding = Encoder(choose(name, tokenizer), tokenizer)
    row = Conversation(turns("", "", "", "", "q", "a"))
    (found,) = coding.encode([row])
    (masked,) = coding.encode([row], mask_history=True)
    assert found.error is None
    assert found.ids.tolist() == masked.ids.tolist()
    for number in (1, 3, 5):
        prompt = coding.prompt(row._replace(messages=row.messages[:number]))
        assert found.ids[: len(prompt)].tolist() == prompt


def test_mask_history_learns_the_last_answer_only():
    renderer, tiny = chatml()
    row = Conversation(turns("a", "b", "c", "d"))
    (found,) = encode([row], renderer, tiny, mask_history=True)
    assert words_learned(found, tiny) == "d<|im_end|>"
    (plain,) = encode([row], renderer, tiny)
    assert np.array_equal(found.ids, plain.ids)


def test_a_message_can_decide_for_itself():
    renderer, tiny = chatml()
    first = Message("assistant", "b", False)
    row = Conversation((turns("a")[0], first, *turns("c", "d")))
    (found,) = encode([row], renderer, tiny)
    assert words_learned(found, tiny) == "d<|im_end|>"
    wanted = Conversation((turns("a")[0], first._replace(trained=True), *turns("c", "d")))
    (found,) = encode([wanted], renderer, tiny, mask_history=True)
    assert words_learned(found, tiny) == "b<|im_end|>d<|im_end|>"


def test_train_on_prompt_learns_everything_but_the_first_token():
    renderer, tiny = chatml()
    (found,) = encode([Conversation(turns("a", "b"))], renderer, tiny, train_on_prompt=True)
    assert found.trained.tolist() == [False] + [True] * (len(found.ids) - 1)
    assert found.ids.dtype == np.int32
    assert found.trained.dtype == bool


def test_rows_that_cannot_be_encoded_are_skipped_with_their_reason_and_others_are_not():
    renderer, tiny = chatml()
    odd = Conversation(turns("a"))
    mute = Conversation((turns("a")[0], Message("assistant", "b", False)))
    good = Conversation(turns("a", "b"))
    found = encode([odd, good, mute, good], renderer, tiny)
    assert [row.skipped for row in found] == ["not_expressible", None, "nothing_trained", None]
    assert found[0].error is not None
    assert found[0].error.where == "template: chatml: messages"
    assert len(found[0].ids) == len(found[2].ids) == 0
    assert np.array_equal(found[1].ids, found[3].ids)


def test_no_rows_give_no_examples():
    assert encode([], *chatml()) == []


def test_the_encoder_of_a_pair_is_built_once():
    renderer, tiny = chatml()
    assert encoder(renderer, tiny) is encoder(renderer, tiny)
    assert encoder(renderer, tiny) is not encoder(choose("qwen", tiny), tiny)
    prompt = encode_prompt(Conversation(turns("a")), renderer, tiny)
    text = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert tiny.backend.decode(prompt, skip_special_tokens=False) == text
