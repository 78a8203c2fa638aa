import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.compute import attention
from tunesmith.compute.lora import LoraLinear
from tunesmith.errors import ModelError
from tunesmith.models import adapters
from tunesmith.models.adapters import LoraSpec

IDS = torch.arange(5, 29)[None]


@pytest.fixture(params=["llama", "qwen2", "gemma3_text", "phi3"])
def directory(request, tmp_path):
    return tiny_model(tmp_path, request.param, tokenizer=False)


@pytest.fixture
def llama(tmp_path):
    return tiny_model(tmp_path, "llama", tokenizer=False)


def load(directory, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=dtype
    ).eval()


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@torch.no_grad()
def learned(directory, spec, seed=0):
    """A model whose adapter is as if it had learned something."""
    model = load(directory)
    adapters.attach(model, spec, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    for parameter in adapters.trainable(model).values():
        parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return model


def saved(model, directory):
    directory.mkdir()
    adapters.save_adapter(model, directory, "the/base")
    return directory


SPECS = {
    "plain": LoraSpec(4, 8),
    "rslora": LoraSpec(4, 8, rslora=True),
    "some": LoraSpec(2, 7, target=("q_proj", "down_proj")),
    "extra": LoraSpec(4, 8, target=("o_proj",), additional_target=("embed_tokens",)),
    "dora": LoraSpec(4, 8, dora=True),
    "pissa": LoraSpec(4, 8, pissa=-1),
}


def test_a_new_adapter_changes_nothing(directory):
    model, base = load(directory), load(directory)
    adapters.attach(model, LoraSpec(4, 8), seed=0)
    torch.testing.assert_close(logits(model), logits(base))


def test_all_means_every_linear_layer_but_the_head(directory):
    model = load(directory)
    linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    names = adapters.attach(model, LoraSpec(4, 8), seed=0)
    assert set(names) == linear - {"lm_head"}
    assert adapters.attached(model) == names
    assert set(adapters.trainable(model)) == {f"{n}.lora_{ab}" for n in names for ab in "AB"}


def test_the_start_of_a_layer_depends_on_its_name_and_the_seed_alone(llama):
    one, all_, other = load(llama), load(llama), load(llama)
    adapters.attach(one, LoraSpec(4, 8, target=("v_proj",)), seed=3)
    adapters.attach(all_, LoraSpec(4, 8), seed=3)
    adapters.attach(other, LoraSpec(4, 8), seed=4)
    layers = [m.model.layers[1].self_attn.v_proj for m in (one, all_, other)]
    assert torch.equal(layers[0].lora_A, layers[1].lora_A)
    assert not torch.equal(layers[1].lora_A, layers[2].lora_A)
    assert not torch.equal(layers[1].lora_A, all_.model.layers[0].self_attn.v_proj.lora_A)
    bound = 1 / 64**0.5
    assert 0.9 * bound < layers[0].lora_A.abs().max() <= bound
    assert not layers[0].lora_B.any()


def test_scaling_is_alpha_by_rank_or_by_its_root():
    assert LoraSpec(16, 32).scaling == 2
    assert LoraSpec(16, 32, rslora=True).scaling == 8


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_is_saved_is_loaded_bit_equal(llama, tmp_path, spec):
    model = learned(llama, spec)
    files = saved(model, tmp_path / "a")
    again = load(llama)
    adapters.load_adapter(again, files, trainable=True)
    assert torch.equal(logits(model), logits(again))
    assert adapters.trainable(again).keys() == adapters.trainable(model).keys()
    frozen = load(llama)
    adapters.load_adapter(frozen, files, trainable=False)
    assert adapters.trainable(frozen) == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_peft_reads_the_file_and_computes_the_same(llama, tmp_path, spec):
    peft = pytest.importorskip("peft")
    model = learned(llama, spec)
    theirs = peft.PeftModel.from_pretrained(load(llama), saved(model, tmp_path / "a")).eval()
    torch.testing.assert_close(logits(theirs), logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rslora", [False, True])
def test_a_file_of_pefts_is_read_and_computes_the_same(llama, tmp_path, rslora):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4, lora_alpha=8, use_rslora=rslora, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(load(llama), config).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path / "theirs")
    model = load(llama)
    adapters.load_adapter(model, tmp_path / "theirs", trainable=True)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_gradients_are_pefts(llama, tmp_path):
    peft = pytest.importorskip("peft")
    model = learned(llama, SPECS["plain"])
    theirs = peft.PeftModel.from_pretrained(
        load(llama), saved(model, tmp_path / "a"), is_trainable=True
    )
    weights = torch.randn(1, 24, 512, generator=torch.Generator().manual_seed(0))
    for one in (model, theirs):
        (one(input_ids=IDS).logits * weights).sum().backward()
    checked = 0
    grads = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    for name, parameter in adapters.trainable(model).items():
        want = grads[f"base_model.model.{name}.default.weight"]
        assert (parameter.grad - want).norm() <= 1e-6 * want.norm() + 1e-9, name
        checked += 1
    assert checked == len(grads) == 28


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_merged_is_what_the_adapter_computed(directory, spec):
    if "phi3" in directory.name and spec.target != "all":
        spec = spec._replace(target=("o_proj",))
    model = learned(directory, spec)
    before, base = logits(model), logits(load(directory))
    count = len(adapters.attached(model))
    assert adapters.merge(model) == count > 0
    assert not any(isinstance(m, LoraLinear) for m in model.modules())
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)
    assert (logits(model) - base).abs().max() > 1e-3
    assert adapters.merge(model) == 0


