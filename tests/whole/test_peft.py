"""Adapters beside PEFT's: outputs, gradients after steps, files in both directions."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from tiny_model import tiny_model
from tunesmith.compute import attention
from tunesmith.compute.pissa import PissaLinear
from tunesmith.models import adapters
from tunesmith.models.adapters import LoraSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = torch.arange(5, 29)[None]
NEAR = {"rtol": 1e-4, "atol": 1e-5}
SPECS = {
    "lora": LoraSpec(4, 8),
    "names": LoraSpec(3, 7, target=("q_proj", "down_proj")),
    "regex": LoraSpec(4, 8, target=r".*layers\.1\..*_proj"),
    "rslora": LoraSpec(4, 8, rslora=True),
    "dora": LoraSpec(4, 8, dora=True),
    "rsdora": LoraSpec(4, 8, dora=True, rslora=True, target=("v_proj", "up_proj")),
    "pissa": LoraSpec(4, 8, pissa=-1),
    "rspissa": LoraSpec(4, 6, pissa=-1, rslora=True),
    "in full": LoraSpec(4, 8, target=("o_proj",), additional_target=("model.norm",)),
    "head": LoraSpec(4, 8, target=("q_proj", "lm_head")),
    "head, dora": LoraSpec(4, 8, target=("q_proj", "lm_head"), dora=True),
}
every = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
MODELS = {"bias": ("qwen2", True), "untied": ("llama", False)}
models = pytest.mark.parametrize("model", MODELS)


def directory_of(tmp_path, model):
    kind, tied = MODELS[model]
    return tiny_model(tmp_path, kind, tied=tied, tokenizer=False)


def load(directory):
    return AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=attention.register(), dtype=torch.float32
    ).train()


def theirs_of(directory, spec, **keys):
    """PEFT's own model of the same spec."""
    target = spec.target if isinstance(spec.target, str) else list(spec.target)
    config = peft.LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        use_rslora=spec.rslora,
        use_dora=spec.dora,
        target_modules="all-linear" if target == "all" else target,
        modules_to_save=list(spec.additional_target) or None,
        init_lora_weights="pissa" if spec.is_pissa else True,
        task_type="CAUSAL_LM",
        **keys,
    )
    return peft.get_peft_model(load(directory), config).train()


def pairs(ours, theirs):
    """Each parameter that learns: its name, ours, theirs."""
    learned = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    named = {}
    for name, parameter in learned.items():
        short = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
        short = short.replace(".default.weight", "").replace(".default", "")
        named[short] = parameter
    mine = adapters.trainable(ours)
    assert mine.keys() == named.keys()
    return [(name, mine[name], named[name]) for name in mine]


@torch.no_grad()
def disturbed(ours, theirs):
    """The same start for both, away from zero."""
    draw = torch.Generator().manual_seed(0)
    for _name, mine, other in pairs(ours, theirs):
        mine.copy_(other).add_(torch.randn(mine.shape, generator=draw) * 0.03)
        other.copy_(mine)
    layers = [(n, m) for n, m in ours.named_modules() if isinstance(m, PissaLinear)]
    assert all(m.first_A.any() for _, m in layers)


def both(tmp_path, model, spec):
    directory = directory_of(tmp_path, model)
    ours, theirs = load(directory), theirs_of(directory, spec)
    adapters.attach(ours, spec, seed=0)
    if spec.is_pissa:  # singular vectors are unique up to their sign
        for name in adapters.attached(ours):
            layer = ours.get_submodule(name)
            twin = theirs.base_model.model.get_submodule(name)
            first_a, first_b = twin.lora_A.default.weight, twin.lora_B.default.weight
            torch.testing.assert_close(
                layer.first_B @ layer.first_A, (first_b @ first_a).detach(), **NEAR
            )
            layer.start(first_a, first_b)
    disturbed(ours, theirs)
    return directory, ours, theirs


@every
@models
def test_outputs_and_gradients_are_pefts_step_after_step(tmp_path, model, spec):
    _, ours, theirs = both(tmp_path, model, spec)
    weights = torch.randn(1, 24, 512, generator=torch.Generator().manual_seed(0)) / 100
    optimizers = [
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=1e-2)
        for m in (ours, theirs)
    ]
    for _ in range(3):
        outs = [m(input_ids=IDS).logits for m in (ours, theirs)]
        torch.testing.assert_close(*outs, **NEAR)
        for m, out in zip((ours, theirs), outs, strict=True):
            m.zero_grad()
            (out * weights).sum().backward()
        for name, mine, other in pairs(ours, theirs):
            assert other.grad.any(), name
            assert (mine.grad - other.grad).norm() <= 2e-5 * other.grad.norm(), name
        for optimizer in optimizers:
            optimizer.step()


def saved(model, place):
    place.mkdir()
    adapters.save_adapter(model, place, "the/base")
    return place


@torch.no_grad()
def logits(model):
    return model.eval()(input_ids=IDS).logits


