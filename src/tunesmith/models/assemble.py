"""A vision-language model from any causal language model and a vision tower.

What comes out is `LlavaForConditionalGeneration`, a class of transformers, so that whatever opens
LLaVA opens it. LLaVA computes logits by a plain matrix; a language model whose logits are anything
else (soft-caps, scales, a bias) would say other things inside it, so the written model must give
the language model's own logits on text, or nothing is written.

Shape letters: N pictures, L positions of the tower, W width.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tunesmith.errors import ModelError
from tunesmith.models import files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.classes import sees_or_hears
from tunesmith.models.load import explained, load_model, quiet, read_config, stored_dtype
from tunesmith.models.projector import begin, keys_of
from tunesmith.models.tower import Tower
from tunesmith.models.vocabulary import extend, grow
from tunesmith.types import Tokenizer

IMAGE = "<image>"
_SPARE = re.compile(
    r"<\|(vision_pad|image_pad|reserved_special_token_\d+|extra_\d+|fim_pad)\|>"
    r"|<(unused|reserved_)\d+>|<SPECIAL_\d+>|\[control_\d+\]"
)
"""Control tokens that vocabularies keep for later."""
_NEAR = 1e-5
_ROUND = 64
"""Rows of an embedding that grows are a multiple of it, as kernels like them."""


class Assembled(NamedTuple):
    """What was put together."""

    directory: Path
    parameters: dict[str, int]
    """Of each part."""
    patches: int
    """Tokens of a picture."""
    strategy: str
    image_token: str
    image_token_id: int
    how: str
    """Where the token's row comes from."""
    difference: float
    """Largest difference of a logit on text, in fp32, to the language model alone."""


def image_token(tokenizer: Tokenizer, rows: int) -> tuple[Tokenizer, str, str]:
    """The tokenizer with a token for pictures, that token, and where its row comes from.

    Raises:
        ModelError: the token is there and is something else.
    """
    added = {t.content: t for t in tokenizer.backend.get_added_tokens_decoder().values()}
    if tokenizer.id_of(IMAGE) is not None:
        if IMAGE not in added or not added[IMAGE].special:
            raise ModelError(
                f"{tokenizer.path}: {IMAGE}", got="a token of its words",
                need=f"no token {IMAGE}, or one that is special and stands for pictures",
            )  # fmt: skip
        return tokenizer, IMAGE, "the tokenizer has it"
    spare = [text for text, token in added.items() if token.special and _SPARE.fullmatch(text)]
    if spare:
        return tokenizer, spare[0], "a control token that the vocabulary keeps for later"
    found = extend(tokenizer, rows, special=(IMAGE,))
    how = "a spare row of the embedding" if found.rows == rows else "a new row of the embedding"
    return found.tokenizer, IMAGE, how


