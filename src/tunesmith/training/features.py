"""Features of a frozen vision tower: made before the first step, kept, read in place of it.

Each picture is computed alone, so that what is kept of it depends on nothing else: whoever makes
it, in whatever order, after whatever interruption, it is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tunesmith import store
from tunesmith.compute import towers
from tunesmith.compute.seen import through, weightless
from tunesmith.config.run import Run
from tunesmith.data.media.digests import digests
from tunesmith.data.media.families import kinds
from tunesmith.data.media.family import Family
from tunesmith.data.media.features import Entry, Features, digest_of, forget_unused, key
from tunesmith.data.media.recall import Recall, entry_of
from tunesmith.data.token_store import Examples
from tunesmith.errors import ConfigError
from tunesmith.models import adapters
from tunesmith.training import numerics
from tunesmith.training.feed import ahead
from tunesmith.training.material import Material
from tunesmith.training.plan import Plan
from tunesmith.training.report import Report
from tunesmith.training.units import Units
from tunesmith.types import Media

_KEY = "cache_vision_features"
_LOOKED_AT, _MEASURED = 8, 16
"""Pictures that sizes are told from: in a plan, and before the first step."""


class _Place(NamedTuple):
    """Where the data have a picture; its bytes may be many."""

    examples: Examples
    row: int
    number: int

    @property
    def medium(self) -> Media:
        return self.examples.media(self.row)[self.number]


def notes(run: Run, material: Material) -> Iterator[str]:
    """What a plan says of features that the run is to keep.

    Raises:
        ConfigError: they cannot be kept; at the place of the key.
    """
    if not run.media.cache_vision_features:
        return
    family, moving, names, sample = material.family, False, set[object](), []
    for _, medium in _media(material) if family else ():
        name = medium.source if isinstance(medium.source, str) else hash(medium.source)
        moving |= medium.kind != "image"
        if medium.kind == "image" and name not in names:
            names.add(name)
            sample += [medium] if len(sample) < _LOOKED_AT else []
    if family is None or not sample:
        yield f"{_KEY}: no row has a picture, so nothing is kept"
        return
    module = tower_of(run, family, material.skeleton)
    size = _measured(material.skeleton, module, family, sample)
    large = "how much, is told before the first step"
    if size is not None:
        sampled = material.data.sampled
        scale = sampled.of / sampled.rows if sampled else 1
        large = f"about {_size(round(size * len(names) * scale))}"
        large += " in all, judged by the sample" if sampled else ""
    yield (f"{_KEY}: what the vision tower makes of {_count(names)} is kept in {_root()}, {large}")
    if moving:
        yield f"{_KEY}: batches with videos go through the tower in every epoch"


def recall(
    run: Run,
    material: Material,
    model: Any,
    *,
    rows: Iterable[int] | None,
    report: Report,
    tell: Callable[[str], None],
) -> Recall | None:
    """The features of all pictures of a run, those that were missing made; `None`: none are kept.

    Args:
        run: what was asked.
        material: what was found.
        model: as it is trained.
        rows: training rows that the run comes to; `None`: all.
        report: what the user sees meanwhile.
        tell: a note about the run.

    Raises:
        ConfigError: they cannot be kept.
        RowError: a picture cannot be read.
        StoreError: the disk is full or fails; what was made so far is kept.
    """
    family = material.family
    if not run.media.cache_vision_features or family is None:
        return None
    module = tower_of(run, family, model)
    known, wanted = _wanted(_media(material, rows), report)
    if not wanted:
        return None
    tower = towers.install(model, module)
    context = material.precision.context

    def make(medium: Media, inputs: Mapping[str, Tensor] | None = None) -> Entry:
        inputs = family.inputs([medium]) if inputs is None else inputs
        with torch.no_grad(), context(model), tower.watching() as made:
            through(model, inputs)
        return entry_of(inputs, made)

    def again(medium: Media) -> Entry:
        tell("what was kept of some pictures is damaged: made again")
        return make(medium)

    features = Features(_root() / key(_said(material, family, model, module)))
    with suppress(OSError):
        os.utime(features.directory)  # it is of use today
    features.load()
    if any(picture not in features for picture in wanted):
        forget_unused(_root(), now=time.time())
        with features.making():
            missing = {p: place for p, place in wanted.items() if p not in features}
            _make(features, missing, family, make, have=len(wanted) - len(missing), report=report)
    else:
        report.say(f"vision features: {_count(wanted)} found in {features.directory}")
    return Recall(features, known, joined=family.joined, make=again)


def rows_of(units: Units, plan: Plan) -> Iterable[int] | None:
    """The training rows that a plan comes to; `None`: all of them."""
    if plan.steps >= plan.steps_per_epoch:
        return None
    return sorted({row for step in range(1, plan.steps + 1) for row in units.examples(step)})


def tower_of(run: Run, family: Family, model: Any) -> Any:
    """The module whose output is kept.

    Raises:
        ConfigError: there is none, or it learns.
    """
    where = run.where(_KEY)
    if not family.tower:
        able = sorted(name for name, kind in kinds().items() if kind.tower)
        raise ConfigError(
            where, got=f"a model of the family {family.config.model_type}",
            need=f"one whose tower makes something of each picture alone: {', '.join(able)}",
            hint=f"{_KEY}: false",
        )  # fmt: skip
    module = model.base_model.get_submodule(family.tower)
    learns = next((name for name, p in module.named_parameters() if p.requires_grad), None)
    if learns is not None:
        raise ConfigError(
            where, got=f"{family.tower}.{learns}, which learns",
            need=f"a vision tower ({family.tower}) that stays as it is: what it makes of a "
            "picture changes with it",
            hint=f"{_KEY}: false",
        )  # fmt: skip
    return module


def _make(
    features: Features,
    missing: Mapping[bytes, _Place],
    family: Family,
    make: Callable[..., Entry],
    *,
    have: int,
    report: Report,
) -> None:
    """Compute what is missing, told before it takes time and room."""
    step = max(1, len(missing) // _MEASURED)
    spread = [p for first in range(step) for p in islice(missing, first, None, step)]

    def read() -> Iterator[tuple[bytes, Media, dict[str, Tensor]]]:
        for picture in spread:
            medium = missing[picture].medium
            yield picture, medium, family.inputs([medium])

    def entries() -> Iterator[tuple[bytes, Entry]]:
        for done, (picture, medium, inputs) in enumerate(ahead(read()), start=1):
            yield picture, make(medium, inputs)
            report.work("vision features", done, len(spread))

    made = entries()
    first = list(islice(made, _MEASURED))
    size = sum(t.nbytes for _, entry in first for t in entry.values()) * len(spread) // len(first)
    store.require_space(features.directory, size)
    report.say(
        f"vision features: {_count(spread)} to compute, about {_size(size)}, kept in "
        f"{features.directory}{f', where {have:,} are' if have else ''}"
    )
    features.add(chain(first, made))


def _media(material: Material, rows: Iterable[int] | None = None) -> Iterator[tuple[_Place, Media]]:
    """Every medium of the training rows, then of those held out, and where it stands."""
    train, held_out = material.data.train, material.data.eval
    train = train.distinct() if rows is None else train
    for side, chosen in ((train, rows), (held_out, None)):
        for row in np.flatnonzero(side.num_media).tolist() if chosen is None else chosen:
            for number, medium in enumerate(side.media(row)):
                yield _Place(side, row, number), medium


def _wanted(
    media: Iterable[tuple[_Place, Media]], report: Report
) -> tuple[dict[str, bytes], dict[bytes, _Place]]:
    """Digest of every file, and where a picture of each digest stands."""
    paths: dict[str, _Place] = {}
    wanted: dict[bytes, _Place] = {}
    for place, medium in media:
        if medium.kind != "image":
            continue
        if isinstance(medium.source, bytes):
            wanted.setdefault(hashlib.sha256(medium.source).digest(), place)
        elif isinstance(medium.source, str):
            paths.setdefault(medium.source, place)
    known = digests(paths, progress=lambda done: report.work("pictures", done, len(paths)))
    for path, picture in known.items():
        wanted.setdefault(picture, paths[path])
    return known, wanted


def _said(material: Material, family: Family, model: Any, module: Any) -> dict[str, Any]:
    """Everything that decides what the tower makes of a picture, beside the picture."""
    device, precision = material.precision.device, material.precision
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    inside = f"{family.tower}."
    adapted = any(inside in f"{name}." for name in adapters.attached(model))
    return {
        "tower": [type(model).__name__, family.tower, family.joined],
        "weights": digest_of(chain(module.named_parameters(), module.named_buffers())),
        "adapters": material.adapter_fingerprint if adapted else "",
        "config": _of_pictures(model.config.to_dict()),
        "media": family.identity(),
        "precision": [
            precision.name,
            precision.instructions,
            type(precision.context(model)).__name__,
        ],
        "computed": [named, numerics.versions()],
    }


def _of_pictures(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what no tower looks at; dtypes are those of the weights."""
    return {
        name: _of_pictures(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _OF_TEXT
    }


_OF_TEXT = {
    "text_config", "architectures", "transformers_version", "_name_or_path", "name_or_path",
    "dtype", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings",
}  # fmt: skip
"""Keys that saving a tuned model may write otherwise."""


def _measured(model: Any, module: Any, family: Family, sample: Sequence[Media]) -> int | None:
    """Bytes that are kept of a picture, on average, without weights; `None`: not known so."""
    total = 0
    for medium in sample:
        inputs = family.inputs([medium])
        try:
            with torch.no_grad(), towers.watched(module) as made:
                through(model, {k: weightless(v) for k, v in inputs.items()})
        except (RuntimeError, NotImplementedError, ValueError):  # code that wants numbers
            return None
        total += sum(tensor.nbytes for tensor in entry_of(inputs, made).values())
    return total // len(sample)


def _root() -> Path:
    return store.cache_root() / "features"


def _count(pictures: Sized) -> str:
    return "1 picture" if len(pictures) == 1 else f"{len(pictures):,} pictures"


def _size(size: int) -> str:
    for unit, of in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= of:
            return f"{size / of:,.1f} {unit}"
    return f"{size / 1024:,.1f} KiB"
