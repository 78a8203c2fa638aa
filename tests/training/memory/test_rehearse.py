"""What the rehearsal counts is what the code saves."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tiny_model import KINDS, tiny_model
from tunesmith.compute import attention, chance
from tunesmith.compute.fused import blocks
from tunesmith.models import adapters, facts, freeze, load
from tunesmith.stages import sft
from tunesmith.training.memory import rehearse
from tunesmith.training.memory.rehearse import Setting, optimizer_bytes

TOKENS = 96
LORA = adapters.LoraSpec(4, 8, target=("q_proj", "v_proj", "down_proj"))


def settled(model, **changes):
    return Setting(
        **{
            "model": model, "dtype": torch.float32, "device": "cpu",
            "context": lambda model: nullcontext(), "loss_of": sft.loss_of(),
            "trained_share": 0.5, "longest": 48, **changes,
        }
    )  # fmt: skip


def skeleton(directory, change):
    config = load.read_config(directory)
    model = facts.empty_model(directory, config)
    model.config._attn_implementation = attention.register()
    change(model)
    return model


def lora(model):
    names = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    target = tuple(sorted(names - {"lm_head"}))
    if target:
        adapters.attach(model, LORA._replace(target=target), seed=0)
    else:
        freeze.full(model)


def really_saved(directory, change, dtype=torch.float32):
    """Bytes that one real forward pass holds for its backward pass, each storage once."""
    model = load.load_model(directory, dtype=dtype)
    change(model)
    blocks.fuse(model)
    model.train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if tensor.numel() and storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage  # held, so that no other gets its place
        return tensor

    chance.seek(seed=0, step=1)
    attention.isolation(model)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        sft.loss_of()(model, rehearse._batch(settled(model), TOKENS))
    return sum(storage.nbytes() for storage in seen.values())


@pytest.mark.parametrize(
    ("kind", "change", "dtype"),
    [
        *((kind, lora, torch.float32) for kind in KINDS),
        ("qwen3", freeze.full, torch.float32),
        ("llama", lora, torch.bfloat16),
    ],
)
def test_what_is_left_behind_is_what_a_real_pass_saves(tmp_path, kind, change, dtype):
    directory = tiny_model(tmp_path, kind, tokenizer=False)
    setting = settled(skeleton(directory, change), dtype=dtype)
    profile = rehearse.rehearse(setting, tokens=TOKENS)
    found = profile.at(TOKENS)
    counted = found.below + sum(cost.kept for cost in found.plain) + found.head_kept
    assert counted == pytest.approx(really_saved(directory, change, dtype), rel=0.04)


def test_layers_of_one_kind_are_measured_once_and_stand_for_all(tmp_path):
    directory = tiny_model(tmp_path, "llama", tokenizer=False, num_hidden_layers=6)
    model = skeleton(directory, lora)
    found = rehearse.rehearse(settled(model), tokens=TOKENS).at(TOKENS)
    assert len(found.plain) == len(found.again) == 6
    assert len(set(found.plain)) == 2  # the input of the first has no gradient
    assert len(model.model.layers) == 6
    assert next(model.parameters()).device.type == "meta"


def test_below_the_lowest_adapter_nothing_is_saved(tmp_path):
    directory = tiny_model(tmp_path, "llama", tokenizer=False, num_hidden_layers=6)
    upper = r"model\.layers\.[345]\..*proj"
    half = skeleton(directory, lambda m: adapters.attach(m, LORA._replace(target=upper), seed=0))
    found = rehearse.rehearse(settled(half), tokens=TOKENS).at(TOKENS)
    hidden = TOKENS * 64 * 4
    assert sum(cost.kept for cost in found.plain[:3]) <= hidden
    assert all(cost.backward == 0 for cost in found.plain[:3])
    assert min(cost.kept for cost in found.plain[3:]) > 5 * hidden
    with_half = really_saved(
        directory, lambda m: adapters.attach(m, LORA._replace(target=upper), seed=0)
    )
    counted = found.below + sum(cost.kept for cost in found.plain) + found.head_kept
    assert counted == pytest.approx(with_half, rel=0.06)


def test_below_something_that_learns_among_the_embeddings_frozen_layers_are_held(tmp_path):
    """As a pass saves where a projector's pictures stand among the embeddings."""
    directory = tiny_model(tmp_path, "llama", tokenizer=False, num_hidden_layers=4)

    def frozen(model):
        model.requires_grad_(False)
        model.get_input_embeddings().register_forward_hook(lambda _m, _a, x: x.requires_grad_())

    idle = rehearse.rehearse(
        settled(skeleton(directory, lambda m: m.requires_grad_(False))), tokens=TOKENS
    ).at(TOKENS)
    assert all(cost.backward == 0 for cost in idle.plain)
    setting = settled(skeleton(directory, lambda m: m.requires_grad_(False)), fed=True)
    found = rehearse.rehearse(setting, tokens=TOKENS).at(TOKENS)
    assert all(cost.backward > 0 for cost in found.plain)
    counted = found.below + sum(cost.kept for cost in found.plain) + found.head_kept
    assert counted == pytest.approx(really_saved(directory, frozen), rel=0.04)


def test_a_layer_that_is_computed_again_leaves_its_input(tmp_path):
    directory = tiny_model(tmp_path, "llama", tokenizer=False, num_hidden_layers=4)
    found = rehearse.rehearse(settled(skeleton(directory, lora)), tokens=TOKENS).at(TOKENS)
    hidden = TOKENS * 64 * 4
    for plain, again in zip(found.plain, found.again, strict=True):
        assert hidden <= again.kept < 1.1 * hidden
        assert again.backward > plain.kept  # the whole layer is there for a moment


def test_bytes_grow_with_the_tokens(tmp_path):
    directory = tiny_model(tmp_path, "llama", tokenizer=False)
    profile = rehearse.rehearse(settled(skeleton(directory, lora)), tokens=128)
    small, large = (sum(cost.kept for cost in profile.at(n).plain) for n in (64, 640))
    assert large == pytest.approx(10 * small, rel=0.01)


@pytest.mark.parametrize(
    ("build", "words"),
    [(torch.optim.AdamW, 2), (torch.optim.SGD, 0), (torch.optim.RMSprop, 1)],
)
def test_an_optimizer_keeps_what_it_keeps(build, words):
    kept, _ = optimizer_bytes(lambda p: build(list(p.values())), [("a", (64, 32)), ("b", (100,))])
    assert kept - words * (64 * 32 + 100) * 4 in (0, 8)  # and two counters of steps


@pytest.mark.parametrize(
    ("kind", "target", "past"),
    [
        ("mamba", "all", ["dt_proj"]),
        ("llama", "all", []),
        ("llama", ("q_proj", "lm_head"), []),  # a head that is the embedding, too
        ("qwen3_moe", ("q_proj", "o_proj"), []),
    ],
)
def test_weights_that_a_model_takes_past_their_adapters_are_known_without_weights(
    tmp_path, kind, target, past
):
    spec = LORA._replace(target=target)
    directory = tiny_model(tmp_path, kind, tokenizer=False, num_hidden_layers=4)
    model = skeleton(directory, lambda model: adapters.attach(model, spec, seed=0))
    learned = {n: p.requires_grad for n, p in model.named_parameters()}
    assert rehearse.taken_past(model) == past
    assert {n: p.requires_grad for n, p in model.named_parameters()} == learned
    assert len(model.get_decoder().layers) == 4
