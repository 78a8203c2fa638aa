"""A mixture of experts out of a dense model: equal before it is trained, or refused."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from tiny_assembled import made as assembled
from tiny_model import tiny_model
from tiny_tower import tiny_tower
from tunesmith.errors import ModelError
from tunesmith.models import upcycle
from tunesmith.models.upcycle import TWINS, chosen


def made(folder, source, **keys):
    """What is made of a directory."""
    out = folder / "moe"
    out.mkdir()
    how = {"layers": "all", "experts": 4, "per_token": 2, "coefficient": 0.01, "seed": 3}
    return upcycle.upcycle(source, out, **(how | keys))


def both(source, out, kind=AutoModelForCausalLM):
    """Logits of stock transformers for both, and what each says greedily."""
    found = []
    for path in (source, out):
        model = kind.from_pretrained(path, dtype=torch.float32).eval()
        ids = torch.arange(5, 60)[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits
            said = model.generate(ids[:, :9], max_new_tokens=12, do_sample=False)
        found.append((logits, said.tolist(), model))
    return found


CASES = [
    ("llama", "all", "mixtral", {}),
    ("llama", "even", "qwen2_moe", {}),
    ("llama", [1, 2], "qwen2_moe", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}),
    ("mistral", "all", "mixtral", {"sliding_window": 16}),
    ("mistral", "odd", "qwen2_moe", {"sliding_window": 16}),
    ("qwen2", "second_half", "qwen2_moe", {}),
    ("qwen3", "first_half", "qwen3_moe", {}),
    ("qwen3", "all", "qwen3_moe", {"attention_bias": True}),
    ("granite", "all", "granitemoe", {"embedding_multiplier": 2.0, "logits_scaling": 3.0}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "layers", "twin", "keys"), CASES)
def test_it_says_what_the_dense_model_says(tmp_path, kind, layers, twin, keys):
    source = tiny_model(tmp_path, kind, num_hidden_layers=3, tied=kind != "qwen2", **keys)
    found = made(tmp_path, source, layers=layers)
    assert found.twin == twin
    assert found.layers == chosen(layers, 3)
    assert found.difference <= 1e-5
    assert {path.stat().st_mode & 0o777 for path in found.directory.iterdir()} == {0o644}
    (ours, said, _), (theirs, other, model) = both(source, found.directory)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    assert other == said
    assert found.parameters == sum(p.numel() for p in model.parameters())
    dense = sum(3 * 64 * 96 for _ in found.layers)  # of one copy of the networks
    assert found.parameters - found.active == 2 * dense, "two of four experts are idle"
    config = model.config
    assert (config.num_experts_per_tok, config.router_aux_loss_coef) == (2, 0.01)


def test_every_family_has_a_case():
    assert {case[0] for case in CASES} == set(TWINS)


@pytest.mark.parametrize("experts", [2, 3, 8])
def test_any_number_of_experts_and_of_those_a_token_uses(tmp_path, experts):
    source = tiny_model(tmp_path, "qwen3")
    found = made(tmp_path, source, experts=experts, per_token=min(3, experts))
    assert found.difference <= 1e-5


def test_bf16_weights_stay_as_they_are(tmp_path):
    source = tiny_model(tmp_path, "llama", dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    model.save_pretrained(source)
    found = made(tmp_path, source, layers="odd")  # halved experts: a power of two
    assert json.loads((found.directory / "config.json").read_text())["dtype"] == "bfloat16"
    with safe_open(next(found.directory.glob("*.safetensors")), "pt") as stored:
        one = stored.get_tensor("model.layers.1.mlp.experts.3.down_proj.weight")
        shared = stored.get_tensor("model.layers.1.mlp.shared_expert.down_proj.weight")
    assert one.dtype == torch.bfloat16
    assert torch.equal(one * 2, shared)
    assert torch.equal(shared, model.state_dict()["model.layers.1.mlp.down_proj.weight"])


def test_routers_are_random_and_of_the_seed(tmp_path):
    source = tiny_model(tmp_path, "llama")
    found = []
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / place).mkdir()
        out = made(tmp_path / place, source, seed=seed).directory
        model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
        found.append(torch.cat([layer.mlp.gate.weight for layer in model.model.layers]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert found[0].std().item() == pytest.approx(0.02, rel=0.2)


def test_a_model_that_sees_keeps_its_eyes(tmp_path):
    vlm = assembled(tmp_path, tiny_model(tmp_path, "qwen2", tied=False), tiny_tower(tmp_path))
    found = made(tmp_path, vlm.directory, layers="even")
    assert found.twin == "qwen2_moe"
    kind = AutoModelForImageTextToText
    dense, mixed = (
        kind.from_pretrained(path, dtype=torch.float32).eval()
        for path in (vlm.directory, found.directory)
    )
    ids = torch.arange(5, 40)[None]
    ids[0, 3 : 3 + vlm.patches] = vlm.image_token_id
    side = dense.config.vision_config.image_size
    seen = {"input_ids": ids, "pixel_values": torch.randn(1, 3, side, side)}
    with torch.no_grad():
        torch.testing.assert_close(mixed(**seen).logits, dense(**seen).logits, atol=1e-5, rtol=1e-5)
    beside = {path.name for path in vlm.directory.iterdir() if path.suffix != ".safetensors"}
    assert {path.name for path in found.directory.iterdir()} >= beside
    for name in beside - {"config.json"}:
        assert (found.directory / name).read_bytes() == (vlm.directory / name).read_bytes()


@pytest.mark.parametrize("kind", ["gemma", "phi3", "gpt2"])
def test_a_family_without_a_twin_is_refused_with_those_that_have_one(tmp_path, kind):
    with pytest.raises(ModelError, match="llama, mistral, qwen2, qwen3, granite"):
        made(tmp_path, tiny_model(tmp_path, kind))


@pytest.mark.parametrize(
    ("kind", "model", "keys", "said"),
    [
        ("llama", {"mlp_bias": True}, {}, "mlp.*bias, which its twin has no place for"),
        ("llama", {}, {"layers": [0, 2]}, "one or more of the layers 0 to 1"),
        ("llama", {}, {"layers": [0, 0]}, "each once"),
        ("llama", {"num_hidden_layers": 1}, {"layers": "odd"}, "odd"),
        ("llama", {}, {"per_token": 5}, r"2 to num_experts \(4\)"),
        ("llama", {}, {"per_token": 1}, "its router would learn nothing"),
        ("granite", {}, {"layers": "even"}, "granitemoe, has experts in every layer"),
        ("mixtral", {"num_local_experts": 2}, {}, "has experts"),
        (
            "qwen3",
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
            {},
            "windowed_layers 1, which would become 2",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, kind, model, keys, said):
    with pytest.raises(ModelError, match=said):
        made(tmp_path, tiny_model(tmp_path, kind, **model), **keys)


def test_weights_that_do_not_add_up_to_one_are_found_out(tmp_path, monkeypatch):
    """The proof can fail: without normalised weights a copy says another thing."""
    whole = upcycle._config

    def unnormalised(*args, **keys):
        config = whole(*args, **keys)
        config.norm_topk_prob = False
        return config

    monkeypatch.setattr(upcycle, "_config", unnormalised)
    with pytest.raises(ModelError, match="logits that differ by"):
        made(tmp_path, tiny_model(tmp_path, "qwen3"))
