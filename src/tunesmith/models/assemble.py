"""A vision-language model from any causal language model and a vision tower.

What comes out is a class of transformers (LLaVA, or Idefics 2 where a resampler is asked for), so
that whatever opens that opens it. These classes compute logits by a plain matrix; a language model
whose logits are anything else (soft-caps, scales, a bias) would say other things inside them, so
the written model must give the language model's own logits on text, or nothing is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tunesmith.errors import ModelError
from tunesmith.models import files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.classes import sees_or_hears
from tunesmith.models.frame import Frame, put
from tunesmith.models.load import explained, load_model, quiet, read_config, stored_dtype
from tunesmith.models.projector import keys_of, llava
from tunesmith.models.resampler import MARKS, fits, idefics2
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


class Words(NamedTuple):
    """A tokenizer that can say where a picture stands."""

    tokenizer: Tokenizer
    token: str
    how: str
    """Where its row comes from."""
    rows: int
    """That the embedding needs."""
    silent: tuple[int, ...]
    """Ids that no answer holds."""


class Making(NamedTuple):
    """What the run file says of the projector."""

    projector: str = "mlp2x_gelu"
    """`mm_projector_type`"""
    layer: int = -2
    """`mm_vision_select_layer`"""
    queries: int = 64
    """`num_queries`"""
    seed: int = 42
    """Of its weights."""


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


def image_token(tokenizer: Tokenizer, rows: int) -> Words:
    """The tokenizer with a token for pictures, found or made.

    Raises:
        ModelError: the token is there and is something else.
    """
    added = _added(tokenizer, IMAGE)
    spare = [text for text, token in added.items() if token.special and _SPARE.fullmatch(text)]
    if IMAGE in added:
        token, how = IMAGE, "the tokenizer has it"
    elif spare:
        token, how = spare[0], "a control token that the vocabulary keeps for later"
    else:
        found = extend(tokenizer, rows, special=(IMAGE,))
        how = "a spare row of the embedding" if found.rows == rows else "a new row of the embedding"
        return Words(found.tokenizer, IMAGE, how, found.rows, (found.new[0].id,))
    number = tokenizer.id_of(token)
    assert number is not None, "it is an added token"
    return Words(tokenizer, token, how, max(rows, number + 1), (number,))


def image_marks(tokenizer: Tokenizer, rows: int) -> Words:
    """The same for the class that has a resampler, whose processor wants three by their names.

    Raises:
        ModelError: one of them is there and is something else.
    """
    for token in MARKS:
        _added(tokenizer, token)
    found = extend(tokenizer, rows, special=MARKS)
    new, grown = [token.token for token in found.new], found.rows > rows
    how = f"{'new' if grown else 'spare'} rows of the embedding for {', '.join(new)}"
    ids = {*(token.id for token in found.new), *map(found.tokenizer.id_of, MARKS[:2])}
    silent = tuple(sorted(number for number in ids if number is not None))
    return Words(found.tokenizer, IMAGE, how if new else "the tokenizer has it", found.rows, silent)


def _added(tokenizer: Tokenizer, token: str) -> dict[str, Any]:
    """The tokens that the tokenizer knows beside its vocabulary.

    Raises:
        ModelError: the token is one of its words.
    """
    added = {t.content: t for t in tokenizer.backend.get_added_tokens_decoder().values()}
    if tokenizer.id_of(token) is not None and not (token in added and added[token].special):
        raise ModelError(
            f"{tokenizer.path}: {token}", got="a token of its words",
            need=f"no token {token}, or one that is special and stands for pictures",
        )  # fmt: skip
    return added


def join(
    llm: Path, tower: Tower, words: Words, making: Making, *, template: str, out: Path
) -> Assembled:
    """Write the model into a directory that the caller publishes, and prove it.

    Args:
        llm: directory of the language model.
        tower: of `open_tower`.
        words: of `image_token`, or for a resampler of `image_marks`.
        making: how.
        template: the chat template, Jinja.
        out: exists, is empty.

    Raises:
        ModelError: the parts cannot be had unchanged inside a class of transformers; with the
            reason.
    """
    number = words.tokenizer.id_of(words.token)
    assert number is not None, "it has just been found"
    refuse(llm)
    text = read_config(llm)
    if making.projector == "resampler":  # asked again below; weights need not be read to refuse
        fits(text, tower)
    else:
        keys_of(making.projector, tower.config.hidden_size, text.hidden_size)
    source: Any = load_model(llm, dtype=torch.float32, attention="eager")
    if words.rows > source.get_input_embeddings().weight.shape[0]:
        grow(source, -(-words.rows // _ROUND) * _ROUND)
    with quiet(), explained(llm, source.config), torch.random.fork_rng(devices=[]):
        torch.manual_seed(making.seed)
        if making.projector == "resampler":
            frame = idefics2(
                source.config, tower, making.queries, number=number, loud=_loudness(source)
            )
        else:
            frame = llava(
                source.config, tower, making.projector, layer=making.layer,
                token=words.token, number=number,
            )  # fmt: skip
    put(frame.language_model, source.base_model, llm)
    put(frame.vision_tower, tower.model, llm)
    with torch.no_grad():
        frame.model.lm_head.weight.copy_(source.get_output_embeddings().weight)
    frame.model.tie_weights()
    stored = stored_dtype(llm)
    _write(frame, words, out, template=template, dtype=stored)
    _generation(llm, out, words.silent)
    files.readable(out)
    alone = source.to(stored).float(), tower.model.to(stored).float()
    difference = _prove(out, frame, alone, tower)
    sizes = {
        "language_model": _size(source),
        "vision_tower": _size(frame.vision_tower),
        "projector": _size(frame.projector),
    }
    return Assembled(
        out, sizes, frame.tokens, frame.strategy, words.token, number, words.how, difference
    )


def _write(frame: Frame, words: Words, out: Path, *, template: str, dtype: torch.dtype) -> None:
    """Everything that stock transformers opens."""
    from transformers import PreTrainedTokenizerFast

    with quiet():
        frame.model.eval().to(dtype).save_pretrained(out)
    tokenizers.save(words.tokenizer, out, chat_template=template)
    processor = frame.processor(PreTrainedTokenizerFast.from_pretrained(str(out)))
    kept = {path: path.read_bytes() for path in out.iterdir() if "token" in path.name}
    with quiet():
        processor.save_pretrained(out)
    for path, data in kept.items():  # transformers writes its own reading of them
        path.write_bytes(data)
    (out / "chat_template.jinja").write_text(template, encoding="utf8")


def refuse(llm: Path) -> None:
    """Refuse a language model that cannot be part of LLaVA, by what its config says.

    Raises:
        ModelError: it sees already.
    """
    if sees_or_hears(read_config(llm)):
        raise ModelError(str(llm), got="a model that sees", need="a language model to assemble")


@torch.no_grad()
def _prove(out: Path, frame: Frame, alone: tuple[Any, Any], tower: Tower) -> float:
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
    number = made.config.image_token_id
    size = min(source.get_input_embeddings().weight.shape[0], 50_000)
    ids = torch.tensor([[(7 * i * i + 13 * i + 3) % size for i in range(48)]])
    ids[ids == number] = 3
    ours, theirs = made(input_ids=ids).logits, source(input_ids=ids).logits
    difference = float((ours - theirs[..., : ours.shape[-1]]).abs().max())
    scale = float(theirs.abs().max())
    if not difference <= _NEAR:
        raise ModelError(
            str(source.config.model_type),
            got=f"logits on text that differ by {difference:.3g} inside {frame.name}, "
            f"of {scale:.3g}",
            need=f"a language model whose logits are hidden states times a matrix: {_why(source)}",
        )
    pictures = tower.pictures()
    seen = frame.wanted(made, eyes, pictures).flatten(0, 1)
    found = torch.cat(tuple(made.get_image_features(frame.given(pictures)).pooler_output))
    if not float((found - seen).abs().max()) <= _NEAR * float(seen.abs().max()):
        raise ModelError(
            str(tower.config.model_type), got=f"a tower that sees otherwise inside {frame.name}",
            need="a vision encoder that transformers can build from its config alone",
        )  # fmt: skip
    places = torch.full((1, frame.tokens), number)
    both = torch.cat((ids[:, :4], places, ids[:, 4:8]), 1)
    made(input_ids=both, pixel_values=frame.given(pictures[:1]))
    return difference


@torch.no_grad()
def _loudness(source: Any) -> float:
    """Root mean square of the numbers of a word, as the first layer gets them."""
    words = source.get_input_embeddings()
    return float(words(torch.arange(min(len(words.weight), 4096))).square().mean().sqrt())


def _why(source: Any) -> str:
    """What shapes the logits of a language model."""
    config, head = source.config, source.get_output_embeddings()
    keys = ("final_logit_softcapping", "logits_scaling", "logit_scale", "lm_head_multiplier")
    found = [f"{key} {getattr(config, key)}" for key in keys if getattr(config, key, None)]
    found += ["a head with a bias"] if getattr(head, "bias", None) is not None else []
    return ", ".join(found) or "this one's are something else"


def _generation(llm: Path, out: Path, silent: Sequence[int]) -> None:
    """How answers are drawn, as from the language model; tokens of pictures never come."""
    path = llm / "generation_config.json"
    said = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    said["suppress_tokens"] = sorted({*(said.get("suppress_tokens") or ()), *silent})
    (out / path.name).write_text(json.dumps(said, indent=2, sort_keys=True), encoding="utf8")


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