def join(
    llm: Path,
    tower: Tower,
    words: tuple[Tokenizer, str, str],
    *,
    projector: str,
    layer: int,
    seed: int,
    template: str,
    out: Path,
) -> Assembled:
    """Write the model into a directory that the caller publishes, and prove it.

    Args:
        llm: directory of the language model.
        tower: of `open_tower`.
        words: of `image_token`.
        projector: `mm_projector_type`.
        layer: of the tower.
        seed: of the projector's weights.
        template: the chat template, Jinja.
        out: exists, is empty.

    Raises:
        ModelError: the language model cannot be had unchanged inside LLaVA; with the reason.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer, token, how = words
    number = tokenizer.id_of(token)
    assert number is not None, "it has just been found"
    refuse(llm)
    source: Any = load_model(llm, dtype=torch.float32, attention="eager")
    rows = source.get_input_embeddings().weight.shape[0]
    if number >= rows:
        grow(source, -(-(number + 1) // _ROUND) * _ROUND)
    text = source.config
    config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=text.to_dict(),
        image_token_id=number,
        **keys_of(projector, tower.config.hidden_size, text.hidden_size),
        vision_feature_layer=layer,
        vision_feature_select_strategy=tower.strategy,
        image_seq_length=tower.tokens,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    with quiet(), explained(llm, config), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlavaForConditionalGeneration(config).eval()
    begin(model.model.multi_modal_projector, projector)
    _put(model.model.language_model, source.base_model, llm)
    _put(model.model.vision_tower, tower.model, llm)
    with torch.no_grad():
        model.lm_head.weight.copy_(source.get_output_embeddings().weight)
    model.tie_weights()
    stored = stored_dtype(llm)
    sizes = {
        "language_model": _size(source),
        "vision_tower": _size(tower.model),
        "projector": _size(model.model.multi_modal_projector),
    }
    with quiet():
        model.to(stored).save_pretrained(out)
    tokenizers.save(tokenizer, out, chat_template=template)
    processor = LlavaProcessor(
        tower.images, _stock(out), patch_size=tower.patch, image_token=token,
        vision_feature_select_strategy=tower.strategy, num_additional_image_tokens=tower.extra,
    )  # fmt: skip
    kept = {path: path.read_bytes() for path in out.iterdir() if "token" in path.name}
    with quiet():
        processor.save_pretrained(out)
    for path, data in kept.items():  # transformers writes its own reading of them
        path.write_bytes(data)
    (out / "chat_template.jinja").write_text(template, encoding="utf8")
    _generation(llm, out, number)
    files.readable(out)
    alone = source.to(stored).float(), tower.model.to(stored).float()
    difference = _prove(out, alone, tower, number)
    return Assembled(out, sizes, tower.tokens, tower.strategy, token, number, how, difference)


def refuse(llm: Path) -> None:
    """Refuse a language model that cannot be part of LLaVA, by what its config says.

    Raises:
        ModelError: it sees already.
    """
    if sees_or_hears(read_config(llm)):
        raise ModelError(str(llm), got="a model that sees", need="a language model to assemble")


@torch.no_grad()
def _prove(out: Path, alone: tuple[Any, Any], tower: Tower, number: int) -> float:
    """Open what was written, and hold it against the language model and the tower alone.

    Raises:
        ModelError: other logits on text, or pictures that the tower sees otherwise.
    """
    from transformers import AutoModelForImageTextToText

    source, eyes = alone
    with quiet():
        made = AutoModelForImageTextToText.from_pretrained(
            str(out), dtype=torch.float32, attn_implementation="eager"
        ).eval()
    size = min(source.get_input_embeddings().weight.shape[0], 50_000)
    ids = torch.tensor([[(7 * i * i + 13 * i + 3) % size for i in range(48)]])
    ids[ids == number] = 3
    ours, theirs = made(input_ids=ids).logits, source(input_ids=ids).logits
    difference = float((ours - theirs[..., : ours.shape[-1]]).abs().max())
    scale = float(theirs.abs().max())
    if not difference <= _NEAR:
        raise ModelError(
            str(source.config.model_type),
            got=f"logits on text that differ by {difference:.3g} inside LLaVA, of {scale:.3g}",
            need=f"a language model whose logits are hidden states times a matrix: {_why(source)}",
        )
    pictures = tower.pictures()
    seen = eyes(pictures, output_hidden_states=True).hidden_states[made.config.vision_feature_layer]
    seen = made.model.multi_modal_projector(seen[:, 1 if tower.strategy == "default" else 0 :])
    found = torch.stack(tuple(made.get_image_features(pictures).pooler_output))
    if not float((found - seen).abs().max()) <= _NEAR * float(seen.abs().max()):
        raise ModelError(
            str(tower.config.model_type), got="a tower that sees otherwise inside LLaVA",
            need="a vision encoder that transformers can build from its config alone",
        )  # fmt: skip
    places = torch.full((1, tower.tokens), number)
    both = torch.cat((ids[:, :4], places, ids[:, 4:8]), 1)
    made(input_ids=both, pixel_values=pictures[:1])
    return difference


def _why(source: Any) -> str:
    """What shapes the logits of a language model."""
    config, head = source.config, source.get_output_embeddings()
    keys = ("final_logit_softcapping", "logits_scaling", "logit_scale", "lm_head_multiplier")
    found = [f"{key} {getattr(config, key)}" for key in keys if getattr(config, key, None)]
    found += ["a head with a bias"] if getattr(head, "bias", None) is not None else []
    return ", ".join(found) or "this one's are something else"


def _put(there: nn.Module, source: nn.Module, llm: Path) -> None:
    """Copy weights from one part to its twin.

    Raises:
        ModelError: they are built otherwise.
    """
    missing, left = there.load_state_dict(source.state_dict(), strict=False)
    wrong = sorted(name for name in (*missing, *left) if "pooler" not in name)
    if wrong:
        raise ModelError(
            str(llm), got=f"{type(source).__name__}, whose weights fit no part: {wrong[0]}",
            need="a model that transformers can build from its config alone",
        )  # fmt: skip


def _stock(directory: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(directory))


def _generation(llm: Path, out: Path, number: int) -> None:
    """How answers are drawn, as from the language model; a picture's token never comes."""
    path = llm / "generation_config.json"
    said = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    said["suppress_tokens"] = sorted({*(said.get("suppress_tokens") or ()), number})
    (out / path.name).write_text(json.dumps(said, indent=2, sort_keys=True), encoding="utf8")


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