def test_a_merge_rounds_once_to_the_dtype_of_the_base(llama):
    model = load(llama, torch.bfloat16)
    adapters.attach(model, LoraSpec(4, 8, additional_target=("embed_tokens",)), seed=0)
    layer = model.model.layers[0].mlp.up_proj
    nn.init.normal_(layer.lora_B, std=0.1)
    want = (layer.weight.float() + 2 * (layer.lora_B @ layer.lora_A)).bfloat16()
    adapters.merge(model)
    merged = model.model.layers[0].mlp.up_proj
    assert type(merged) is nn.Linear
    assert torch.equal(merged.weight, want)
    assert (merged.in_features, merged.out_features) == (64, 96)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_merging_an_adapter_on_a_tied_head_leaves_the_embedding_alone(llama):
    model = learned(llama, LoraSpec(4, 8, target=("lm_head", "q_proj")))
    embedding, before = model.model.embed_tokens.weight.clone(), logits(model)
    adapters.merge(model)
    assert torch.equal(model.model.embed_tokens.weight, embedding)
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)
    assert not model.config.tie_word_embeddings


def test_a_merge_to_infinity_is_refused(llama):
    model = learned(llama, SPECS["plain"])
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.lora_B[0, 0] = float("inf")
    with pytest.raises(ModelError, match=r"merge of model\.layers\.0\.mlp\.up_proj"):
        adapters.merge(model)


def test_switched_off_it_is_the_base(llama):
    model, base = learned(llama, SPECS["plain"]), logits(load(llama))
    with adapters.disabled(model):
        assert torch.equal(logits(model), base)
    assert not torch.allclose(logits(model), base, atol=1e-3)
    with (
        pytest.raises(ModelError, match="comparison"),
        adapters.disabled(learned(llama, SPECS["extra"])),
    ):
        pass


