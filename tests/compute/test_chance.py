import pytest
import torch

from tiny_batch import batch_of, random_examples
from tiny_model import tiny_model
from tiny_vlm import tiny_vlm
from tunesmith.compute import chance
from tunesmith.errors import ModelError, TrainError


@pytest.fixture(autouse=True)
def _nobody_sought():
    chance._Now.draw = None
    yield
    chance._Now.draw = None


def masks(batch, *, seed=0, step=1, layer=3, features=400, dropout=0.3):
    chance.seek(seed=seed, step=step)
    with chance.tokens(batch):
        return chance.keep(chance.current(layer), features, dropout=dropout)


EXAMPLES = random_examples((30, 7, 50))


def test_the_share_that_is_dropped_is_the_one_asked_for():
    for dropout in (0.0, 0.05, 0.3, 0.9):
        kept = masks(batch_of(EXAMPLES), dropout=dropout).float()
        assert abs(kept.mean().item() - (1 - dropout)) < 0.01
        assert (kept.mean(0) - (1 - dropout)).abs().max() < 0.3  # no column stands out
        assert (kept.mean(1) - (1 - dropout)).abs().max() < 0.15  # no token either


def test_the_mask_of_a_row_does_not_depend_on_its_batch():
    whole = masks(batch_of(EXAMPLES, rows=(11, 12, 13)))
    alone = masks(batch_of(EXAMPLES[1:2], rows=(12,)))
    turned = masks(batch_of(EXAMPLES[::-1], rows=(13, 12, 11)))
    assert torch.equal(whole[30:37], alone)
    assert torch.equal(turned[50:57], alone)


def test_every_part_of_the_key_gives_another_mask():
    batch = batch_of(EXAMPLES, rows=(1, 2, 3))
    first = masks(batch)
    others = [
        masks(batch, seed=1),
        masks(batch, step=2),
        masks(batch, layer=4),
        masks(batch_of(EXAMPLES, rows=(4, 5, 6))),
    ]
    for other in others:
        agree = (first == other).float().mean().item()
        assert abs(agree - (0.7**2 + 0.3**2)) < 0.02  # as independent masks do


def test_neighbouring_tokens_and_features_are_independent():
    kept = masks(batch_of(EXAMPLES)).float() - 0.7
    for shifted in ((kept[1:] * kept[:-1]), (kept[:, 1:] * kept[:, :-1])):
        assert abs(shifted.mean().item()) < 0.01


def test_nobody_having_said_the_step_is_an_error():
    with pytest.raises(TrainError), chance.tokens(batch_of(EXAMPLES)):
        chance.current(1)


def test_a_recomputation_sees_the_draw_of_its_forward_pass():
    chance.seek(seed=0, step=1)
    with chance.tokens(batch_of(EXAMPLES)):
        forward, recompute = chance.recompute_contexts()
        with forward:
            first = chance.keep(chance.current(1), 5, dropout=0.5)
    with chance.tokens(batch_of(EXAMPLES[:1])):
        pass
    chance.seek(seed=0, step=2)
    with recompute:
        assert torch.equal(chance.keep(chance.current(1), 5, dropout=0.5), first)
    assert chance._Now.draw == chance.Draw(0, 2)


def test_numbers_are_the_same_on_every_machine():
    assert chance.number("lora_A", 42, "model.layers.0") == 1191742864
    assert masks(batch_of(EXAMPLES[:1]), dropout=0.5)[:2, :12].int().tolist() == [
        [0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0],
    ]


def test_as_many_layers_are_recomputed_as_was_said(tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        tiny_model(tmp_path, "llama", tokenizer=False), dtype=torch.float32
    )
    for count, flags in ((1, [True, False]), (0, [False, False]), (None, [True, True])):
        assert chance.enable_checkpointing(model, count) == sum(flags)
        assert [layer.gradient_checkpointing for layer in model.model.layers] == flags


@pytest.mark.parametrize("count", [0, 1, None])
def test_layers_of_a_tower_do_not_count_and_are_recomputed_with_any(tmp_path, count):
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_vlm(tmp_path), dtype=torch.float32)
    wanted = 2 if count is None else count
    assert chance.enable_checkpointing(model, count) == wanted
    flags = [layer.gradient_checkpointing for layer in model.model.language_model.layers]
    assert flags == [place < wanted for place in range(2)]
    tower = [layer for layer in model.modules() if type(layer).__name__ == "CLIPEncoderLayer"]
    assert [layer.gradient_checkpointing for layer in tower] == [count != 0] * 2


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("gpt2", "resid_pdrop"),
        ("gpt2", "embd_pdrop"),
        ("phi", "resid_pdrop"),
        ("llama", "attention_dropout"),
        ("opt", "dropout"),
        ("mixtral", "router_jitter_noise"),
    ],
)
def test_a_models_own_dropout_is_refused(kind, key):
    from transformers import AutoConfig, AutoModelForCausalLM

    none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout"), 0.0)
    for share in (0.0, 0.1):
        keys = {**none, "num_hidden_layers": 1, key: share}
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **keys))
        if not share:
            chance.refuse_other(model, "config.json")
            continue
        with pytest.raises(ModelError, match=r"config\.json") as caught:
            chance.refuse_other(model, "config.json")
        assert " of 0.1 in " in caught.value.got
        assert ("jitter" if "jitter" in key else "dropout") in caught.value.got


@pytest.mark.parametrize("again", [1, 2, 4])
def test_loss_and_gradients_are_the_same_bit_for_bit_however_many_layers_are_recomputed(
    tmp_path, again
):
    from tunesmith.models import adapters
    from tunesmith.models.load import load_model
    from tunesmith.stages import sft

    directory = tiny_model(tmp_path, "llama", tokenizer=False, num_hidden_layers=4)
    model = load_model(directory, dtype=torch.float32)
    adapters.attach(model, adapters.LoraSpec(4, 8, dropout=0.2), seed=0)
    model.train()
    found = []
    for count in (0, again):
        assert chance.enable_checkpointing(model, count) == count
        chance.seek(seed=3, step=1)
        loss = sft.loss_of()(model, batch_of(EXAMPLES)).total
        loss.backward()
        learned = adapters.trainable(model)
        found.append([loss.detach(), *(p.grad for p in learned.values())])
        for parameter in learned.values():
            parameter.grad = None
    assert len(found[0]) > 8
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
