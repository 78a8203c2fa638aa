"""Whether the load of experts is kept even: as asked, as the config says, or refused."""

import pytest
import torch

from tiny_model import tiny_model
from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.models import freeze
from tunesmith.models.load import load_model
from tunesmith.training import balancing

MIXED = {"num_local_experts": 4, "num_experts_per_tok": 2}


def asked(folder, kind, *, only=(), model=None, **keys):
    """What a run says about a model of a kind, and the model with what learns in it."""
    path = tiny_run(
        folder, kind=kind, model=model or {}, finetuning_type="full", lora_rank=None, **keys
    )
    found = load_model(folder / "model", dtype=torch.float32)
    freeze.full(found, only=only)
    return load(path), found


@pytest.mark.parametrize(
    ("given", "own", "want"),
    [(None, {}, 0.0), (None, {"output_router_logits": True, "router_aux_loss_coef": 0.03}, 0.03),
     (0.2, {"output_router_logits": True}, 0.2), (0, {"output_router_logits": True}, 0)],
)  # fmt: skip
def test_what_is_asked_counts_else_what_transformers_would_do(tmp_path, given, own, want):
    run, model = asked(tmp_path, "mixtral", model=MIXED | own, moe_aux_loss_coef=given)
    assert balancing.coefficient(run, model) == want


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("llama", {}),
        (
            "lfm2_moe",
            {"num_experts": 4, "moe_intermediate_size": 16, "num_dense_layers": 0,
             "layer_types": ["full_attention", "conv"]},
        ),
    ],
)  # fmt: skip
def test_a_model_without_such_routers_is_refused(tmp_path, kind, model):
    run, found = asked(tmp_path, kind, model=model, moe_aux_loss_coef=0.01)
    with pytest.raises(ConfigError, match="moe_aux_loss_coef") as caught:
        balancing.coefficient(run, found)
    assert caught.value.got == f"0.01, and {kind}"
    run, found = asked(tmp_path, kind, model=model, moe_aux_loss_coef=0)
    assert balancing.coefficient(run, found) == 0
    assert not any("kept even with" in note for note in balancing.notes(run, found))


def test_the_reader_of_a_plan_is_told(tmp_path):
    run, model = asked(tmp_path, "mixtral", model=MIXED)
    (note,) = balancing.notes(run, model)
    assert note.startswith("the routers of 2 layers learn, and nothing keeps the load")
    run, model = asked(tmp_path, "mixtral", moe_aux_loss_coef=0.02)
    assert balancing.notes(run, model) == [
        "the load of the experts is kept even with moe_aux_loss_coef 0.02"
    ]
    run, model = asked(tmp_path, "mixtral", moe_aux_loss_coef=0.02, only=("self_attn",))
    assert balancing.notes(run, model)[0].endswith("they stay as they are")
    run, model = asked(tmp_path, "mixtral", only=("self_attn",))
    assert balancing.notes(run, model) == []
    dense = tmp_path / "other"
    dense.mkdir()
    tiny_model(dense, name="model")
    run, model = asked(dense, "llama")
    assert balancing.notes(run, model) == []
