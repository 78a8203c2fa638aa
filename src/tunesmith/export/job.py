"""What an export knows before it begins, and what each format is: the nouns of this room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith import store
from tunesmith.export.gate import Bound
from tunesmith.export.proof import Loading, Probe, Proof
from tunesmith.export.reader import Kind
from tunesmith.export.said import Questions, Said
from tunesmith.models.adapter_spec import CONFIG
from tunesmith.models.card import CardFacts, card, contents
from tunesmith.types import Tokenizer

_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
OF_DTYPE = {
    torch.float32: Bound("float32", 2e-5, 1e-8),
    torch.float16: Bound("float16", 0.01, 1e-3),
    torch.bfloat16: Bound("bfloat16", 0.05, 0.01),
}
"""What rounding the weights to a type explains."""


class Serving(NamedTuple):
    """What must stand beside the weights so that what was trained is what is served."""

    tokenizer: Tokenizer
    chat_template: str | None = None
    """Jinja of the template that training used; `None`: the tokenizer's own."""
    stop_words: tuple[str, ...] = ()
    """Of the template, the usual one first; those that are tokens become stop ids."""
    modelfile: str | None = None
    """For Ollama; `None`: there is none."""
    without_modelfile: str = ""
    """What Go's templates cannot express of what was trained; why there is none."""

    @property
    def stops(self) -> tuple[str, ...]:
        """Tokens that end an answer, the template's first."""
        tokenizer = self.tokenizer
        every = (*self.stop_words, tokenizer.eos, *tokenizer.stops)
        return tuple(dict.fromkeys(w for w in every if w and tokenizer.id_of(w) is not None))

    @property
    def template(self) -> str | None:
        """Text of the chat template that is written."""
        return self.tokenizer.chat_template if self.chat_template is None else self.chat_template


class Job(NamedTuple):
    """What is exported."""

    model_dir: Path
    """The base, or a whole tuned model."""
    adapter_dirs: tuple[Path, ...]
    config: Mapping[str, Any]
    """Of the base, all defaults filled in."""
    serving: Serving
    stored: torch.dtype
    """Of dense weights."""
    loading: Loading
    max_shard_gb: float
    about: CardFacts
    probes: tuple[Probe, ...] = ()
    texts: tuple[str, ...] = ()
    """Rows of the run, on which ids are compared."""


class Written(NamedTuple):
    """What a format has written."""

    path: Path
    """What a reader opens."""
    weights: str
    """Type of the weights, in words."""
    notes: tuple[str, ...] = ()


class Format(NamedTuple):
    """One kind of export."""

    name: str
    check: Callable[[Job], Sequence[str]]
    """Refuses what it cannot express, before anything is loaded; notes."""
    write: Callable[[Job, Any, Path], Written]
    """Fills a directory from the merged model in memory."""
    bound: Callable[[Job], Bound]
    """How far what is written may be from what was tuned."""
    bytes_of: Callable[[Job, int], int]
    """Of a file system, for so many weights."""
    opens: Kind = "transformers"
    rounds: bool = False
    """Whether few bits are what was asked for, so that what they cost is told, not refused."""
    asks: Callable[[Job, Questions, Said], tuple[Questions, Said]] = lambda job, *both: both
    """What is meant to be otherwise behind this door."""


def write_beside(
    job: Job,
    place: Path,
    written: str,
    *,
    proof: Proof,
    file: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Licences and the card of an export.

    Args:
        job: what is exported.
        place: its directory.
        written: type of the weights.
        proof: how it was compared.
        file: name of the GGUF file that it is.
        notes: what a user must know.
    """
    for path in (path for pattern in _LICENCES for path in job.model_dir.glob(pattern)):
        if path.is_file():
            shutil.copyfile(path, place / path.name)
    facts = job.about._replace(
        stops=job.serving.stops,
        dtype=written,
        file=file,
        is_adapter=(place / CONFIG).is_file(),
        proof={door.name: door.said for door in proof.doors if door.equal},
        notes=(*job.about.notes, *notes),
    )
    store.write_text(place / "README.md", card(facts))


def write_contents(job: Job, place: Path, parts: Mapping[str, str]) -> None:
    """The card above those of several formats; `parts`: each with the type of its weights."""
    store.write_text(place / "README.md", contents(job.about, parts))


def open_to_all(place: Path) -> None:
    """Safetensors makes files that only their owner may read."""
    mask = os.umask(0)
    os.umask(mask)
    for path in place.iterdir():
        if path.is_file():
            path.chmod(0o666 & ~mask)


def name_of(dtype: torch.dtype) -> str:
    """`bfloat16`, as config.json spells it."""
    return str(dtype).removeprefix("torch.")
