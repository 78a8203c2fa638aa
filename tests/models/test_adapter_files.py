"""A file holds exactly what its config promises for the base that it is put on."""

import pytest
import torch
from torch import nn

from tunesmith.errors import ModelError
from tunesmith.models import adapter_files

SHAPES = {"x.lora_A.weight": (2, 3)}


def tensors(**more):
    return {"x.lora_A.weight": torch.zeros(2, 3), **more}


def test_tensors_must_be_those_of_the_config_in_name_and_shape(tmp_path):
    adapter_files.check(tensors(), SHAPES, tmp_path)
    with pytest.raises(ModelError) as caught:
        adapter_files.check({}, SHAPES, tmp_path)
    assert "1 missing" in caught.value.got
    with pytest.raises(ModelError) as caught:
        adapter_files.check(tensors(y=torch.zeros(1)), SHAPES, tmp_path)
    assert "1 unknown" in caught.value.got
    with pytest.raises(ModelError, match="lora_A") as caught:
        adapter_files.check({"x.lora_A.weight": torch.zeros(3, 2)}, SHAPES, tmp_path)
    assert "another base model" in caught.value.need


def test_weights_of_the_base_in_the_file_must_be_those_of_the_base(tmp_path):
    model = nn.ModuleDict({"head": nn.Linear(3, 4, bias=False)})
    weight = model.head.weight.detach().clone()
    key = "head.base_layer.weight"
    found = adapter_files.without_base(model, tensors(**{key: weight}), tmp_path)
    assert found.keys() == SHAPES.keys()
    model.bfloat16()
    adapter_files.without_base(model, tensors(**{key: weight}), tmp_path)
    model.to("meta")
    adapter_files.without_base(model, tensors(**{key: weight}), tmp_path)
    other = {key: weight + 1}, {key: weight[:2]}, {"foot.base_layer.weight": weight}
    for wrong in other:
        with pytest.raises(ModelError, match="base_layer"):
            adapter_files.without_base(
                nn.ModuleDict({"head": nn.Linear(3, 4, bias=False)}), tensors(**wrong), tmp_path
            )
