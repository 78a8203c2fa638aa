"""Which template a run gets: named, from a file, the model's own, or a refusal."""

from pathlib import Path

import pytest

from template_cases import turns
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.templates import Asked, OwnJinja, choose
from tunesmith.templates.choose import candidates
from tunesmith.types import Conversation

JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_name_binds_the_shipped_template_to_the_tokenizer():
    renderer = choose("chatml", load_tiny(JINJA), Asked("S"))
    assert renderer.name == "chatml"
    assert renderer.render(Conversation(turns("a", "b")))[1].text == "S"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(TemplateError) as caught:
        choose("lama3", load_tiny())
    assert "llama3" in caught.value.hint


def test_no_name_is_the_models_own_template():
    renderer = choose(None, load_tiny(JINJA))
    assert isinstance(renderer, OwnJinja)
    assert renderer.jinja() == JINJA


def test_no_name_and_no_template_is_refused_with_candidates(tmp_path):
    tiny = load_tiny()._replace(path=tmp_path / "SmolLM2-135M")
    with pytest.raises(TemplateError) as caught:
        choose(None, tiny)
    assert caught.value.where == "template"
    assert caught.value.hint.startswith("template: smollm2")


def test_what_a_run_asks_wrongly_is_told_with_its_place():
    def place(key):
        return f"command line: {key}"

    asked = Asked(tool_format="foo")
    for name in (None, "chatml"):
        with pytest.raises(TemplateError) as caught:
            choose(name, load_tiny(JINJA), asked, where=place)
        assert caught.value.where == str(caught.value).splitlines()[0] == place("tool_format")
    with pytest.raises(TemplateError) as caught:
        choose(None, load_tiny(), where=place)
    assert caught.value.where == place("template")


def test_candidates_are_those_of_the_name_then_those_whose_tokens_are_there():
    found = candidates(load_tiny()._replace(path=load_tiny().path.with_name("Qwen3-8B")))
    assert found[0] == "qwen3"
    assert "chatml" in found
    assert not {"llama3", "deepseek3", "mistral", "phi4"} & set(found)
    assert found.index("chatml") < found.index("vicuna")
    assert "vicuna" in found


def test_candidates_of_a_model_without_a_known_name_are_plain_before_special():
    found = candidates(load_tiny()._replace(path=load_tiny().path.with_name("base")))
    assert found[0] == "chatml"
    of_tokens = found[: found.index("default")]
    assert {"smollm2", "qwen", "chatml_de"} <= set(of_tokens)
    assert found.index("cpm4") < found.index("chatml_de")  # which adds a system text


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("models--HuggingFaceTB--SmolLM2-135M/snapshots/93efa2f0", "smollm2"),
        ("SmolLM2-135M/checkpoint-10", "smollm2"),
        ("Qwen3-4B-Instruct-2507", "qwen3_nothink"),
        ("Qwen3-VL-8B-Thinking", "qwen3_vl"),
    ],
)
def test_the_closest_name_is_first_wherever_in_the_path_it_stands(path, first):
    assert candidates(load_tiny()._replace(path=Path("/models") / path))[0] == first


def test_a_template_file_is_used_by_its_path(tmp_path):
    yaml = tmp_path / "my.yaml"
    yaml.write_text("like: chatml\ndefault_system: Mine.\n", encoding="utf8")
    renderer = choose(str(yaml), load_tiny())
    assert renderer.name == "my"
    assert renderer.render(Conversation(turns("a", "b")))[1].text == "Mine."
    jinja = tmp_path / "my.jinja"
    jinja.write_text(JINJA, encoding="utf8")
    assert choose(str(jinja), load_tiny()).jinja() == JINJA


@pytest.mark.parametrize("name", ["missing.yaml", "missing.jinja"])
def test_a_template_file_that_is_not_there_is_one_error(name, tmp_path):
    with pytest.raises(TemplateError) as caught:
        choose(str(tmp_path / name), load_tiny())
    assert name in caught.value.where
