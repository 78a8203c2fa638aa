"""Random tiny vision encoders with their image processors, as plain transformers directories."""

from pathlib import Path
from typing import Any

_SIDE = {"height": 28, "width": 28}
_COMMON: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 7,
}  # fmt: skip
_TEXT: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2,
}  # fmt: skip
_FEW = {key: value for key, value in _COMMON.items() if key != "intermediate_size"}
_PAIRS = {**_COMMON, "image_size": [28, 28], "patch_size": [7, 7]}
_SEES = ("internvl", "smolvlm")
_MAPS = {"depths": [1, 1], "num_stages": 2, "hidden_sizes": [8, 16]}
TOWERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "clip": ("clip_vision_model", _COMMON, 1),
    "clip_whole": ("clip", {"vision_config": _COMMON, "text_config": _TEXT}, 1),
    "chinese_clip_vision_model": ("chinese_clip_vision_model", _COMMON, 1),
    "siglip": ("siglip_vision_model", _COMMON, 0),
    "siglip_whole": (
        "siglip", {"vision_config": _COMMON, "text_config": {**_TEXT, "projection_size": 32}}, 0,
    ),
    "dinov2": ("dinov2", _FEW, 1),
    "dinov2_with_registers": ("dinov2_with_registers", _FEW, 5),
    "dinov3_vit": ("dinov3_vit", {**_COMMON, "num_register_tokens": 4}, 5),
    "vit": ("vit", _COMMON, 1),
    "vit_msn": ("vit_msn", _COMMON, 1),
    "deit": ("deit", _COMMON, 2),
    "beit": ("beit", {**_COMMON, "use_relative_position_bias": True}, 1),
    "data2vec-vision": ("data2vec-vision", _COMMON, 1),
    "ijepa": ("ijepa", _COMMON, 0),
    "aimv2_vision_model": ("aimv2_vision_model", _COMMON, 0),
    "aimv2_whole": ("aimv2", {"vision_config": _COMMON, "text_config": _TEXT}, 0),
    "internvl_vision": ("internvl_vision", _PAIRS, 1),
    "internvl_whole": ("internvl", {
        "vision_config": _PAIRS, "image_token_id": 9,
        "text_config": {"model_type": "qwen2", "num_key_value_heads": 2, **_TEXT},
    }, 1),
    "mlcd_vision_model": ("mlcd_vision_model", _COMMON, 1),
    "idefics3_vision": ("idefics3_vision", _COMMON, 0),
    "smolvlm_whole": ("smolvlm", {
        "vision_config": _COMMON, "image_token_id": 9,
        "text_config": {"model_type": "llama", "pad_token_id": 0, **_TEXT},
    }, 0),
}  # fmt: skip
"""Towers that LLaVA can look through: `model_type`, keys of its config, positions beside those of
patches. `..._whole` is a model that has one."""
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "siglip2_vision_model": ("siglip2_vision_model", {
        **{key: _COMMON[key] for key in _COMMON if key != "image_size"}, "num_patches": 16,
    }),
    "pixtral": ("pixtral", _COMMON),
    "vit_mae": ("vit_mae", _COMMON),
    "swin": ("swin", {"image_size": 28, "patch_size": 7, "embed_dim": 8, "depths": [1, 1],
                      "num_heads": [1, 2], "window_size": 2}),
    "convnext": ("convnext", _MAPS),
    "resnet": ("resnet", {"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8}),
    "vitdet": ("vitdet", _FEW),
    "sam_vision_model": ("sam_vision_model", {
        **_FEW, "output_channels": 16, "num_pos_feats": 8, "mlp_dim": 48,
    }),
    "hiera": ("hiera", {
        "image_size": [28, 28], "patch_size": [7, 7], "patch_stride": [4, 4], "embed_dim": 16,
        "patch_padding": [3, 3], "depths": [1] * 4, "num_heads": [1] * 4, "query_stride": [1, 1],
        "masked_unit_size": [1, 1],
    }),
    "videomae": ("videomae", _COMMON),
    "metaclip_2": ("metaclip_2", {"vision_config": _COMMON, "text_config": _TEXT}),
    "blip": ("blip", {"vision_config": _COMMON, "text_config": _TEXT}),
    "qwen2_vl": ("qwen2_vl", {
        "vision_config": {"embed_dim": 32, "hidden_size": 32, "depth": 2, "num_heads": 2},
        "text_config": {"num_key_value_heads": 2, **_TEXT},
    }),
}  # fmt: skip
"""Vision encoders that it cannot look through."""


def tiny_tower(tmp_path: Path, kind: str = "clip", *, crop: bool = True, **keys: Any) -> Path:
    """Write a tower and return its directory.

    Args:
        tmp_path: the directory is `tmp_path/tower-<kind>`.
        kind: of `TOWERS` or `OTHERS`.
        crop: whether its image processor makes pictures of one size, 28 x 28: SigLIP's brings
            them to it, the others' cuts them.
        keys: of its config, over those of the tables.
    """
    import torch
    import transformers as t
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    directory = tmp_path / f"tower-{kind}"
    model_type, said = TOWERS[kind][:2] if kind in TOWERS else OTHERS[kind]
    config = t.AutoConfig.for_model(model_type, **{**said, **keys})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        auto = t.AutoModelForImageTextToText if model_type in _SEES else t.AutoModel
        auto.from_config(config).save_pretrained(directory)
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=_SIDE, do_center_crop=crop)
    whole = SiglipImageProcessorPil(size=_SIDE)
    (whole if "siglip" in kind and crop else images).save_pretrained(directory)
    return directory
