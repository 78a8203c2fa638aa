"""Vision encoders of every kind: each is looked through as it sees alone, or refused by name."""

import pytest
import torch

from tiny_assembled import made
from tiny_model import tiny_model
from tiny_tower import OTHERS, TOWERS, tiny_tower
from tiny_vlm import tiny_vlm
from tunesmith.errors import ModelError
from tunesmith.models.tower import open_tower


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """The language model of every pair here."""
    return tiny_model(tmp_path_factory.mktemp("llm"))


def _alone(directory, pixels):
    """Hidden states of the last layer but one, as transformers gives them by itself."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
    model = getattr(model, "vision_model", getattr(model, "vision_tower", model))
    return model(pixels, output_hidden_states=True).hidden_states[-2]


@pytest.mark.parametrize("kind", TOWERS)
def test_what_is_assembled_sees_what_the_tower_sees_and_learns(tmp_path, llm, kind):
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    tower = tiny_tower(tmp_path, kind)
    found = made(tmp_path, llm, tower)
    extra = TOWERS[kind][2]
    assert found.strategy == ("default" if extra == 1 else "full")
    assert found.patches == 16 + (0 if extra == 1 else extra)
    assert found.difference <= 1e-5
    processor = AutoProcessor.from_pretrained(found.directory)
    pictures = [Image.effect_noise(shape, 90).convert("RGB") for shape in ((40, 30), (30, 50))]
    given = processor(text=["<image>a", "<image>b"], images=pictures, return_tensors="pt")
    assert (given["input_ids"] == found.image_token_id).sum(1).tolist() == [found.patches] * 2
    model = AutoModelForImageTextToText.from_pretrained(
        found.directory, attn_implementation="eager"
    ).train()
    with torch.no_grad():
        want = _alone(tower, given["pixel_values"])[:, 1 if extra == 1 else 0 :]
        want = model.model.multi_modal_projector(want)
        seen = torch.stack(tuple(model.get_image_features(given["pixel_values"]).pooler_output))
    torch.testing.assert_close(seen, want, atol=1e-5, rtol=1e-5)
    before = model(**given, labels=given["input_ids"]).loss
    learned = tuple(model.model.multi_modal_projector.parameters())
    slopes = torch.autograd.grad(before, learned)
    length = torch.stack([slope.norm() for slope in slopes]).norm()
    with torch.no_grad():
        for parameter, slope in zip(learned, slopes, strict=True):
            parameter -= 1e-3 / length * slope
    assert model(**given, labels=given["input_ids"]).loss < before


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("siglip2_vision_model", "takes pixel_attention_mask, spatial_shapes beside the pictures"),
        ("pixtral", r"pixtral, whose hidden states are \(1, 32, 32\) for two pictures"),
        ("vit_mae", r"vit_mae, whose hidden states are \(2, 5, 32\) for two pictures"),
        ("swin", "swin, which keeps no position for each patch: 16 x 8, then 4 x 16"),
        ("convnext", "convnext, which keeps no position for each patch: 8 x 7 x 7"),
        ("resnet", "resnet, which has no grid of patches"),
        ("vitdet", "vitdet, which keeps no position for each patch: 32 x 4 x 4"),
        ("videomae", "videomae, which cannot take the pictures of its image processor, 28 x 28"),
        ("sam_vision_model", "sam_vision_model, which keeps no position for each patch"),
        ("hiera", "hiera, which keeps no position for each patch: 49 x 16, then 49 x 32"),
        ("metaclip_2", "metaclip_2_vision_model, which transformers builds inside its own model"),
        ("blip", "blip_vision_model, which transformers builds inside its own model"),
        ("qwen2_vl", "qwen2_vl_vision, which transformers builds inside its own model"),
    ],
)
def test_what_llava_cannot_look_through_is_refused_by_name(tmp_path, kind, said):
    assert kind in OTHERS
    with pytest.raises(ModelError, match=said) as caught:
        open_tower(tiny_tower(tmp_path, kind), layer=-2)
    assert "one position for each patch" in caught.value.need


def test_what_takes_no_pictures_is_refused(tmp_path):
    with pytest.raises(ModelError, match="llama, which does not take pictures"):
        open_tower(tiny_model(tmp_path), layer=-2)


def test_a_tower_that_draws_is_refused(tmp_path):
    with pytest.raises(ModelError, match="draws random numbers while it looks"):
        open_tower(tiny_tower(tmp_path, "vit_mae", mask_ratio=0.0), layer=-2)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("beit", {"drop_path_rate": 0.5, "hidden_dropout_prob": 0.5}),
        ("dinov3_vit", {"pos_embed_rescale": 2.0, "pos_embed_jitter": 1.5}),
    ],
)
def test_in_training_a_tower_sees_what_it_sees_elsewhere(tmp_path, kind, keys):
    tower = open_tower(tiny_tower(tmp_path, kind, **keys), layer=-2)
    there, here = (tower.model.train(mode)(tower.pictures()) for mode in (True, False))
    torch.testing.assert_close(there.last_hidden_state, here.last_hidden_state, atol=0, rtol=0)


def test_a_layer_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="one of the 3 hidden states"):
        open_tower(tiny_tower(tmp_path), layer=-4)


def test_pictures_of_several_sizes_are_refused(tmp_path):
    with pytest.raises(ModelError, match="pictures of several sizes: 42 x 28 and 28 x 84"):
        open_tower(tiny_tower(tmp_path, crop=False), layer=-2)


def test_the_size_is_what_the_image_processor_makes(tmp_path):
    """DINOv2 learned on pictures of 518 and is given 224; CLIP takes those of one size alone."""
    tower = open_tower(tiny_tower(tmp_path, "dinov2", image_size=56), layer=-2)
    assert (tower.side, tower.tokens) == ((28, 28), 16)
    with pytest.raises(ModelError, match="cannot take the pictures of its image processor"):
        open_tower(tiny_tower(tmp_path, "clip", image_size=56), layer=-2)


def test_weights_that_are_not_there_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    directory = tiny_tower(tmp_path)
    tensors = load_file(directory / "model.safetensors")
    lost = sorted(name for name in tensors if "layers.1.mlp.fc1" in name)
    kept = {name: tensor for name, tensor in tensors.items() if name not in lost}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not there: .*layers\.1\.mlp\.fc1"):
        open_tower(directory, layer=-2)


def test_the_tower_of_a_model_that_sees_can_be_taken_out(tmp_path):
    from transformers import AutoModelForImageTextToText

    directory = tiny_vlm(tmp_path)
    tower = open_tower(directory, layer=-2)
    whole = AutoModelForImageTextToText.from_pretrained(directory)
    alone = dict(tower.model.named_parameters())
    theirs = dict(whole.model.vision_tower.named_parameters())
    assert alone.keys() == theirs.keys()
    assert all(torch.equal(alone[name], theirs[name]) for name in alone)