@every
def test_peft_loads_our_file_onto_the_base_that_there_was(tmp_path, spec):
    directory, ours, theirs = both(tmp_path, "bias", spec)
    place = saved(ours, tmp_path / "ours")
    loaded = peft.PeftModel.from_pretrained(load(directory), place)
    torch.testing.assert_close(logits(loaded), logits(ours), **NEAR)
    torch.testing.assert_close(logits(theirs), logits(ours), **NEAR)
    if not spec.is_pissa:  # PEFT saves it for the residual
        theirs.save_pretrained(tmp_path / "theirs")
        want, got = (
            {k: (v.shape, v.dtype) for k, v in load_file(d / adapters.WEIGHTS).items()}
            for d in (tmp_path / "theirs", place)
        )
        want = {k: v for k, v in want.items() if ".base_layer." not in k}  # the head, untouched
        assert got == want
        configs = [
            json.loads((d / adapters.CONFIG).read_text()) for d in (tmp_path / "theirs", place)
        ]
        same = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "bias", "lora_dropout",
                "task_type", "fan_in_fan_out", "rank_pattern", "alpha_pattern")  # fmt: skip
        assert {k: configs[0][k] for k in same} == {k: configs[1][k] for k in same}


@every
def test_a_file_of_pefts_goes_on_here(tmp_path, spec):
    directory, ours, theirs = both(tmp_path, "bias", spec)
    if spec.is_pissa:  # the way that PEFT has to make it fit the base that there was
        start = theirs_of(directory, spec)
        start.peft_config["default"].init_lora_weights = True
        start.save_pretrained(tmp_path / "start")
        theirs.save_pretrained(
            tmp_path / "theirs", path_initial_model_for_weight_conversion=tmp_path / "start"
        )
    else:
        theirs.save_pretrained(tmp_path / "theirs")
    for trainable in (True, False):
        model = load(directory)
        adapters.load_adapter(model, tmp_path / "theirs", trainable=trainable)
        torch.testing.assert_close(logits(model), logits(ours), **NEAR)
        assert bool(adapters.trainable(model)) is trainable
    before = logits(model)
    adapters.merge(model)
    torch.testing.assert_close(logits(model), before, **NEAR)
    if "lm_head" not in spec.target:  # merging into a tied head, PEFT changes the embedding, too
        torch.testing.assert_close(logits(theirs.merge_and_unload()), before, **NEAR)


@pytest.mark.parametrize("kind", ["pissa", "pissa_niter_4", "olora"])
def test_a_file_that_fits_a_changed_base_only_is_refused_with_the_way_out(tmp_path, kind):
    directory = directory_of(tmp_path, "untied")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=kind)
    peft.get_peft_model(load(directory), config).save_pretrained(tmp_path / "theirs")
    with pytest.raises(adapters.ModelError, match="init_lora_weights") as caught:
        adapters.load_adapter(load(directory), tmp_path / "theirs", trainable=True)
    assert "path_initial_model_for_weight_conversion" in caught.value.hint


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"bias": "lora_only"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"layers_to_transform": [1]}, "layers_to_transform"),
        ({"exclude_modules": ["v_proj"]}, "exclude_modules"),
    ],
)
def test_what_peft_can_and_we_do_not_is_refused_by_its_name(tmp_path, keys, named):
    directory = directory_of(tmp_path, "bias")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **keys)
    peft.get_peft_model(load(directory), config).save_pretrained(tmp_path / "theirs")
    with pytest.raises(adapters.ModelError, match=named):
        adapters.load_adapter(load(directory), tmp_path / "theirs", trainable=True)


def test_a_file_of_a_gpt2_is_refused_with_its_kind_of_layer(tmp_path):
    directory = tiny_model(tmp_path, "gpt2", tokenizer=False)
    config = peft.LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)
    peft.get_peft_model(load(directory), config).save_pretrained(tmp_path / "theirs")
    with pytest.raises(adapters.ModelError, match="fan_in_fan_out"):
        adapters.load_adapter(load(directory), tmp_path / "theirs", trainable=True)


def test_bf16_computes_what_peft_computes_in_fp32(tmp_path):
    """The base in bf16: what the adapter adds is as right as the base is."""
    for name in ("lora", "dora", "pissa"):
        directory, ours, _ = both(tmp_path / name, "bias", SPECS[name])
        exact, place = logits(ours), saved(ours, tmp_path / name / "a")
        rough = load(directory).bfloat16()
        adapters.load_adapter(rough, place, trainable=True)
        base, rough_base = logits(load(directory)), logits(load(directory).bfloat16())
        error = (logits(rough).float() - exact).norm() / exact.norm()
        assert error < 2.5 * (rough_base.float() - base).norm() / base.norm()
        assert {p.dtype for p in adapters.trainable(rough).values()} == {torch.float32}


def test_a_head_beside_an_adapter_must_be_the_one_of_the_base(tmp_path):
    directory, _, theirs = both(tmp_path, "untied", SPECS["head"])
    theirs.base_model.model.lm_head.base_layer.weight.data.add_(1)
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.raises(adapters.ModelError, match=r"lm_head\.base_layer"):
        adapters.load_adapter(load(directory), tmp_path / "theirs", trainable=True)


def test_linear_layers_only(tmp_path):
    ours = load(directory_of(tmp_path, "bias"))
    with pytest.raises(adapters.ModelError, match="embed_tokens"):
        adapters.attach(ours, LoraSpec(4, 8, target=("embed_tokens",)), seed=0)
    assert not any(isinstance(m, nn.ParameterList) for m in ours.modules())
