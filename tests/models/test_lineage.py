"""An adapter on weights that it was not trained over is noticed, however alike they look."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.models.adapter_spec import LoraSpec
from tunesmith.models.adapters import attach, load_adapter, merge, save_adapter
from tunesmith.models.lineage import belongs, lineage, weights_hash
from tunesmith.models.load import load_model


@pytest.fixture
def base(tmp_path):
    return tiny_model(tmp_path, name="base")


def adapter(tmp_path, base, name, below=(), seed=0):
    model = load_model(base, dtype=torch.float32)
    for path in below:
        load_adapter(model, path, trainable=False)
        merge(model)
    attach(model, LoraSpec(rank=2), seed=seed)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("lora_B"):
                value.fill_(0.01)
    (tmp_path / name).mkdir()
    save_adapter(model, tmp_path / name, str(base), lineage=lineage(base, below))
    return tmp_path / name


def told(*given, **keys):
    """What is reported where a mismatch is not refused."""
    return belongs(*given, mismatch="report", **keys)


def test_on_its_own_base_there_is_nothing_to_say(tmp_path, base):
    first = adapter(tmp_path, base, "first")
    second = adapter(tmp_path, base, "second", below=[first])
    assert belongs(base, str(base), [first, second]) == []


def test_other_weights_of_the_same_shapes_are_noticed(tmp_path, base):
    first = adapter(tmp_path, base, "first")
    tensors = load_file(base / "model.safetensors")
    name = next(key for key in tensors if key.endswith("down_proj.weight"))
    tensors[name] = tensors[name] * 1.01
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    (note,) = told(base, str(base), [first])
    assert "other weights" in note
    with pytest.raises(ModelError, match="first") as caught:
        belongs(base, "mine", [first])
    assert caught.value.got == "an adapter trained over other weights than mine has"
    assert "adapter_mismatch=report" in caught.value.hint


def test_an_adapter_without_the_one_below_it_is_noticed(tmp_path, base):
    first = adapter(tmp_path, base, "first")
    other = adapter(tmp_path, base, "other", seed=1)
    second = adapter(tmp_path, base, "second", below=[first])
    (note,) = told(base, str(base), [second])
    assert "over one adapter, here it is put on the bare base" in note
    (note,) = told(base, str(base), [other, second])
    assert "or others" in note
    for put_on in ([second], [other, second]):
        with pytest.raises(ModelError, match="second"):
            belongs(base, str(base), put_on)


def test_adapters_of_one_bare_base_may_be_added_up_and_it_is_said(tmp_path, base):
    first, other = adapter(tmp_path, base, "first"), adapter(tmp_path, base, "other", seed=1)
    (note,) = belongs(base, str(base), [first, other])
    assert "over the bare base, here it is put on one adapter" in note


@pytest.mark.parametrize(
    "changed", [{"hidden_size": 48}, {"intermediate_size": 80}, {"num_hidden_layers": 1}]
)
def test_an_adapter_of_other_shapes_is_refused_whatever_is_acknowledged(tmp_path, base, changed):
    first = adapter(tmp_path, base, "first")
    other = tiny_model(tmp_path, name="other", **changed)
    for mismatch in ("refuse", "report"):
        with pytest.raises(ModelError, match="first") as caught:
            belongs(other, "other", [first], mismatch=mismatch)
        assert "model.layers." in str(caught.value.got)
    assert caught.value.need == "an adapter of the shapes of other"


def test_the_same_weights_in_another_dtype_or_other_files_are_the_same_model(tmp_path, base):
    before = weights_hash(base)
    model = load_model(base, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "copy", max_shard_size="20KB")
    assert len(list((tmp_path / "copy").glob("*.safetensors"))) > 1
    assert weights_hash(tmp_path / "copy") == before
    assert weights_hash(tiny_model(tmp_path, name="elsewhere", seed=1)) != before


def test_an_adapter_of_another_program_is_known_by_the_name_of_its_base(tmp_path, base):
    first = adapter(tmp_path, base, "first")
    weights = first / "adapter_model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt"})
    assert told(base, "hub/base", [first]) == []
    config = json.loads((first / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "hub/quite-another"
    (first / "adapter_config.json").write_text(json.dumps(config))
    (note,) = told(base, str(base), [first])
    assert "quite-another" in note


def test_what_an_adapter_remembers_leaves_equal_adapters_equal_files(tmp_path, base):
    files = [adapter(tmp_path, base, f"copy-{i}") / "adapter_model.safetensors" for i in range(6)]
    assert len({path.read_bytes() for path in files}) == 1


def test_a_base_that_was_held_in_other_bits_is_noticed(tmp_path, base):
    model, bits = load_model(base, dtype=torch.float32), "4-bit nf4 (bnb)"
    attach(model, LoraSpec(rank=2), seed=0)
    first = tmp_path / "first"
    first.mkdir()
    save_adapter(model, first, str(base), lineage=lineage(base, [], quantization=bits))
    assert told(base, str(base), [first], quantization=bits) == []
    (note,) = told(base, str(base), [first])
    assert f"the base in {bits}, here it is put on the base as it is stored" in note
    dense = adapter(tmp_path, base, "dense")
    (note,) = told(base, str(base), [dense], quantization=bits)
    assert f"the base as it is stored, here it is put on the base in {bits}" in note
