"""Random tiny vision encoders with their image processors, as plain transformers directories."""

from pathlib import Path
from typing import Any

_SIDE = {"height": 28, "width": 28}
_COMMON: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 7,
}  # fmt: skip
TOWERS = ("clip", "clip_whole", "siglip", "dinov2", "dinov2_with_registers", "vit")


def tiny_tower(tmp_path: Path, kind: str = "clip") -> Path:
    """Write a tower and return its directory; `clip_whole` has CLIP's text model beside it."""
    import torch
    import transformers as t
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    directory = tmp_path / f"tower-{kind}"
    other = {key: value for key, value in _COMMON.items() if key != "intermediate_size"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "clip_whole":
            text = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48,
                    "num_hidden_layers": 1, "num_attention_heads": 2}  # fmt: skip
            config = t.CLIPConfig(text_config=text, vision_config=_COMMON, projection_dim=16)
            model: Any = t.CLIPModel(config)
        elif kind == "siglip":
            model = t.SiglipVisionModel(t.SiglipVisionConfig(**_COMMON))
        elif kind == "clip":
            model = t.CLIPVisionModel(t.CLIPVisionConfig(**_COMMON))
        elif kind == "vit":
            model = t.ViTModel(t.ViTConfig(**_COMMON))
        else:
            model = t.AutoModel.from_config(t.AutoConfig.for_model(kind, **other))
    model.save_pretrained(directory)
    CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=_SIDE).save_pretrained(directory)
    return directory
