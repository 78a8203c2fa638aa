"""Pictures of a batch as what the tower has made of each, in place of their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tunesmith.data.media.features import Entry, Features
from tunesmith.types import Media

_INPUT, _MADE = "input:", "made:"


def entry_of(inputs: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> Entry:
    """What is kept of one picture.

    Args:
        inputs: of the model, for this picture alone. Of its pixels only their number of rows
            stays, since models count them.
        made: by the tower.
    """
    found = {
        f"{_INPUT}{name}": _emptied(tensor) if name.startswith("pixel_values") else tensor
        for name, tensor in inputs.items()
    }
    return found | {f"{_MADE}{name}": tensor for name, tensor in made.items()}


class Recalled(NamedTuple):
    """A batch of pictures."""

    inputs: dict[str, Tensor]
    """What the model takes beside ids; its pixels are empty."""
    made: dict[str, Tensor]
    """By the tower; see `compute.towers`."""


class Recall:
    """Finds the features of pictures.

    Args:
        features: of all pictures of the run.
        known: digest of each file, by its path.
        joined: along which dimension pictures follow one another in what the tower makes.
        make: of one picture, for what turns out to be damaged.

    Attributes:
        damaged: how many had to be made again while the run went on.
    """

    def __init__(
        self,
        features: Features,
        known: Mapping[str, bytes],
        *,
        joined: int,
        make: Callable[[Media], Entry],
    ) -> None:
        self._features, self._known, self._joined, self._make = features, known, joined, make
        self._again: dict[bytes, Entry] = {}

    @property
    def damaged(self) -> int:
        """How many pictures were made again since what is kept of them is damaged."""
        return len(self._again)

    def __call__(self, media: Sequence[Media]) -> Recalled | None:
        """What is kept of the media of a batch; `None`: not all are pictures that are kept."""
        found = []
        for medium in media:
            picture = self._digest(medium)
            if picture is None or picture not in self._features:
                return None
            found.append(self._entry(medium, picture))
        inputs = {
            name.removeprefix(_INPUT): _together([one[name] for one in found], 0)
            for name in found[0]
            if name.startswith(_INPUT)
        }
        made = {
            name.removeprefix(_MADE): torch.cat([one[name] for one in found], self._joined)
            for name in found[0]
            if name.startswith(_MADE)
        }
        return Recalled(inputs, made)

    def _entry(self, medium: Media, picture: bytes) -> Entry:
        if picture in self._again:
            return self._again[picture]
        entry = self._features.read(picture)
        if entry is None:
            entry = self._again[picture] = self._make(medium)
        return entry

    def _digest(self, medium: Media) -> bytes | None:
        source = medium.source
        if medium.kind != "image" or isinstance(source, tuple):
            return None
        if isinstance(source, bytes):
            return hashlib.sha256(source).digest()
        return self._known.get(source)


def _emptied(pixels: Tensor) -> Tensor:
    """As many rows without anything in them; (1, tiles, ...) keeps its tiles."""
    kept = 2 if pixels.dim() == 5 else 1
    return pixels.new_empty((*pixels.shape[:kept], *[0] * (pixels.dim() - kept)), device="cpu")


def _together(parts: Sequence[Tensor], along: int) -> Tensor:
    """One after another; what is empty becomes as large as the largest."""
    if parts[0].numel() or parts[0].dim() == 0:
        return torch.cat(list(parts), along)
    shapes = list(zip(*(part.shape for part in parts), strict=True))
    return parts[0].new_empty((sum(shapes[0]), *(max(sizes) for sizes in shapes[1:])))
