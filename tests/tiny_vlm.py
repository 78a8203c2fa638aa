"""Random tiny models that see or hear: their own classes and processors, 2 layers, 64 wide.

`tiny_vlm(tmp_path, "llava")` is a plain transformers directory, processor included; two calls with
the same arguments give the same weights. Those of `MOVING` need torchvision.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_tokenizer import tiny_tokenizer

_TEXT: dict[str, Any] = {
    "vocab_size": 528,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
_CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}
_SIDE = {"height": 28, "width": 28}


def _tokenizer(directory: Path, **tokens: str) -> Any:
    """The tiny tokenizer with the named tokens of a family, as transformers loads it."""
    from transformers import PreTrainedTokenizerFast

    tiny_tokenizer(directory)
    path = directory / "tokenizer.json"
    said = json.loads(path.read_text(encoding="utf8"))
    first = max(one["id"] for one in said["added_tokens"]) + 1
    for number, token in enumerate(tokens.values(), start=first):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        said["added_tokens"].append({"id": number, "content": token, "special": True, **flags})
    path.write_text(json.dumps(said, ensure_ascii=False), encoding="utf8")
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf8")) | {"extra_special_tokens": dict(tokens)}
    path.write_text(json.dumps(config, ensure_ascii=False), encoding="utf8")
    return PreTrainedTokenizerFast.from_pretrained(str(directory))


def _llava(directory: Path) -> tuple[Any, Any]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _tokenizer(directory, image_token="<image>")
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=_SIDE)
    processor = LlavaProcessor(
        images, tokenizer, patch_size=7, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_CLIP),
        text_config=LlamaConfig(**_TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, processor


def _vipllava(directory: Path) -> tuple[Any, Any]:
    from transformers import VipLlavaConfig

    plain, processor = _llava(directory)
    config = VipLlavaConfig(
        vision_config=plain.vision_config,
        text_config=plain.text_config,
        image_token_index=plain.image_token_id,
        vision_feature_layers=[-2, 1, 2],
    )
    return config, processor


def _llava_next(directory: Path) -> tuple[Any, Any]:
    from transformers import CLIPVisionConfig, LlavaNextConfig, LlavaNextProcessor, MistralConfig
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    tokenizer = _tokenizer(directory, image_token="<image>")
    points = [[28, 56], [56, 28], [56, 56]]
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size=_SIDE, image_grid_pinpoints=points
    )
    processor = LlavaNextProcessor(
        images, tokenizer, patch_size=7, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**_CLIP),
        text_config=MistralConfig(**_TEXT, sliding_window=None),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=points,
    )
    return config, processor


def _pixtral(directory: Path) -> tuple[Any, Any]:
    from transformers import LlavaConfig, MistralConfig, PixtralProcessor, PixtralVisionConfig
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    tokenizer = _tokenizer(
        directory, image_token="[IMG]", image_break="[IMG_BREAK]", image_end="[IMG_END]"
    )
    images = PixtralImageProcessorPil(
        size={"longest_edge": 56}, patch_size={"height": 7, "width": 7}
    )
    processor = PixtralProcessor(images, tokenizer, patch_size=7)
    tower = {key: _CLIP[key] for key in _CLIP if key != "image_size"}
    config = LlavaConfig(
        vision_config=PixtralVisionConfig(**tower, image_size=56, head_dim=16),
        text_config=MistralConfig(**_TEXT, sliding_window=None),
        image_token_id=tokenizer.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return config, processor


def _mistral3(directory: Path) -> tuple[Any, Any]:
    from transformers import Mistral3Config

    plain, processor = _pixtral(directory)
    processor.spatial_merge_size = 2
    config = Mistral3Config(
        vision_config=plain.vision_config,
        text_config=plain.text_config,
        image_token_index=plain.image_token_id,
        spatial_merge_size=2,
    )
    return config, processor


def _gemma3(directory: Path) -> tuple[Any, Any]:
    from transformers import Gemma3Config, Gemma3Processor, Gemma3TextConfig, SiglipVisionConfig
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokenizer = _tokenizer(
        directory, boi_token="<start_of_image>", eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )  # fmt: skip
    images = Gemma3ImageProcessorPil(size=_SIDE)
    processor = Gemma3Processor(images, tokenizer, image_seq_length=4)
    text = Gemma3TextConfig(**_TEXT, head_dim=16, sliding_window=8)
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**_CLIP, vision_use_head=False),
        text_config=text,
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        tie_word_embeddings=False,
    )
    return config, processor


def _paligemma(directory: Path) -> tuple[Any, Any]:
    from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaProcessor, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = _tokenizer(directory, image_token="<image>", bos_token="<bos>")
    images = SiglipImageProcessorPil(size=_SIDE)
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tokenizer)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**_CLIP, vision_use_head=False),
        text_config=GemmaConfig(**_TEXT, head_dim=16),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=64,
        tie_word_embeddings=False,
    )
    return config, processor


def _mllama(directory: Path) -> tuple[Any, Any]:
    from transformers import MllamaConfig, MllamaProcessor
    from transformers.models.mllama.configuration_mllama import (
        MllamaTextConfig,
        MllamaVisionConfig,
    )
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer = _tokenizer(directory, image_token="<|image|>", bos_token="<bos>")
    images = MllamaImageProcessorPil(size=_SIDE, max_image_tiles=4)
    processor = MllamaProcessor(images, tokenizer)
    tower = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "attention_heads": 2,
        "num_global_layers": 1, "image_size": 28, "patch_size": 7, "max_num_tiles": 4,
        "vision_output_dim": 96, "intermediate_layers_indices": [0, 1],
        "supported_aspect_ratios": [
            [1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1],
        ],
    }  # fmt: skip
    text = {**_TEXT, "num_hidden_layers": 3, "cross_attention_layers": [1], "vocab_size": 520}
    text["bos_token_id"] = 1
    config = MllamaConfig(
        vision_config=MllamaVisionConfig(**tower),
        text_config=MllamaTextConfig(**text),
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    return config, processor


def _qwen2_audio(directory: Path) -> tuple[Any, Any]:
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioEncoderConfig,
        Qwen2AudioProcessor,
        Qwen2Config,
        WhisperFeatureExtractor,
    )

    tokenizer = _tokenizer(
        directory, audio_token="<|AUDIO|>", audio_bos_token="<|audio_bos|>",
        audio_eos_token="<|audio_eos|>",
    )  # fmt: skip
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=16), tokenizer)
    tower = Qwen2AudioEncoderConfig(
        num_mel_bins=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48,
        d_model=32, max_source_positions=1500,
    )  # fmt: skip
    config = Qwen2AudioConfig(
        audio_config=tower,
        text_config=Qwen2Config(**_TEXT),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    return config, processor


_PADS = {
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}


def _qwen(kind: str, directory: Path) -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _tokenizer(directory, **_PADS)
    ids = {f"{key}_id": tokenizer.convert_tokens_to_ids(token) for key, token in _PADS.items()}
    sizes = {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    heads = {"depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2}
    if kind == "qwen2_vl":
        images, videos = t.Qwen2VLImageProcessor(size=sizes), t.Qwen2VLVideoProcessor(size=sizes)
        processor = t.Qwen2VLProcessor(images, tokenizer, videos)
        tower = {**heads, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
        return t.Qwen2VLConfig(
            vision_config=tower, text_config={**_TEXT, "rope_parameters": rope}, **ids
        ), processor
    if kind == "qwen2_5_vl":
        images, videos = t.Qwen2VLImageProcessor(size=sizes), t.Qwen2VLVideoProcessor(size=sizes)
        processor = t.Qwen2_5_VLProcessor(images, tokenizer, videos)
        tower = {**heads, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48,
                 "window_size": 56, "fullatt_block_indexes": [1]}  # fmt: skip
        return t.Qwen2_5_VLConfig(
            vision_config=tower, text_config={**_TEXT, "rope_parameters": rope}, **ids
        ), processor
    sizes = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
    images = t.Qwen2VLImageProcessor(size=sizes, patch_size=16)
    videos = t.Qwen3VLVideoProcessor(size=sizes)
    processor = t.Qwen3VLProcessor(images, tokenizer, videos)
    tower = {**heads, "patch_size": 16, "hidden_size": 32, "out_hidden_size": 64,
             "intermediate_size": 48, "deepstack_visual_indexes": [0],
             "num_position_embeddings": 64}  # fmt: skip
    rope = {**rope, "mrope_interleaved": True}
    text = {**_TEXT, "head_dim": 16, "rope_parameters": rope}
    return t.Qwen3VLConfig(vision_config=tower, text_config=text, **ids), processor


def _internvl(directory: Path) -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _tokenizer(
        directory, start_image_token="<img>", end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    images = t.GotOcr2ImageProcessor(size=_SIDE, max_patches=4)
    processor = t.InternVLProcessor(
        images, tokenizer, t.InternVLVideoProcessor(size=_SIDE), image_seq_length=4
    )
    tower = {**_CLIP, "image_size": [28, 28], "patch_size": [7, 7]}
    config = t.InternVLConfig(
        vision_config=t.InternVLVisionConfig(**tower),
        text_config=t.Qwen2Config(**_TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return config, processor


def _smolvlm(directory: Path) -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _tokenizer(
        directory, image_token="<image>", fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>", end_of_utterance_token="<end_of_utterance>",
        video_token="<video>",
    )  # fmt: skip
    edge = {"longest_edge": 56}
    images = t.SmolVLMImageProcessor(size=edge, max_image_size={"longest_edge": 28})
    videos = t.SmolVLMVideoProcessor(size={"longest_edge": 28}, max_image_size={"longest_edge": 28})
    processor = t.SmolVLMProcessor(images, tokenizer, videos, image_seq_len=4)
    config = t.SmolVLMConfig(
        vision_config=t.SmolVLMVisionConfig(**_CLIP),
        text_config=t.LlamaConfig(**_TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return config, processor


def _idefics2(directory: Path) -> tuple[Any, Any]:
    import transformers as t
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    names = ("fake_token_around_image", "image", "end_of_utterance")
    tokenizer = _tokenizer(directory, **{name: f"<{name}>" for name in names})
    images = Idefics2ImageProcessorPil(size={"shortest_edge": 21, "longest_edge": 28})
    processor = t.Idefics2Processor(images, tokenizer, image_seq_len=3)
    resampler = {
        "hidden_size": 64, "resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
        "resampler_head_dim": 16, "num_key_value_heads": 1,
    }  # fmt: skip
    config = t.Idefics2Config(
        vision_config=_CLIP,
        text_config=t.LlamaConfig(**_TEXT),
        perceiver_config=resampler,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, processor


_MINICPM = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def _minicpm(kind: str, directory: Path, *, mode: str = "16x") -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _tokenizer(directory, **_MINICPM)
    number = tokenizer.convert_tokens_to_ids
    size = {"scale_resolution": 28, "patch_size": 7, "max_slice_nums": 4}
    images, videos = t.MiniCPMV4_6ImageProcessor(**size), t.MiniCPMV4_6VideoProcessor(**size)
    ids = {"image_token_id": number("<|image_pad|>"), "video_token_id": number("<|video_pad|>")}
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1], "mrope_interleaved": True}  # fmt: skip
    linear = {f"linear_{name}_dim": 8 for name in ("key_head", "value_head")}
    linear |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    layers = ["linear_attention", "full_attention"]
    text = t.Qwen3_5TextConfig(
        **_TEXT, **linear, layer_types=layers, head_dim=16, rope_parameters=rope
    )
    tower = {**_CLIP, "image_size": 56}
    if kind == "minicpmv4_6":
        processor = t.MiniCPMV4_6Processor(images, videos, tokenizer)
        return t.MiniCPMV4_6Config(
            vision_config=t.MiniCPMV4_6VisionConfig(**tower), text_config=text,
            insert_layer_id=0, downsample_mode=mode, **ids,
        ), processor  # fmt: skip
    marks = {
        f"{name}_id": number(_MINICPM[f"{name}_token"])
        for name in ("image_start", "image_end", "slice_start", "slice_end")
    }
    (newline,) = tokenizer.encode("\n", add_special_tokens=False)
    processor = t.MiniCPMV4_7Processor(images, videos, tokenizer)
    return t.MiniCPMV4_7Config(
        vision_config=t.MiniCPMV4_7VisionConfig(**tower), text_config=text,
        insert_layer_id=0, newline_id=newline, downsample_mode=mode, **marks, **ids,
    ), processor  # fmt: skip


def _video_llava(directory: Path) -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _tokenizer(directory, image_token="<image>", video_token="<video>")
    size = {"size": {"shortest_edge": 28}, "crop_size": _SIDE}
    processor = t.VideoLlavaProcessor(
        t.VideoLlavaImageProcessor(**size), t.VideoLlavaVideoProcessor(**size), tokenizer,
        patch_size=7,
    )  # fmt: skip
    config = t.VideoLlavaConfig(
        vision_config=t.CLIPVisionConfig(**_CLIP),
        text_config=t.LlamaConfig(**_TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )
    return config, processor


def _llava_next_video(directory: Path) -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _tokenizer(directory, image_token="<image>", video_token="<video>")
    points = [[28, 56], [56, 28], [56, 56]]
    size = {"size": {"shortest_edge": 28}, "crop_size": _SIDE}
    processor = t.LlavaNextVideoProcessor(
        t.LlavaNextVideoVideoProcessor(**size),
        t.LlavaNextImageProcessor(**size, image_grid_pinpoints=points), tokenizer,
        patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    config = t.LlavaNextVideoConfig(
        vision_config=t.CLIPVisionConfig(**_CLIP),
        text_config=t.LlamaConfig(**_TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=points,
    )
    return config, processor


STILL: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "llava": _llava,
    "vipllava": _vipllava,
    "llava_next": _llava_next,
    "gemma3": _gemma3,
    "paligemma": _paligemma,
    "mllama": _mllama,
    "qwen2_audio": _qwen2_audio,
    "idefics2": _idefics2,
}
"""Family -> config and processor; the tokenizer's files are written on the way."""
MOVING: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "pixtral": _pixtral,
    "mistral3": _mistral3,
    "qwen2_vl": lambda directory: _qwen("qwen2_vl", directory),
    "qwen2_5_vl": lambda directory: _qwen("qwen2_5_vl", directory),
    "qwen3_vl": lambda directory: _qwen("qwen3_vl", directory),
    "internvl": _internvl,
    "smolvlm": _smolvlm,
    "minicpmv4_6": lambda directory: _minicpm("minicpmv4_6", directory),
    "minicpmv4_7": lambda directory: _minicpm("minicpmv4_7", directory),
    "minicpmv4_6, 4x": lambda directory: _minicpm("minicpmv4_6", directory, mode="4x"),
    "video_llava": _video_llava,
    "llava_next_video": _llava_next_video,
}
"""Those whose processors need torchvision."""


def tiny_vlm(
    tmp_path: Path, kind: str = "llava", *, seed: int = 0, name: str | None = None
) -> Path:
    """Write a random model that sees or hears and return its directory.

    Args:
        tmp_path: parent; the directory is `tmp_path/<name or kind>`.
        kind: one of `STILL` or `MOVING`.
        seed: of the weights; the caller's random state is left alone.
        name: name of the directory.
    """
    import torch
    from transformers import AutoModelForMultimodalLM

    directory = tmp_path / (name or kind)
    config, processor = {**STILL, **MOVING}[kind](directory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForMultimodalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():  # the default spread leaves logits all but flat
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.08)
                else:
                    parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(directory)
    files = ("tokenizer.json", "tokenizer_config.json")
    kept = {file: (directory / file).read_bytes() for file in files}
    processor.save_pretrained(directory)
    for file, data in kept.items():  # transformers writes its own reading of them
        (directory / file).write_bytes(data)
    return directory


def picture(path: Path, size: tuple[int, int] = (40, 30), *, seed: int = 0) -> Path:
    """Write a picture of random blocks."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(drawn).resize(size, Image.Resampling.NEAREST).save(path)
    return path
