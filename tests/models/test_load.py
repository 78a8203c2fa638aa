"""Every weight that the model needs is there, and is the one in the file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tiny_model import KINDS, tiny_model
from tunesmith.errors import ModelError
from tunesmith.models.load import load_model, read_config


def _edit_config(directory, **keys):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def _edit_weights(directory, edit):
    path = directory / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_those_of_transformers(tmp_path, kind, tied):
    directory = tiny_model(tmp_path, kind, tied=tied)
    ours = load_model(directory, dtype=torch.float32)
    stock = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager").eval()
    ids = torch.arange(5, 45)[None]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        expected = stock(ids, attention_mask=mask).logits
        got = ours(ids, attention_mask=mask).logits
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert not ours.training
    assert (ours.lm_head.weight is ours.get_input_embeddings().weight) is tied


def test_our_attention_is_used_where_the_model_takes_it(tmp_path):
    model = load_model(tiny_model(tmp_path), dtype=torch.float32)
    assert model.config._attn_implementation == "tunesmith"


def test_the_weights_get_the_type_that_is_asked_for(tmp_path):
    model = load_model(tiny_model(tmp_path), dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_missing_weight_is_an_error_not_random_numbers(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_weights(directory, lambda w: w.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(
        ModelError, match=r"not in the files: model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        load_model(directory, dtype=torch.float32)


def test_a_missing_head_of_an_untied_model_is_an_error(tmp_path):
    directory = tiny_model(tmp_path, tied=False)
    _edit_weights(directory, lambda w: w.pop("lm_head.weight"))
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        load_model(directory, dtype=torch.float32)


def test_a_weight_without_a_place_is_an_error(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_weights(directory, lambda w: w.update({"model.layers.7.oops.weight": torch.ones(2)}))
    with pytest.raises(ModelError, match=r"no place for: model\.layers\.7\.oops\.weight"):
        load_model(directory, dtype=torch.float32)


def test_a_config_of_another_shape_names_tensors_and_both_shapes(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_config(directory, intermediate_size=17)
    with pytest.raises(ModelError) as refused:
        load_model(directory, dtype=torch.float32)
    assert "layers.0.mlp.down_proj.weight has [64, 96], not [64, 17]" in str(refused.value)


def test_a_head_that_differs_from_the_embedding_it_is_tied_to_is_an_error(tmp_path):
    directory = tiny_model(tmp_path, tied=False)
    _edit_config(directory, tie_word_embeddings=True)
    with pytest.raises(ModelError, match="tie_word_embeddings"):
        load_model(directory, dtype=torch.float32)


def test_a_head_stored_twice_stays_tied(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_weights(
        directory, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()})
    )
    model = load_model(directory, dtype=torch.float32)
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_an_unknown_architecture_names_the_version_and_the_nearest(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_config(directory, model_type="lama")
    with pytest.raises(ModelError, match=r"transformers \d+\.\d+.* has; nearest: llama"):
        load_model(directory, dtype=torch.float32)


def test_a_model_that_brings_code_is_refused_without_the_flag(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_config(directory, model_type="own", auto_map={"AutoModelForCausalLM": "modeling.Own"})
    with pytest.raises(ModelError, match="auto_map") as caught:
        load_model(directory, dtype=torch.float32)
    assert "trust_remote_code" in caught.value.hint


def test_a_config_that_makes_no_model_is_one_error(tmp_path):
    directory = tiny_model(tmp_path)
    _edit_config(directory, hidden_size="wide")
    with pytest.raises(ModelError, match="model_type 'llama'"):
        load_model(directory, dtype=torch.float32)


def test_loading_prints_nothing(tmp_path, capfd):
    directory = tiny_model(tmp_path)
    capfd.readouterr()
    load_model(directory, dtype=torch.float32)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["minicpmv", "minicpmo"])
@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_old_that_no_transformers_runs_is_refused_with_what_is_there(
    tmp_path, kind, trusted
):
    said = {"model_type": kind, "auto_map": {"AutoModel": "modeling.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match=r"MiniCPM-V-4\.6") as caught:
        read_config(tmp_path, trust_remote_code=trusted)
    assert "transformers 5.23" in caught.value.need
