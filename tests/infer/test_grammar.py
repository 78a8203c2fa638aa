"""Answers held to a grammar, drawn at random: each is what was asked for."""

import json

import pytest
import torch

from serving import TOKENIZER, TOOLS, found
from tunesmith.errors import TemplateError
from tunesmith.infer.grammar import AfterThought, Grammars
from tunesmith.templates.calls import dumps

BACKEND = TOKENIZER.backend
EOS = TOKENIZER.id_of(TOKENIZER.eos)
SIZE = BACKEND.get_vocab_size()
GRAMMARS = Grammars(BACKEND, stop_ids={EOS})


def drawn(grammar, seed, most=400):
    """The text of one random walk through a grammar."""
    generator, place = torch.Generator().manual_seed(seed), grammar.begin()
    ids = []
    while len(ids) < most:
        # rows of an embedding beyond the vocabulary may exist; no answer holds one
        logits = place.mask(torch.randn(SIZE + 3, generator=generator))
        assert not logits[SIZE:].isfinite().any()
        chosen = int(logits.argmax())
        if chosen == EOS:
            return BACKEND.decode(ids, skip_special_tokens=False)
        place.take(chosen)
        ids.append(chosen)
    raise AssertionError("no end")


def test_every_answer_is_json_of_the_schema():
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 999},
            "name": {"type": "string", "maxLength": 8},
        },
        "required": ["kind", "count"],
        "additionalProperties": False,
    }
    grammar = GRAMMARS.of_json(schema)
    kinds = set()
    for seed in range(20):
        said = json.loads(drawn(grammar, seed))
        assert set(said) <= {"kind", "count", "name"}
        assert 3 <= said["count"] <= 999
        assert len(said.get("name", "")) <= 8
        kinds.add(said["kind"])
    assert kinds == {"a", "b"}


def test_any_object_is_one_and_nothing_else():
    place = GRAMMARS.of_json(None).begin()
    first = place.mask(torch.zeros(SIZE))
    allowed = {BACKEND.decode([i]) for i in range(SIZE) if first[i].isfinite()}
    assert allowed
    assert all(text.startswith("{") for text in allowed)


@pytest.mark.parametrize("template", ["qwen", "llama3", "mistral", "glm4"])
def test_a_call_is_one_that_the_template_reads(template):
    forms = found(template).call_forms(dumps(TOOLS))
    read = found(template).style(dumps(TOOLS)).read
    names = set()
    for seed in range(8):
        words, calls = read(drawn(GRAMMARS.of_call(forms), seed))
        assert words.strip() == ""
        (call,) = calls
        assert set(json.loads(call.arguments)) == {"city"}
        names.add(call.name)
    assert names <= {"weather", "time"}
    only = read(drawn(GRAMMARS.of_call(forms[1:]), 0))[1]
    assert [call.name for call in only] == ["time"]


def test_calls_that_are_no_json_are_refused():
    with pytest.raises(TemplateError, match="not written as JSON"):
        found("seed_oss").call_forms(dumps(TOOLS))


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"type": "object", "properties": 5}]
)
def test_what_is_no_schema_is_one_clear_error(schema):
    with pytest.raises(TemplateError) as refused:
        GRAMMARS.of_json(schema)
    assert refused.value.where == "schema"
    assert refused.value.got


def test_a_thought_is_free_and_what_follows_is_held():
    place = AfterThought(GRAMMARS.of_json(None), BACKEND, "</think>").begin()
    for i in BACKEND.encode("any <b> words</think>", add_special_tokens=False).ids:
        assert place.mask(torch.zeros(SIZE)).isfinite().all()
        place.take(i)
    assert not place.mask(torch.zeros(SIZE)).isfinite().all()
