"""A run: what was asked, in sections, with the place of every key."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from tunesmith.config.assemble import Assemble
from tunesmith.config.dataset import Dataset
from tunesmith.config.infer import Infer
from tunesmith.config.kinds import Section
from tunesmith.config.media import Media
from tunesmith.config.method import METHODS, Freeze, Full, Lora, Method
from tunesmith.config.model import Export, Generate, Model
from tunesmith.config.train import Eval, Output, Train
from tunesmith.config.upcycle import Upcycle
from tunesmith.errors import ConfigError, Error

SECTIONS: dict[str, type[Section]] = {
    "model": Model,
    "dataset": Dataset,
    "media": Media,
    "output": Output,
    "train": Train,
    "eval": Eval,
    "assemble": Assemble,
    "upcycle": Upcycle,
    "infer": Infer,
    "generate": Generate,
    "export": Export,
}


class Run(Section):
    """What was asked. Two runs are equal if every key has the same resolved value."""

    model: Model = Model()
    """The model and its adapters."""
    method: Annotated[Lora | Full | Freeze, Field(discriminator="finetuning_type")] = Lora()
    """What is trained."""
    dataset: Dataset = Dataset()
    """What is learned from."""
    media: Media = Media()
    """How pictures, videos and sounds are read."""
    output: Output = Output()
    """Where the run writes."""
    train: Train = Train()
    """The optimizer and its schedule."""
    eval: Eval = Eval()
    """Evaluation during training."""
    assemble: Assemble = Assemble()
    """What is joined to a language model."""
    upcycle: Upcycle = Upcycle()
    """How a dense model gets experts."""
    infer: Infer = Infer()
    """What computes answers."""
    generate: Generate = Generate()
    """How answers are drawn."""
    export: Export = Export()
    """Where the merged model goes."""
    path: Path | None = None
    """The run file, if there was one."""
    asked: dict[str, Any] = Field(default={})
    """The keys as they were given, as plain data, secrets replaced by `***`."""
    places: dict[str, str] = Field(default={}, repr=False)
    """Where each given key stands."""
    notes: tuple[str, ...] = ()
    """One line for each key that was given and has nothing to act on."""

    def __eq__(self, other: object) -> bool:
        return flat(self) == flat(other) if isinstance(other, Run) else NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def where(self, key: str) -> str:
        """The place of a key for an error: `run.yaml:14: lora_rank`, `command line: lora_rank`."""
        default = f"{self.path}: {key}" if self.path else key
        return self.places.get(key, default)

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Within it, an error about a key that was given is raised with the key's place."""
        try:
            yield
        except Error as error:
            error.where = self.places.get(error.where, error.where)
            raise

    def beside(self, path: Path | str) -> str:
        """Advice where a relative path is not here but beside the run file; "" elsewhere.

        Paths of a run file are relative to the current directory, as in the tools that it is
        shared with; somebody who calls it from another one has to be told.
        """
        if self.path is None or Path(path).exists():
            return ""
        home = self.path.absolute().parent
        if Path(path).is_absolute() or not (home / path).exists():
            return ""
        return (
            f"cd {shlex.quote(str(home))}: paths are relative to the current directory, which is "
            f"{Path.cwd()}; the run file is in {home}, and so is {path}"
        )

    @property
    def holds_out(self) -> bool:
        """Whether there will be rows to evaluate on."""
        return bool(self.dataset.eval_dataset) or self.dataset.val_size > 0

    @property
    def eval_every(self) -> float:
        """`eval_steps` with its default in place: steps, or below 1 a share of all steps."""
        return self.eval.eval_steps or self.output.save_steps

    def global_batch(self, ranks: int = 1) -> int:
        """Examples of one optimizer step over `ranks` devices; see `batch`."""
        per_device, accumulation = self.batch(ranks)
        return per_device * accumulation * ranks

    def batch(self, ranks: int = 1) -> tuple[int, int]:
        """(examples per device and micro-step, micro-steps) of one optimizer step.

        `global_batch_size` stands for their product with `ranks`; given with one of them it
        decides the other.

        Raises:
            ConfigError: it contradicts them, or is no multiple of what is given.
        """
        train, total = self.train, self.train.global_batch_size
        keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
        if total is None:
            return train.per_device_train_batch_size, train.gradient_accumulation_steps
        given = {key: getattr(train, key) for key in keys if self.asked.get(key) is not None}
        product = math.prod(given.values()) * ranks
        if total % product or (len(given) == len(keys) and product != total):
            factors = [f"{key} {value}" for key, value in given.items()]
            factors += [f"{ranks} devices"] if ranks > 1 else []
            least = "" if len(given) == len(keys) else "a multiple of "
            raise ConfigError(
                self.where("global_batch_size"),
                got=total,
                need=f"{least}{product}, which {' times '.join(factors)} give"
                + ("" if len(factors) > 1 else "s"),
                hint="leave out `global_batch_size`, or " + " and ".join(given or keys),
            )
        rest = total // product
        if keys[0] not in given:
            return rest, given.get(keys[1], 1)
        return given[keys[0]], given.get(keys[1], rest)


def fields() -> dict[str, tuple[str, FieldInfo]]:
    """Every key with the name of its section, in the order of the reference page."""
    found: dict[str, tuple[str, FieldInfo]] = {}
    for name, section in SECTIONS.items():
        found |= {key: (name, field) for key, field in section.model_fields.items()}
        if name == "model":
            for method in (Method, *METHODS.values()):
                new = {k: ("method", f) for k, f in method.model_fields.items() if k not in found}
                found |= new
    return found


def methods_of(key: str) -> tuple[str, ...]:
    """Names of the methods that have this key."""
    return tuple(name for name, section in METHODS.items() if key in section.model_fields)


def is_secret(key: str) -> bool:
    """Whether a key, ours or not, holds something that is never printed or stored."""
    return re.search(r"_token$|api_key$|secret$|webhook", key) is not None


def flat(run: Run) -> dict[str, Any]:
    """Every key with its resolved value as plain data (paths as text), without secrets."""
    parts = [run.model, run.method, *(getattr(run, name) for name in list(SECTIONS)[1:])]
    values: dict[str, Any] = {}
    for part in parts:
        secret = {key for key in type(part).model_fields if is_secret(key)}
        values |= part.model_dump(mode="json", exclude=secret)
    if isinstance(run.method, Lora):
        values["lora_alpha"] = run.method.alpha
    if run.train.global_batch_size is not None:
        for key in ("per_device_train_batch_size", "gradient_accumulation_steps"):
            values[key] = values[key] if run.asked.get(key) is not None else None
    return values
