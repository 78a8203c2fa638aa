"""The card says what is known, leaves out what is not, and no value can break its markup."""

import json
import re

import pytest
from ruamel.yaml import YAML

from tunesmith.models.card import CardFacts, card, title

FULL = CardFacts(
    name="lanternfold",
    directory="runs/lanternfold",
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
    is_adapter=True,
    method="lora, rank 16",
    data={"lanternfold": 1170},
    held_out_rows=19,
    settings={"learning_rate": 0.001, "template": None, "lora_target": "all", "dataset": ["a"]},
    metrics={"eval_loss": 0.31234567, "train_runtime": 123.456789, "eval_accuracy": 1 / 3},
    licence="apache-2.0",
    template="chatml",
    stops=("<|im_end|>",),
    dtype="float32",
    notes=("AutoTokenizer gets other ids here.",),
    version="0.1.0",
)


def _front(text):
    return YAML(typ="safe").load(text.split("---\n")[1])


def test_the_front_matter_is_what_hubs_read():
    front = _front(card(FULL))
    assert front["base_model"] == FULL.base
    assert front["library_name"] == "peft"
    assert front["license"] == "apache-2.0"
    assert front["tags"] == ["tunesmith", "sft", "lora"]
    assert _front(card(FULL._replace(is_adapter=False)))["library_name"] == "transformers"


def test_everything_known_stands_in_the_card():
    text = card(FULL)
    for piece in (
        "# lanternfold",
        "lora, rank 16",
        "| lanternfold | 1,170 |",
        "19 further rows were held out",
        "| eval_loss | 0.3123 |",
        "| `learning_rate` | `0.001` |",
        '| `dataset` | `["a"]` |',
        "`<|im_end|>`",
        "`chatml`",
        "AutoTokenizer gets other ids here.",
        "PeftModel.from_pretrained",
        "Tunesmith 0.1.0",
    ):
        assert piece in text


def test_what_is_not_known_is_left_out_and_not_guessed():
    text = card(CardFacts(name="m", base="/home/me/model", is_adapter=False))
    assert "base_model" not in _front(text)
    assert "license" not in _front(text)
    for heading in ("## Data", "## Results", "## Settings", "## Notes"):
        assert heading not in text
    assert "None" not in text
    assert "| `template` |" not in card(FULL)


def test_a_model_that_nothing_was_learned_by_is_not_called_tuned():
    text = card(CardFacts(name=title("a/b", ["d"], tuned=False), base="a/b", is_adapter=False,
                          tuned=False))  # fmt: skip
    assert "\n# b\n" in text
    assert "not tuned" in text
    assert "tuned from" not in text


def test_the_python_in_the_card_is_python():
    for is_adapter in (True, False):
        text = card(FULL._replace(is_adapter=is_adapter, base='a"b'))
        code = text.split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
        assert ("peft" in code) == is_adapter


def test_no_value_can_leave_its_place():
    evil = "x`|</td>\n# Heading\n---\n- a: 1"
    facts = FULL._replace(
        name=evil,
        base=evil,
        method=evil,
        data={evil: 1},
        settings={"default_system": evil},
        notes=(evil,),
        template=evil,
        licence=evil,
    )
    text = card(facts)
    assert _front(text)["license"] == evil
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert all(line.startswith(("# x", "## ")) for line in headings)
    assert text.count("\n---\n") == 1
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in rows)


def test_the_same_facts_give_the_same_text():
    assert card(FULL) == card(FULL)
    assert json.dumps(card(FULL))


@pytest.mark.parametrize("is_adapter", [True, False])
@pytest.mark.parametrize("base", [FULL.base, "models/own", "package:p/m.Q4_1.gguf", "m.gguf"])
def test_what_is_known_stands_in_the_commands_and_nothing_is_left_to_fill_in(base, is_adapter):
    text = card(FULL._replace(base=base, is_adapter=is_adapter))
    assert "tunesmith chat runs/lanternfold\n" in text
    assert '"runs/lanternfold"' in text
    assert not re.search(r"BASE_MODEL|DIRECTORY", text)
    assert "AutoTokenizer.from" not in text, "it may split text otherwise"
    if is_adapter:
        plain = base if base in (FULL.base, "models/own") else "base"
        assert f"AutoModelForCausalLM.from_pretrained({json.dumps(plain)}" in text
        assert (f"tunesmith download {base} --to base" in text) == (plain == "base")


def test_the_template_is_told_in_words():
    assert "base model's template (`chat_template.jinja`)" in card(FULL._replace(template=""))
    assert "Conversations" not in card(FULL._replace(template=None))


def test_the_heading_tells_the_model_from_others():
    assert title("package:p/Smol.gguf", ["a", "b"]) == "Smol tuned on a, b"
    assert title("owner/name", []) == "name, tuned"
