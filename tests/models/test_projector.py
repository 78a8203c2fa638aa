"""Projectors inside LLaVA: each computes what its name says, to the last bit where it is exact."""

import pytest
import torch
from torch import nn

from tiny_assembled import made
from tiny_model import tiny_model
from tiny_tower import tiny_tower
from tunesmith.errors import ModelError
from tunesmith.models.projector import PROJECTORS, begin, keys_of


@pytest.fixture
def assembled(tmp_path):
    """Assemble with a projector, open it as stock transformers does: it, and what its tower sees.

    The language model is as wide as the tower.
    """

    def opened(projector):
        from transformers import AutoModelForImageTextToText

        llm = tiny_model(tmp_path, hidden_size=32)
        found = made(tmp_path, llm, tiny_tower(tmp_path), projector=projector)
        assert found.difference <= 1e-5
        model = AutoModelForImageTextToText.from_pretrained(found.directory)
        pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
        states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        projected = torch.stack(tuple(model.get_image_features(pixels).pooler_output))
        return model.model.multi_modal_projector, states[-2][:, 1:], projected

    return opened


def test_mlp2x_gelu_is_two_layers_with_a_gelu_between(assembled):
    parts, states, projected = assembled("mlp2x_gelu")
    torch.testing.assert_close(
        projected, parts.linear_2(nn.functional.gelu(parts.linear_1(states))), atol=0, rtol=0
    )
    assert not torch.equal(parts.linear_2.weight, torch.eye(32))


@pytest.mark.parametrize("name", ["linear", "mlp1x_gelu"])
def test_linear_is_one_matrix_and_learns_as_one(assembled, name):
    parts, states, projected = assembled(name)
    alone = nn.Linear(32, 32)
    alone.load_state_dict(parts.linear_1.state_dict())
    torch.testing.assert_close(projected, alone(states), atol=0, rtol=0)
    wanted = torch.randn(projected.shape, generator=torch.Generator().manual_seed(1))
    for found in (projected, alone(states)):
        ((found - wanted) ** 2).sum().backward(retain_graph=True)
    for here, there in ((parts.linear_1.weight, alone.weight), (parts.linear_1.bias, alone.bias)):
        torch.testing.assert_close(here.grad, there.grad)


def test_identity_changes_nothing(assembled):
    parts, states, projected = assembled("identity")
    torch.testing.assert_close(projected, states, atol=0, rtol=0)
    assert [name for name, _ in parts.named_parameters()] == ["linear_1.weight", "linear_2.weight"]


def test_identity_needs_two_of_one_width():
    with pytest.raises(ModelError, match="from 32 numbers at a position to 64") as caught:
        keys_of("identity", 32, 64)
    assert caught.value.hint.startswith("linear")
    assert keys_of("identity", 64, 64)["multimodal_projector_bias"] is False


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_matrix_that_changes_nothing_rounds_nothing(dtype):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear_1, self.linear_2 = nn.Linear(48, 96), nn.Linear(96, 96)

    module = Two().to(dtype)
    first = module.linear_1.weight.clone()
    begin(module, "linear")
    states = (torch.randn(5, 96) * 1e3).to(dtype)
    assert torch.equal(module.linear_2(states), states)
    assert torch.equal(module.linear_1.weight, first)


def test_the_names_are_those_of_the_run_file():
    from tunesmith.config.assemble import Assemble
    from tunesmith.config.rule import choices_of

    field = Assemble.model_fields["mm_projector_type"]
    assert {*choices_of(field.annotation)} == {*PROJECTORS, "resampler"}


def test_a_q_former_of_transformers_computes_no_text_without_a_picture():
    """Why `qformer` is refused; once this fails, it may be offered."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, LlamaConfig

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = Blip2Config(
        vision_config={**small, "image_size": 28, "patch_size": 14},
        qformer_config={**small, "vocab_size": 9, "cross_attention_frequency": 1},
        text_config=LlamaConfig(**small, vocab_size=50),
        image_token_index=49, num_query_tokens=2,
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config).eval()
    ids = torch.tensor([[49, 49, 3, 4]])
    assert model(pixel_values=torch.zeros(1, 3, 28, 28), input_ids=ids).logits.shape == (1, 4, 50)
    with pytest.raises(ValueError, match="pixel_values"):
        model(pixel_values=None, input_ids=ids[:, 2:])
