"""Two sentences as a padded batch, so that the pad token is seen at work.

Training here pads nothing; this is what a library that batches texts hands to the model.
"""

from __future__ import annotations

from typing import NamedTuple

from tunesmith.models import files
from tunesmith.types import Tokenizer

SENTENCES = ("The sun rises.", "In the evening it sets again.")
"""A batch of two, one shorter than the other."""


class Padded(NamedTuple):
    """Two sentences as one batch, as a library that pads would hand it to a model."""

    pad: str
    ids: tuple[tuple[int, ...], ...]
    tokens: tuple[tuple[str, ...], ...]
    mask: tuple[tuple[int, ...], ...]
    """1 where the model looks, 0 on padding."""

    def lines(self) -> list[str]:
        """For people: each sentence with ids, tokens and mask under one another."""
        out = [f"two sentences as one batch, padded with {self.pad}"]
        for sentence, *rows in zip(SENTENCES, self.ids, self.tokens, self.mask, strict=True):
            columns = list(zip(*rows, strict=True))
            width = [max(len(str(cell)) for cell in column) for column in columns]
            out.append(f"  {sentence}")
            for name, row in zip(("ids", "tokens", "mask"), rows, strict=True):
                cells = (f"{cell!s:>{w}}" for cell, w in zip(row, width, strict=True))
                out.append(f"    {name:<7} {' '.join(cells)}")
        return out


def filler(tokenizer: Tokenizer) -> str | None:
    """What pads: pad, else unk, else eos, as far as there are tokens of these names.

    Whoever pads with eos takes care not to take it out of what is learned; unk is in nobody's way.
    """
    named = (tokenizer.pad, tokenizer.unk, tokenizer.eos)
    return next((token for token in named if tokenizer.id_of(token) is not None), None)


def padded(tokenizer: Tokenizer) -> Padded | None:
    """`SENTENCES` as a padded batch, the shorter one filled with `filler`; `None`: with nothing."""
    pad = filler(tokenizer)
    pad_id = tokenizer.id_of(pad)
    if pad is None or pad_id is None:
        return None
    side = files.read_json_if_there(tokenizer.path / "tokenizer_config.json").get("padding_side")
    encoded = [encoding.ids for encoding in tokenizer.backend.encode_batch(list(SENTENCES))]
    length = max(map(len, encoded))
    ids, mask = [], []
    for row in encoded:
        fill = length - len(row)
        left, right = (fill, 0) if side == "left" else (0, fill)
        ids.append((pad_id,) * left + tuple(row) + (pad_id,) * right)
        mask.append((0,) * left + (1,) * len(row) + (0,) * right)
    tokens = [tuple(str(tokenizer.backend.id_to_token(i)) for i in row) for row in ids]
    return Padded(pad, tuple(ids), tuple(tokens), tuple(mask))
