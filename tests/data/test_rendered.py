"""Cases rendered as training and serving do; ids and labels are the recorded ones."""

import datetime
import json
from collections import Counter
from functools import cache, partial
from pathlib import Path

import pytest

from real_tokenizers import real
from tiny_tokenizer import load_tiny
from tunesmith.data.examples import Said
from tunesmith.data.rendered import IGNORED, conversation_of, render_cases
from tunesmith.data.thinking import Thoughts
from tunesmith.data.tokenize import encode
from tunesmith.errors import TemplateError
from tunesmith.models.doctor import not_tokens
from tunesmith.models.vocabulary import extend
from tunesmith.templates import Template, choose, registry, stop_ids
from tunesmith.types import Origin

SHARED = Path(__file__).parents[3] / "shared" / "golden"
LISTED = json.loads(
    (Path(__file__).parents[1] / "golden" / "templates_deviations.json").read_text(encoding="utf8")
)
DEVIATIONS, OVERRIDES = LISTED["rows"], LISTED["overrides"]
TWO = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 2


CUT_ELSEWHERE = {
    "neutral": [
        "alpaca",
        "bailing",
        "bailing_v2",
        "deepseek3",
        "deepseekcoder",
        "deepseekr1",
        "empty",
        "ernie_nothink",
        "fewshot",
        "glm4_5v",
        "glm4_moe",
        "glm4v",
        "glmz1",
        "gpt_oss",
        "hunyuan_small",
        "hy3",
        "keye_vl",
        "llava",
        "llava_next",
        "mimo",
        "mimo_v2",
        "mimo_vl",
        "minimax2",
        "mistral_small",
        "openchat-3.6",
        "qwen3",
        "qwen3_5",
        "qwen3_6",
        "qwen3_omni",
        "qwen3_vl",
        "solar",
        "telechat2",
        "vicuna",
        "xuanyuan",
        "yi_vl",
        "youtu",
    ],
    "qwen3": ["qwen3", "qwen3_vl"],
    "mistral_v1": [
        "alpaca",
        "default",
        "llama2",
        "llama2_zh",
        "mistral",
        "solar",
        "vicuna",
        "xuanyuan",
        "zephyr",
    ],
    "smollm2": ["fewshot", "glm4"],
}
"""Tokenizer -> templates with ids that differ: upstream encodes each piece by itself, so that no
token lies across two pieces; serving encodes the whole text, and so is trained here."""


def one(case, name="chatml"):
    (found,) = render_cases([case], name, load_tiny())
    return found


def test_labels_are_ids_where_they_are_learned():
    found = one({"messages": TWO})
    assert len(found.pairs) == 2
    learned = [i for i in found.labels if i != IGNORED]
    answer = load_tiny().backend.encode("a<|im_end|>", add_special_tokens=False).ids
    assert learned == answer * 2
    assert found.examples is None
    last = one({"messages": TWO, "options": {"mask_history": True}})
    assert [i for i in last.labels if i != IGNORED] == answer
    every = one({"messages": TWO, "options": {"train_on_prompt": True}})
    assert every.labels[1:] == every.input_ids[1:]


def test_several_examples_of_one_conversation_are_all_shown():
    found = one({"messages": TWO}, "qwen3")
    assert len(found.examples) == 2
    assert found.input_ids == found.examples[-1]["input_ids"]


def calling(arguments, content=None, **more):
    function = {"name": "f", "arguments": arguments}
    calls = [{"type": "function", "id": "1", "function": function}]
    answer = {"role": "assistant", "content": content, "tool_calls": calls, "refusal": None}
    return {"messages": [TWO[0], answer | more]}


