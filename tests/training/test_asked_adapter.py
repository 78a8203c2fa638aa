"""What a run asks of an adapter is what it gets, or an error."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.models.adapter_spec import LoraSpec
from tunesmith.training.asked_adapter import lora_spec, refuse_other


def test_every_key_of_an_adapter_is_in_its_spec():
    asked = {"lora_rank": 3, "lora_alpha": 5, "lora_dropout": 0.1, "lora_target": "q_proj,v_proj",
             "use_rslora": True, "additional_target": "norm"}  # fmt: skip
    aside = frozenset({"vision_tower", "multi_modal_projector"})
    spec = LoraSpec(3, 5, 0.1, ("q_proj", "v_proj"), rslora=True, additional_target=("norm",))
    assert lora_spec(load(None, asked)) == spec._replace(frozen=aside)
    assert lora_spec(load(None, {"use_dora": True})) == LoraSpec(8, 16, dora=True, frozen=aside)
    assert lora_spec(load(None, {"pissa_init": True})) == LoraSpec(8, 16, pissa=16, frozen=aside)
    assert lora_spec(load(None, {"freeze_vision_tower": False})).frozen == {"multi_modal_projector"}
    assert lora_spec(load(None, {"pissa_init": True, "pissa_iter": -1})).pissa == -1


@pytest.mark.parametrize(
    ("asked", "there", "key"),
    [
        ({"lora_rank": 4}, LoraSpec(8, 16), "lora_rank"),
        ({"use_dora": True}, LoraSpec(8, 16), "use_dora"),
        ({"pissa_init": True}, LoraSpec(8, 16), "pissa_init"),
        ({"use_dora": False}, LoraSpec(8, 16, dora=True), "use_dora"),
        ({"lora_target": "q_proj"}, LoraSpec(8, 16), "lora_target"),
        ({}, LoraSpec(4, 5, 0.1, dora=True), None),
        ({"pissa_init": True, "pissa_iter": 4}, LoraSpec(8, 16, pissa=-1), None),
        ({"lora_target": "all"}, LoraSpec(8, 16, target=("q_proj", "k_proj", "v_proj", "o_proj",
                                  "gate_proj", "up_proj", "down_proj")), None),
    ],
)  # fmt: skip
def test_a_key_that_the_adapter_gone_on_with_contradicts_is_refused(tmp_path, asked, there, key):
    directory = tiny_model(tmp_path, tokenizer=False)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    if key is None:
        refuse_other(load(None, asked), model, there)
        return
    with pytest.raises(ConfigError, match=key):
        refuse_other(load(None, asked), model, there)
