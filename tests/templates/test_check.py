"""What ends an answer, and where a template parts from the model's own."""

import json
from pathlib import Path

import pytest

import own_jinjas
from real_tokenizers import real
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.templates import Asked, choose, jinja_to_serve, mismatch, probes_for, stop_ids
from tunesmith.templates.examples import PLAIN, PROBES

GOLDEN = Path(__file__).parents[1] / "golden" / "templates_stops.json"
STOPS = json.loads(GOLDEN.read_text(encoding="utf8"))
JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("name", sorted({row["tokenizer"] for row in STOPS}))
def test_stop_ids_are_the_recorded_ones_that_the_vocabulary_has(name):
    tokenizer = real(name)
    size = tokenizer.backend.get_vocab_size()
    for row in STOPS:
        if row["tokenizer"] == name:
            found = stop_ids(choose(row["template"], tokenizer), tokenizer)
            assert set(found) == {i for i in row["stops"] if i < size}


def test_stop_ids_are_eos_stop_words_and_further_stops_of_the_model():
    tiny = load_tiny()._replace(stops=("<|endoftext|>",))
    assert stop_ids(choose("chatml", tiny), tiny) == (0, 1, 2)
    assert stop_ids(choose("vicuna", load_tiny()), load_tiny()) == (2,)


def test_a_template_that_equals_the_models_own_has_no_mismatch():
    tiny = load_tiny(JINJA)
    assert mismatch(choose("chatml", tiny), tiny) == []
    assert mismatch(choose(None, tiny), tiny) == []
    assert mismatch(choose("vicuna", load_tiny()), load_tiny()) == []


def test_a_mismatch_shows_the_first_difference_of_each_probe():
    tiny = load_tiny(JINJA)
    found = {m.probe: m for m in mismatch(choose("qwen", tiny), tiny)}
    assert set(found) == {"one turn", "two turns", "generation prompt"}
    one = found["one turn"]
    assert one.position == len("<|im_start|>")
    assert one.ours.startswith("<|im_start|>system")
    assert one.theirs.startswith("<|im_start|>user")


def test_a_model_template_that_refuses_is_part_of_the_report():
    tiny = load_tiny("{{ raise_exception('never') }}")
    assert "never" in mismatch(choose("qwen", tiny), tiny)[0].theirs


def test_the_models_own_jinja_is_served_where_it_says_the_same():
    tiny = load_tiny(JINJA)
    ours = choose("chatml", tiny)
    assert mismatch(ours, tiny) == []
    assert jinja_to_serve(ours, tiny) == ours.jinja()  # the model's own knows no tools
    whole = load_tiny(ours.jinja() + "{# its own #}")
    assert jinja_to_serve(choose("chatml", whole), whole) == whole.chat_template
    other = choose("qwen", tiny)
    assert jinja_to_serve(other, tiny) == other.jinja()
    assert jinja_to_serve(choose("chatml", load_tiny()), load_tiny()).startswith("{%-")


def test_another_jinja_file_is_served_and_not_the_models_own(tmp_path):
    tiny = load_tiny(JINJA)
    file = tmp_path / "mine.jinja"
    file.write_text(JINJA.replace("<|im_start|>", "<|im_start|>#"))
    mine = choose(str(file), tiny)
    assert jinja_to_serve(mine, tiny) == file.read_text()
    assert {m.probe for m in mismatch(mine, tiny)} >= {"one turn", "generation prompt"}
    refusing = tmp_path / "refusing.jinja"
    refusing.write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}" + JINJA
    )
    assert mismatch(choose(str(refusing), tiny), tiny) == []


def test_the_system_text_of_the_run_is_served_by_the_models_own_template_too():
    tiny = load_tiny(JINJA)
    told = "Be 'brief' {{ x }} \\n\n and {% kind %}."
    renderer = choose(None, tiny, Asked(told))
    served = choose(None, tiny._replace(chat_template=jinja_to_serve(renderer, tiny)))
    for conversation in PLAIN.values():
        asking = len(conversation.messages) % 2 == 1
        ours, theirs = (
            "".join(s.text for s in one.render(conversation, add_generation_prompt=asking))
            for one in (renderer, served)
        )
        assert ours == theirs
        assert (told in ours) == (conversation.system is None)
    with pytest.raises(TemplateError, match="default_system"):
        choose(None, tiny, Asked(""))


def test_rows_with_tools_are_compared_with_and_without_system_text():
    tiny = load_tiny(own_jinjas.own("qwen3").source)
    ours = choose("qwen3", tiny)
    assert mismatch(ours, tiny, probes_for(ours, tools=False)) == []
    found = {m.probe: m for m in mismatch(ours, tiny, probes_for(ours))}
    assert set(found) == {"with tools", "a call and its result"}
    assert "system\n\n\n# Tools" in found["with tools"].ours
    assert "system\n# Tools" in found["with tools"].theirs
    assert "with tools and system text" in probes_for(ours)


def test_what_the_models_own_says_is_compared_where_its_answers_cannot_be_found_too():
    own = own_jinjas.own("llama3_1")
    tiny = load_tiny(own.source, bos=own.bos)._replace(eos=own.eos)
    found = {m.probe: m for m in mismatch(choose("llama3", tiny), tiny, PROBES)}
    assert "Cutting Know" in found["with tools"].ours
    assert "How are you?" in found["with tools"].theirs