@pytest.mark.parametrize(
    ("case", "where"),
    [
        ({}, "messages"),
        ({"messages": [], "extra": 1}, "extra"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": TWO, "tools": []}, "tools"),
        ({"messages": TWO, "options": {"cutoff": 1}}, "options.cutoff"),
        ({"messages": TWO, "options": 3}, "options"),
        ({"messages": TWO, "options": {"enable_thinking": "x"}}, "options.enable_thinking"),
        ({"messages": TWO, "options": {"tool_format": 5}}, "options.tool_format"),
        ({"messages": [TWO[0], {"role": "function", "content": "x"}]}, "messages[1].content"),
        ({"messages": [TWO[0], {"role": "function", "content": "[]"}]}, "messages[1].content"),
        ({"messages": TWO[:1]}, "messages"),
        ({"messages": [{"role": "user", "content": "\ud800"}, TWO[1]]}, "messages[0].content"),
        ({"messages": TWO, "system": "\ud800"}, "system"),
        ({"messages": TWO, "tools": "\ud800"}, "tools"),
        ({"messages": TWO, "options": {"default_system": "\ud800"}}, "options.default_system"),
        ({"messages": [TWO[0], TWO[1] | {"name": "x"}]}, "messages[1].name"),
        ({"messages": [TWO[0] | {"tool_calls": [{}]}, TWO[1]]}, "messages[0].tool_calls"),
        ({"messages": [TWO[0], TWO[1] | {"tool_calls": "f"}]}, "messages[1].tool_calls"),
        ({"messages": [TWO[0], TWO[1] | {"tool_calls": [{}]}]}, "messages[1].tool_calls"),
        (calling({"a": float("inf")}), "messages[1].tool_calls"),
        (calling({"a": "\ud800"}), "messages[1].tool_calls"),
    ],
)
def test_a_bad_case_is_an_error_of_its_own(case, where):
    found = one(case)
    assert found.pairs is None
    assert where in found.error.splitlines()[0]


@pytest.mark.parametrize("arguments", [{"a": 1.5}, '{"a": 1.5}'])
@pytest.mark.parametrize("words", [None, "", "Hm.\n"])
def test_calls_beside_an_answer_are_those_of_a_turn_of_calls(arguments, words):
    text = (words or "") + '{"name": "f", "arguments": {"a": 1.5}}'
    turn = [TWO[0], {"role": "function", "content": text}]
    result = [{"role": "tool", "content": "r", "tool_call_id": "1"}, TWO[1]]
    for after in ([], result):
        asked = {"messages": calling(arguments, words)["messages"] + after}
        assert one(asked) == one({"messages": turn + after})
        assert one(asked).error is None
    assert one(calling({}, "a", tool_calls=[])) == one({"messages": TWO[:2]})


def test_a_template_that_does_not_exist_is_one_error():
    with pytest.raises(TemplateError):
        render_cases([], "chatmll", load_tiny())


def fitted(name, folder):
    """A tokenizer with every stop word of the template, as upstream makes it."""
    tokenizer = real(folder)
    renderer = choose(name, tokenizer)
    assert isinstance(renderer, Template)
    missing = not_tokens(tokenizer, renderer.named_stops)
    return extended(folder, tuple(missing))


@cache
def extended(folder, tokens):
    tokenizer = real(folder)
    rows = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    return extend(tokenizer, rows, special=tokens).tokenizer if tokens else tokenizer


def recorded(file):
    if not (SHARED / file).exists():
        pytest.skip("shared/golden is not there")
    with (SHARED / file).open(encoding="utf8") as lines:
        return [json.loads(line) for line in lines]


def listed(name, case):
    return any(name in e["templates"] and case in e["cases"] for e in DEVIATIONS)


NEW_YEAR = datetime.date(2025, 1, 1)
"""The day of the record, which llama3's tools show."""


def test_ids_are_the_recorded_ones_but_where_pieces_and_the_whole_text_differ():
    """Upstream encodes turn by turn; here the whole text is encoded, as serving does."""
    rows = recorded("token_ids.jsonl")
    groups = {}
    for row in rows:
        groups.setdefault((row["template"], row["tokenizer"]), []).append(row)
    equal, cut = 0, {}
    for (name, folder), members in groups.items():
        if name not in registry.names():
            continue
        tokenizer = fitted(name, folder)
        cases = [{k: m[k] for k in ("messages", "system", "tools")} for m in members]
        for row, found in zip(
            members, render_cases(cases, name, tokenizer, today=NEW_YEAR), strict=True
        ):
            if listed(name, row["case"]) or row["case"] == "special_strings":
                continue  # words that spell control tokens stay words here
            assert (found.error is None) == (row["error"] is None), (name, folder, row["case"])
            if row["error"]:
                continue
            ours = found.input_ids if found.examples is None else as_given(tokenizer, found)
            theirs = [part for pair in row["pairs"] for part in pair]
            flat = [i for part in theirs for i in part]
            if registry.format(name).efficient_eos and found.examples is None:
                assert ours.pop() == tokenizer.id_of(tokenizer.eos)
            if ours == flat:
                equal += 1
                continue
            texts = [as_text(tokenizer, ids) for ids in (ours, flat)]
            assert texts[0] == texts[1], (name, folder, row["case"], texts)
            cut.setdefault(folder, Counter())[name] += 1
    found = {folder: sorted(names) for folder, names in cut.items()}
    assert found == CUT_ELSEWHERE
    assert equal > 950


def test_the_log_lists_the_templates_and_tokenizers_whose_ids_differ():
    log = (Path(__file__).parents[2] / "docs" / "log.md").read_text(encoding="utf8")
    for folder, templates in CUT_ELSEWHERE.items():
        assert f"| `{folder}` | {', '.join(f'`{name}`' for name in templates)} |\n" in log


def as_given(tokenizer, found):
    """Ids of the whole recorded text, which training does not see: each answer has its own."""
    text = "".join(pair["prompt"] + pair["response"] for pair in found.pairs)
    return tokenizer.backend.encode(text, add_special_tokens=False).ids


def as_text(tokenizer, ids):
    """Without spaces, which SentencePiece adds at the start of each piece."""
    return tokenizer.backend.decode(ids, skip_special_tokens=False).replace(" ", "")


def test_every_template_stops_at_the_recorded_ids():
    rows = recorded("template_artifacts.jsonl")
    for row in rows:
        tokenizer = fitted(row["template"], row["tokenizer"])
        found = stop_ids(choose(row["template"], tokenizer), tokenizer)
        assert set(found) == set(row["stop_token_ids"]), (row["template"], row["tokenizer"])
    assert len(rows) > 100


def test_labels_are_the_recorded_ones_but_for_what_nobody_generates():
    """Where one text teaches the conversation; what follows an end is context, as is id 0."""
    aligned = {row["id"]: row["aligned"] for row in recorded("rows.jsonl")}
    compared = 0
    for row in recorded("labels_sft.jsonl"):
        if row["options"].get("cutoff_len") or row["error"]:
            continue
        name = row["template"]
        tokenizer, said = fitted(name, row["tokenizer"]), aligned[row["row"]]
        messages = said["prompt"] + said["response"]
        thinks = registry.format(name).thinking is not None and len(messages) > 2
        if thinks or name in CUT_ELSEWHERE.get(row["tokenizer"], ()):
            continue
        case = {"messages": messages, "system": said["system"], "tools": said["tools"]}
        (found,) = render_cases(
            [case | {"options": row["options"]}], name, tokenizer, today=NEW_YEAR
        )
        ours, labels, theirs = found.input_ids, found.labels, row["labels"]
        if registry.format(name).efficient_eos:
            ours, labels = ours[:-1], labels[:-1]
        if ours != row["input_ids"][: len(ours)]:
            continue  # a token across the border of two pieces; the test above counts them
        pairs = list(zip(ours, labels, theirs, strict=False))[1:]
        assert all(theirs == i for i, label, theirs in pairs if label != IGNORED), name
        more = [i for i, label, theirs in pairs if label == IGNORED and theirs == i]
        assert not tokenizer.backend.decode(more, skip_special_tokens=False).strip(), name
        compared += 1
    assert compared > 250


def test_control_strings_in_a_case_are_tokens_where_its_options_say_so():
    case = {
        "messages": [
            {"role": "user", "content": "<|im_end|>"},
            {"role": "assistant", "content": "a"},
        ]
    }
    tiny = load_tiny()
    cases = [case | {"options": {"split_special_tokens": s}} for s in (True, None, False)]
    found = render_cases(cases, "chatml", tiny)
    end = tiny.id_of("<|im_end|>")
    assert [one.input_ids.count(end) for one in found] == [2, 2, 3]
    assert len({str(one.pairs) for one in found}) == 1


@pytest.mark.parametrize("name", ["gpt_oss", "seed_oss", "kimi_vl", "gemma4", "qwen3", "chatml"])
def test_thoughts_of_a_case_are_learned_as_in_a_run_where_its_options_say_so(name):
    tiny = load_tiny()
    renderer = choose(name, tiny)
    words = "<think>\nhm\n</think>\n\nyes"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": words}]
    case = {"messages": messages, "options": {"translate_thinking": True}}
    (found,) = render_cases([case], name, tiny)
    said = Said(conversation_of({"messages": messages}), Origin("a", "a.json", 1, 1), False)
    (learned,) = Thoughts(renderer).in_marks([said])
    (run,) = encode([learned.conversation], renderer, tiny)
    assert found.input_ids == run.ids.tolist()
    assert ("<think>" in found.pairs[0]["response"]) == (name in ("qwen3", "chatml"))


def test_the_day_of_a_case_must_be_one_and_a_jinja_template_takes_none():
    def error(day, name):
        (found,) = render_cases([{"messages": TWO, "options": {"today": day}}], name, own)
        return found.error

    own = load_tiny(choose("chatml", load_tiny()).jinja())
    assert error("2025-02-03", "chatml") is None
    assert "YYYY-MM-DD" in error("2025-02-30", "chatml")
    assert "own clock" in error("2025-02-03", None)
    assert "text or null" in error(True, "chatml")


def test_a_tool_format_and_a_system_text_of_the_run_take_the_place_of_the_templates():
    """Every prompt and response, and the ids of all but the listed rows."""
    compared, differing = Counter(), set()
    for row in recorded("overrides.jsonl"):
        case = {key: row[key] for key in ("messages", "tools", "options")}
        name, tokenizer = row["template"], fitted(row["template"], "neutral")
        (found,) = render_cases([case], name, tokenizer, today=NEW_YEAR)
        assert (found.error is None) == (row["error"] is None), (name, row["options"])
        if row["error"]:
            continue
        marks = {"bos": tokenizer.bos, "eos": choose(name, tokenizer).stop_words[0]}
        theirs = [{k: as_pieces(pair[k], marks) for k in pair} for pair in row["pairs"]]
        if found.pairs != [{k: "".join(v) for k, v in pair.items()} for pair in theirs]:
            differing.add(row["options"]["tool_format"])
            continue
        compared["text"] += 1
        encode = partial(tokenizer.backend.encode, add_special_tokens=False)
        flat = [i for pair in theirs for k in pair for text in pair[k] for i in encode(text).ids]
        ours = found.input_ids if found.examples is None else as_given(tokenizer, found)
        if registry.format(name).efficient_eos:
            assert ours.pop() == tokenizer.id_of(tokenizer.eos)
        if ours != flat:
            assert name in CUT_ELSEWHERE["neutral"], (name, row["options"])
            assert as_text(tokenizer, ours) == as_text(tokenizer, flat), (name, row["options"])
            compared["cut"] += 1
    listed = {entry["tool_format"] for entry in OVERRIDES}
    assert differing == listed
    assert compared["text"] - compared["cut"] > 30


def as_pieces(elements, marks):
    return [marks.get(kind) or rest[0] for kind, *rest in elements]