def test_a_step_changes_the_adapter_and_nothing_else(llama):
    model = load(llama)
    adapters.attach(model, LoraSpec(4, 8), seed=0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(adapters.trainable(model).values(), lr=1e-2)
    for _ in range(2):  # B moves first, and A once B is not zero
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == ("lora_" not in name), name


def test_what_is_tied_is_trained_and_saved_under_both_names(llama, tmp_path):
    files = saved(learned(llama, SPECS["extra"]), tmp_path / "a")
    tensors = load_file(files / adapters.WEIGHTS)
    assert "base_model.model.lm_head.weight" in tensors
    config = json.loads((files / adapters.CONFIG).read_text())
    assert config["modules_to_save"] == ["lm_head", "model.embed_tokens"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("modules", [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
def test_a_file_of_pefts_that_unties_what_is_tied_is_refused(llama, tmp_path, modules):
    """PEFT trains a copy of each module; loaded as one weight it would be another model."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=modules)
    theirs = peft.get_peft_model(load(llama), config)
    with torch.no_grad():
        for i, name in enumerate(modules):
            wrapped = next(m for n, m in theirs.named_modules() if n.endswith(name))
            wrapped.modules_to_save.default.weight += 1 + i
    theirs.save_pretrained(tmp_path / "theirs")
    model = load(llama)
    with pytest.raises(ModelError, match="tied"):
        adapters.load_adapter(model, tmp_path / "theirs", trainable=True)
    assert adapters.attached(model) == []


def test_saved_tensors_are_fp32_and_names_are_pefts(llama, tmp_path):
    files = saved(learned(llama, SPECS["plain"]), tmp_path / "a")
    tensors = load_file(files / adapters.WEIGHTS)
    assert len(tensors) == 28
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    key = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    assert tensors[key].shape == (64, 4)


def test_earlier_adapters_are_merged_and_the_last_goes_on(llama, tmp_path):
    first = saved(learned(llama, SPECS["plain"], seed=1), tmp_path / "1")
    one = load(llama)
    adapters.load_adapter(one, first, trainable=False)
    adapters.merge(one)
    one.save_pretrained(tmp_path / "merged")
    second = saved(learned(tmp_path / "merged", SPECS["some"], seed=2), tmp_path / "2")
    want = learned(tmp_path / "merged", SPECS["some"], seed=2)
    model = load(llama)
    names = adapters.apply_adapters(
        model, [first, second], LoraSpec(8, 16), create_new=False, seed=0
    )
    assert len(names) == 4
    assert adapters.trainable(model).keys() == adapters.trainable(want).keys()
    torch.testing.assert_close(logits(model), logits(want), rtol=1e-4, atol=1e-4)
    fresh = load(llama)
    names = adapters.apply_adapters(
        fresh, [first, second], LoraSpec(8, 16), create_new=True, seed=0
    )
    assert len(names) == 14
    assert fresh.get_submodule(names[0]).rank == 8
    torch.testing.assert_close(logits(fresh), logits(want), rtol=1e-4, atol=1e-4)


def test_an_adapter_of_another_base_is_refused_by_shape(llama, tmp_path):
    files = saved(learned(llama, SPECS["plain"]), tmp_path / "a")
    wider = tiny_model(tmp_path, "llama", name="wide", tokenizer=False, intermediate_size=128)
    with pytest.raises(ModelError, match=r"lora_[AB]\.weight") as caught:
        adapters.load_adapter(load(wider), files, trainable=True)
    assert "another base model" in caught.value.need
    deeper = tiny_model(tmp_path, "llama", name="deep", tokenizer=False, num_hidden_layers=3)
    with pytest.raises(ModelError, match="adapter_model") as caught:
        adapters.load_adapter(load(deeper), files, trainable=True)
    assert "14 missing" in caught.value.got


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_an_incomplete_or_foreign_file_is_refused_and_the_model_left_alone(llama, tmp_path, change):
    files = saved(learned(llama, SPECS["plain"]), tmp_path / "a")
    tensors = load_file(files / adapters.WEIGHTS)
    key = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    value = tensors.pop(key)
    if change == "unknown":
        tensors |= {key: value, "base_model.model.model.layers.7.x.lora_A.weight": value.clone()}
    save_file(tensors, files / adapters.WEIGHTS)
    model = load(llama)
    with pytest.raises(ModelError) as caught:
        adapters.load_adapter(model, files, trainable=True)
    assert f"1 {change}" in caught.value.got
    assert adapters.attached(model) == []


def test_a_directory_without_an_adapter_is_refused(llama, tmp_path):
    with pytest.raises(ModelError, match="adapter_config"):
        adapters.load_adapter(load(llama), tmp_path / "nowhere", trainable=True)
    files = saved(learned(llama, SPECS["plain"]), tmp_path / "a")
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    (files / adapters.WEIGHTS).unlink()
    with pytest.raises(ModelError, match=str(files)):
        adapters.load_adapter(load(llama), files, trainable=True)


def test_two_adapters_at_once_are_refused(llama, tmp_path):
    model = learned(llama, SPECS["plain"])
    files = saved(model, tmp_path / "a")
    with pytest.raises(ModelError, match="adapter"):
        adapters.attach(model, SPECS["plain"], seed=0)
    with pytest.raises(ModelError, match="adapter"):
        adapters.load_adapter(model, files, trainable=True)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (LoraSpec(0, 8), "adapter"),
        (LoraSpec(4, 8, dropout=1.0), "adapter"),
        (LoraSpec(4, 8, target=("q_porj",)), "lora_target"),
        (LoraSpec(4, 8, target=("input_layernorm",)), "lora_target"),
        (LoraSpec(4, 8, additional_target=("nothing",)), "additional_target"),
        (LoraSpec(4, 8, target=("lm_head",), additional_target=("lm_head",)), "lora_target"),
        (LoraSpec(4, 8, target=("lm_head",), additional_target=("embed_tokens",)), "lora_target"),
        (LoraSpec(4, 8, target=("embed_tokens",)), "lora_target"),
        (LoraSpec(4, 8, target="nothing.*"), "lora_target"),
        (LoraSpec(4, 8, dora=True, pissa=4), "adapter"),
    ],
)
def test_what_cannot_be_attached_is_refused_and_the_model_left_alone(llama, spec, where):
    model = load(llama)
    with pytest.raises(ModelError, match=where):
        adapters.attach(model, spec, seed=0)
    assert adapters.attached(model) == []
    assert all(p.requires_grad for p in model.parameters())
