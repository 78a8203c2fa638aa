"""A directory whose weights bitsandbytes holds opens in stock transformers, also on the CPU."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tiny_export import adapter
from tiny_model import tiny_model
from tiny_vlm import tiny_vlm
from tunesmith.errors import ConfigError, ModelError
from tunesmith.export import bnb
from tunesmith.export.gate import kl
from tunesmith.export.job import Job, Serving
from tunesmith.export.merge import export
from tunesmith.export.proof import Loading
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.card import CardFacts
from tunesmith.models.load import load_model


@pytest.mark.parametrize("bits", [4, 8])
def test_it_is_the_tuned_model_within_its_bits(tmp_path, bits):
    base = tiny_model(tmp_path, intermediate_size=128)
    tuned = adapter(base, tmp_path / "a")
    serving = Serving(tokenizers.load(base), "{{ 1 }}", ("<|im_end|>",))
    done = export(base, [tuned], tmp_path / "out", serving=serving, format=[f"bnb-{bits}bit"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"][f"load_in_{bits}bit"] is True
    stored = load_file(tmp_path / "out" / "model.safetensors")
    codes = stored["model.layers.0.mlp.up_proj.weight"]
    assert codes.element_size() == 1
    assert codes.numel() == 64 * 128 * bits // 8
    assert 0 < done.proof.largest_difference < done.proof.bound
    assert done.proof.worn < 1
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    ends = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [serving.tokenizer.id_of("<|im_end|>")]


NF4 = [
    -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
]  # fmt: skip
"""arXiv:2305.14314, appendix E."""


def _nf4(weight):
    """Each block of 64 by its largest value, to the nearest of the sixteen."""
    blocks, codes = weight.reshape(-1, 64), torch.tensor(NF4)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = (blocks[..., None] / largest[..., None] - codes).abs().argmin(-1)
    return (codes[nearest] * largest).reshape(weight.shape)


def test_four_bits_say_what_nf4_by_its_definition_says(tmp_path):
    base = tiny_model(tmp_path, intermediate_size=128)
    serving = Serving(tokenizers.load(base), "{{ 1 }}", ("<|im_end|>",))
    export(base, [], tmp_path / "out", serving=serving, format=["bnb-4bit"])
    dense, written = (
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
        for place in (base, tmp_path / "out")
    )
    ids = torch.arange(3, 63)[None]
    with torch.inference_mode():
        exact, held = dense(ids).logits[0], written(ids).logits[0]
        for name, module in dense.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.weight.copy_(_nf4(module.weight))
        rounded = dense(ids).logits[0]
    assert kl(exact, rounded) > 1e-3
    assert kl(rounded, held) < kl(exact, rounded) / 50, "what is left: scales held in 8 bits"


def test_rows_that_its_blocks_do_not_divide_are_refused(tmp_path):
    base = tiny_model(tmp_path, intermediate_size=96)
    serving = Serving(tokenizers.load(base))
    with pytest.raises(ModelError, match="intermediate_size"):
        export(base, [], tmp_path / "out", serving=serving, format=["bnb-4bit"])


def test_without_bitsandbytes_the_command_that_brings_it_is_told(tmp_path, monkeypatch):
    base, phases = tiny_model(tmp_path, intermediate_size=128), []
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="export_format") as caught:
        export(
            base, [], tmp_path / "out", serving=Serving(tokenizers.load(base)),
            format=["bnb-4bit"], progress=phases.append,
        )  # fmt: skip
    assert "tunesmith[bnb]" in caught.value.hint
    assert phases == []


def test_of_a_model_that_sees_the_text_model_alone_is_quantised(tmp_path):
    """Tower and projector are few of its weights, and every picture goes through them."""
    base = tiny_vlm(tmp_path)
    model = load_model(base, dtype=torch.float32)
    serving = Serving(tokenizers.load(base))
    about = CardFacts("m", str(base), is_adapter=False)
    job = Job(base, (), model.config.to_dict(), serving, torch.float32, Loading(), 5, about)
    place = tmp_path / "out"
    place.mkdir()
    bnb.FORMATS["bnb-8bit"].write(job, model, place)
    held = {name for name, tensor in load_file(place / "model.safetensors").items()
            if tensor.dtype == torch.int8}  # fmt: skip
    assert held
    assert not any("vision_tower" in name or "projector" in name for name in held)
    assert {name.split(".")[-2] for name in held} >= {"q_proj", "o_proj", "gate_proj", "down_proj"}
