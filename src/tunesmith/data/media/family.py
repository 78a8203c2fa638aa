"""What a kind of model makes of media: text in their places, and tensors beside the ids.

Both come from transformers' own processor, which stays the judge: what stands in the place of a
medium is read off what the processor writes for a blank one of the same size, and remembered by
size, so that a file's header is all that preparing a row needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tokenizers
from torch import Tensor

from tunesmith.data.ledger import RowError
from tunesmith.data.media import moving, pictures
from tunesmith.errors import ConfigError
from tunesmith.types import Batch, Media, Span

_OF_TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels")
_NAMES = {"image": "images", "video": "videos", "audio": "audio"}


class Limits(NamedTuple):
    """What the run says of media; the keys of the same names."""

    image_max_pixels: int = 768 * 768
    image_min_pixels: int = 32 * 32
    image_do_pan_and_scan: bool = False
    crop_to_patches: bool = False
    video_max_pixels: int = 256 * 256
    video_min_pixels: int = 16 * 16
    video_fps: float = 2.0
    video_maxlen: int = 128
    audio_sampling_rate: int = 16_000


class Header(NamedTuple):
    """What a medium is, as far as its size goes."""

    kind: str
    width: int = 0
    height: int = 0
    frames: int = 0
    """Of the whole video."""
    fps: float = 0.0
    samples: int = 0
    """Of a sound, at the rate that the model takes."""


class Slot(NamedTuple):
    """How a placeholder is written for the processor."""

    token: str
    """What the processor replaces."""
    before: str = ""
    """What the model's own chat template writes around it."""
    after: str = ""


class Family:
    """Models that take media in one way.

    A subclass says which models those are and how its placeholders are written; the rest is the
    same for most.

    Args:
        processor: transformers' processor of the model.
        config: of the model.
        backend: the checked tokenizer.
        limits: what the run says of media.

    Attributes:
        types: `model_type` of the configs that it is for.
        alone: the tokens of a picture see one another, so documents are computed one by one.
        in_place: a medium is read where it is said; else before everything.
        tower: path of the module, below the model's body, that makes of pictures what can be
            kept of each; empty: of none.
        joined: dimension along which pictures follow one another in what it makes.
    """

    types: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False
    in_place: ClassVar[bool] = True
    tower: ClassVar[str] = ""
    joined: ClassVar[int] = 0

    def __init__(
        self, processor: Any, config: Any, backend: tokenizers.Tokenizer, limits: Limits
    ) -> None:
        self.processor, self.config, self.backend, self.limits = processor, config, backend, limits
        self._texts: dict[Header, str] = {}
        self._sizes: dict[str, Header] = {}
        self.complete()

    def complete(self) -> None:
        """What old processor files leave to the config."""

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """The kinds of media that the model takes, and how each placeholder is written."""
        return {"image": Slot(self.processor.image_token)}

    def options(self, kind: str) -> dict[str, Any]:
        """Arguments of the processor for a kind of media that the run decides."""
        return {}

    def look(self, medium: Media) -> Header:
        """What a medium is, from its header.

        Raises:
            RowError: a kind that the model does not take, or a file that cannot be used.
        """
        if medium.kind not in self.slots:
            raise RowError.of(
                f"{medium.kind} for a model that takes none", f"{medium.kind}s",
                got=pictures.named(medium.source),
                need=f"media that {self.config.model_type} takes: {', '.join(self.slots)}",
            )  # fmt: skip
        source = medium.source
        if isinstance(source, str) and source in self._sizes:
            return self._sizes[source]
        found = self.header(medium)
        if isinstance(source, str):
            self._sizes[source] = found
        return found

    def header(self, medium: Media) -> Header:
        """What `look` finds out about a medium of a kind that the model takes."""
        source = medium.source
        if isinstance(source, tuple):
            sizes = {pictures.size_of(one) for one in source}
            if len(sizes) > 1:
                raise RowError.of(
                    "frames of several sizes", pictures.named(source[0]),
                    got=", ".join(f"{w} x {h}" for w, h in sorted(sizes)),
                    need="frames of one size",
                )  # fmt: skip
            size = self._of_frame(*sizes.pop())
            return Header("video", *size, len(source), self.limits.video_fps)
        if medium.kind == "video":
            film = moving.film_of(source)
            return Header("video", *self._of_frame(film.width, film.height), film.frames, film.fps)
        if medium.kind == "audio":
            return Header("audio", samples=moving.samples_of(source, self.rate))
        return Header("image", *self._bounded(*pictures.size_of(source)))

    def open(self, medium: Media) -> Any:
        """The medium as the processor takes it.

        Raises:
            RowError: it cannot be read.
        """
        header, source = self.look(medium), medium.source
        size = header.width, header.height
        if isinstance(source, tuple):
            every = self.numbers(header)
            return np.stack([np.asarray(_sized(pictures.read(source[i]), size)) for i in every])
        if medium.kind == "video":
            return moving.frames_of(source, self.numbers(header), size)
        if medium.kind == "audio":
            return moving.sound_of(source, self.rate, header.samples)
        picture = pictures.read(source)
        return _sized(picture, self._bounded(*picture.size))

    def blank(self, header: Header) -> Any:
        """A medium of the same size without anything in it, as the processor takes it."""
        from PIL import Image

        size = header.width, header.height
        if header.kind == "video":
            return np.zeros((len(self.numbers(header)), *size[::-1], 3), np.uint8)
        if header.kind == "audio":
            return np.zeros(header.samples, np.float32)
        return Image.new("RGB", size)

    def numbers(self, header: Header) -> np.ndarray:
        """Which frames of a video the model gets, (F,) int64."""
        limits = self.limits
        return moving.chosen(
            header.frames, header.fps, wanted_fps=limits.video_fps, most=limits.video_maxlen
        )

    @cached_property
    def rate(self) -> int:
        """Samples of a second of sound that the model takes.

        Raises:
            ConfigError: the run asks for another one.
        """
        heard = getattr(self.processor, "feature_extractor", None)
        own, asked = getattr(heard, "sampling_rate", None), self.limits.audio_sampling_rate
        if own not in (None, asked):
            raise ConfigError(
                "audio_sampling_rate",
                got=asked,
                need=f"{own}, the rate that the model was made for",
            )
        return asked

    def words(self, medium: Media) -> str:
        """The text in the place of a medium: its tokens, and what belongs around them.

        Raises:
            RowError: see `look`.
        """
        header = self.look(medium)
        if header not in self._texts:
            slot = self.slots[header.kind]
            text = self.expanded(header, self.blank(header))
            self._texts[header] = f"{slot.before}{text}{slot.after}"
        return self._texts[header]

    def expanded(self, header: Header, medium: Any) -> str:
        """What the processor writes in place of the token of one medium."""
        made = self.process(self.slots[header.kind].token, {header.kind: [medium]}, [header])
        return "".join(self._text(number) for number in made["input_ids"][0].tolist())

    def process(self, text: str, media: Mapping[str, list[Any]], headers: Sequence[Header]) -> Any:
        """Call the processor.

        Args:
            text: with a token for each medium.
            media: by kind.
            headers: of the media, in the order of the text.
        """
        given = {_NAMES[kind]: found for kind, found in media.items()}
        options = {k: v for kind in media for k, v in self.options(kind).items()}
        films = [header for header in headers if header.kind == "video"]
        if films:
            options |= {"do_sample_frames": False, "video_metadata": [*map(self._told, films)]}
        return self.processor(
            text=[text], add_special_tokens=False, return_tensors="pt", **given, **options
        )

    def _told(self, header: Header) -> dict[str, Any]:
        """What a processor wants to know of a video whose frames have been chosen."""
        return {
            "total_num_frames": header.frames,
            "fps": header.fps,
            "duration": header.frames / header.fps,
            "frames_indices": self.numbers(header).tolist(),
            "width": header.width,
            "height": header.height,
        }

    def inputs(self, media: Sequence[Media]) -> dict[str, Tensor]:
        """What the model takes of media beside the ids, of one batch in the order of their places.

        Raises:
            RowError: one of them cannot be read any more.
        """
        opened: dict[str, list[Any]] = {}
        for medium in media:
            opened.setdefault(medium.kind, []).append(self.open(medium))
        text = "".join(self.slots[medium.kind].token for medium in media)
        headers = [self.look(medium) for medium in media]
        made = self.process(text, opened, headers)
        return {k: v for k, v in made.items() if k not in _OF_TEXT and isinstance(v, Tensor)}

    def beside(self, batch: Batch) -> dict[str, Tensor]:
        """What the model takes of the ids themselves, beside them."""
        return {}

    def later(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model takes again for tokens that follow in later passes."""
        return {}

    def arranged(self, spans: list[Span]) -> list[Span]:
        """The spans of a conversation in the order in which the model reads them."""
        return spans

    def positions(self, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Positions of the tokens of a batch, (3, T) int64; `None`: they count up.

        Args:
            batch: with media.
            inputs: of its media.
        """
        return None

    @cached_property
    def token_ids(self) -> frozenset[int]:
        """Ids of tokens that stand for media and nothing else; they are never learned."""
        found = {getattr(self.processor, f"{kind}_token_id", None) for kind in self.slots}
        found |= {self.backend.token_to_id(slot.token) for slot in self.slots.values()}
        found |= set(getattr(self.processor, "image_token_ids", ()) or ())
        return frozenset(number for number in found if number is not None)

    def control_text(self) -> str:
        """Everything that may stand in the place of a medium."""
        slots = self.slots.values()
        return " ".join(
            [*(f"{slot.before} {slot.token} {slot.after}" for slot in slots)]
            + [self.backend.id_to_token(number) or "" for number in self.token_ids]
        )

    def identity(self) -> str:
        """Everything that decides what is made of media; equal ones make the same."""
        said = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        parts = (type(self).__name__, said, repr(self.limits))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _bounded(self, width: int, height: int) -> tuple[int, int]:
        limits = self.limits
        return pictures.bounded(
            width, height, least=limits.image_min_pixels, most=limits.image_max_pixels
        )

    def _of_frame(self, width: int, height: int) -> tuple[int, int]:
        limits = self.limits
        return pictures.bounded(
            width, height, least=limits.video_min_pixels, most=limits.video_max_pixels
        )

    def _text(self, number: int) -> str:
        """A token as text: an added one as it is written."""
        added = self._added.get(number)
        return added if added is not None else self.backend.decode([number])

    @cached_property
    def _added(self) -> dict[int, str]:
        return {i: t.content for i, t in self.backend.get_added_tokens_decoder().items()}


def _sized(picture: Any, size: tuple[int, int]) -> Any:
    return picture if picture.size == size else picture.resize(size)
