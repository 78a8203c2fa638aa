"""What to do with the output directory: start, go on, extend, say that all is done, refuse.

`run.json` in the output directory holds the identity of the run: what changes what is
learned, and nothing else. Logging, saving, workers, trackers and micro-batches are not in it.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunesmith import store
from tunesmith.errors import OutputError, StoreError
from tunesmith.training.checkpoint import STATE
from tunesmith.training.journal import FILE as LOG

FILE = "run.json"
_FORMAT = 1
_MOST_THREADS = 1024
_OURS = (
    "run.json",
    "trainer_log.jsonl",
    "trainer_state.json",
    "adapter_config.json",
    "config.json",
)
"""A directory with none of these holds something other than a run and is never moved."""
_PREDICTIONS = ("generated_predictions.jsonl", "predict_results.json", "predict_confusion.png")
_RESULT = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "tokenizer.json")
"""Files of a result that nobody edits: as they were written, or damaged."""
_HASHED_BYTES = 1 << 31
"""Results up to this size are read to say that a run is finished; of larger ones, the sizes."""


class Start(NamedTuple):
    """How a run begins."""

    kind: Literal["fresh", "resume", "finished"]
    notes: tuple[str, ...] = ()
    move_aside: bool = False
    """Whether what stands in the output directory is moved to `<dir>.old-N` first."""


class Record(NamedTuple):
    """What `run.json` holds."""

    identity: dict[str, Any]
    steps: int
    """Optimizer steps that the run was last asked for."""
    finished: bool
    asked: dict[str, Any]
    """The keys of the run file, to name what differs."""
    facts: dict[str, Any]
    """What must stay as it was at the first start: layout of micro-batches, threads, the day."""
    result: Mapping[str, store.FileFact] = {}
    """The files of a finished run that nobody edits, as they were written."""


def read(output_dir: Path) -> Record | None:
    """The record of an output directory; `None` where there is none.

    Raises:
        OutputError: the file is there but cannot be read.
    """
    path = output_dir / FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf8"))
        if data["format"] > _FORMAT:
            raise OutputError(
                str(path),
                got=f"format {data['format']}",
                need=f"at most {_FORMAT}: a newer Tunesmith",
            )
        facts = {"layout": dict(data["facts"]["layout"]), "threads": int(data["facts"]["threads"])}
        if not 1 <= facts["threads"] <= _MOST_THREADS:
            raise ValueError(f"{facts['threads']} threads")
        if "day" in data["facts"]:  # a record of an earlier Tunesmith has none
            facts["day"] = str(datetime.date.fromisoformat(data["facts"]["day"]))
        return Record(
            dict(data["identity"]),
            int(data["steps"]),
            bool(data["finished"]),
            dict(data["asked"]),
            facts,
            {
                str(name): store.FileFact(int(size), str(sha256))
                for name, (size, sha256) in dict(data.get("result", {})).items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            str(path),
            got=f"{type(error).__name__}: {error}",
            need="the record that Tunesmith wrote",
            hint="another output_dir, or move this directory away",
        ) from error


def day(output_dir: Path) -> datetime.date | None:
    """The day of the first start, which some templates print; `None`: no start is recorded.

    Raises:
        OutputError: see `read`.
    """
    before = read(output_dir)
    text = before.facts.get("day") if before else None
    return datetime.date.fromisoformat(text) if text else None


def write(output_dir: Path, record: Record) -> None:
    """Write the record, atomically."""
    store.write_json(output_dir / FILE, {"format": _FORMAT, **record._asdict()})


def finish(output_dir: Path, record: Record) -> None:
    """Write that the run is finished, and what its result is."""
    names = {path.name for pattern in _RESULT for path in output_dir.glob(pattern)}
    result = store.describe(output_dir, names)
    write(output_dir, record._replace(finished=True, result=result))


def forget(output_dir: Path) -> None:
    """Take the record back, and the directory if that was all that stood in it."""
    (output_dir / FILE).unlink(missing_ok=True)
    if not any(output_dir.iterdir()):
        output_dir.rmdir()


def decide(
    output_dir: Path,
    *,
    identity: Mapping[str, Any],
    steps: int,
    asked: Mapping[str, Any],
    overwrite: bool,
    start_over: bool = False,
    in_use: Mapping[str, Path] | None = None,
) -> Start:
    """What to do with `output_dir`, before anything is written.

    Args:
        output_dir: where the run writes.
        identity: of the run that is asked for.
        steps: optimizer steps that are asked for.
        asked: flat keys as given, to name those that differ.
        overwrite: `overwrite_output_dir`.
        start_over: `resume_from_checkpoint: false`.
        in_use: what the run reads, by the key that names it: never moved aside.

    Raises:
        OutputError: the directory holds something else; nothing was touched.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise OutputError(str(output_dir), got="a file", need="a directory or a free name")
    if not output_dir.is_dir() or not any(_visible(output_dir)):
        return Start("fresh")
    if (output_dir / STATE).is_file():
        raise OutputError(
            str(output_dir), got="a checkpoint of a run",
            need="the directory of a run: nothing is written into a checkpoint",
            hint=f"output_dir: {output_dir.parent}",
        )  # fmt: skip
    before = read(output_dir)
    if start_over or before is None or before.identity != identity:
        _refuse_in_use(output_dir, {**(in_use or {}), "the working directory": Path.cwd()})
    if before is None:
        if overwrite and any((output_dir / name).exists() for name in _OURS):
            return Start("fresh", ("the old contents do not come from Tunesmith",), move_aside=True)
        shown = ", ".join(sorted(p.name for p in _visible(output_dir))[:3])
        raise OutputError(
            str(output_dir), got=f"files of something else ({shown})",
            need="an empty or new directory", hint="another output_dir",
        )  # fmt: skip
    if start_over:
        return Start("fresh", ("resume_from_checkpoint: false starts over",), move_aside=True)
    if before.identity != identity:
        return _another_plan(
            output_dir, before, identity=identity, asked=asked, overwrite=overwrite
        )
    if steps < before.steps and before.finished:
        raise OutputError(
            str(output_dir),
            got=f"a finished run of {before.steps} steps, asked for {steps}",
            need="at least as many steps as are done",
            hint="resume_from_checkpoint=false to start over",
        )
    if steps != before.steps:
        return Start("resume", (_other_length(before.steps, steps),))
    if not before.finished:
        return Start("resume")
    lost = _lost(output_dir, before)
    return Start("resume", (f"{lost}; the result is written again",)) if lost else Start("finished")


def _other_length(before: int, steps: int) -> str:
    longer = "extended" if steps > before else "shortened"
    return (
        f"the run is {longer} from {before} to {steps} steps: the steps to come have the learning "
        f"rates of a run of {steps} steps, those done have the rates of {before}"
    )


def _lost(output_dir: Path, before: Record) -> str | None:
    """What is wrong with the result of a finished run."""
    if not any(output_dir.glob("*.safetensors")):
        return "the result is gone"
    contents = sum(fact.bytes for fact in before.result.values()) <= _HASHED_BYTES
    try:
        store.compare(output_dir, before.result, contents=contents)
    except StoreError as error:
        return f"{error.where} is damaged ({error.got}, need {error.need})"
    return None


def _refuse_in_use(output_dir: Path, in_use: Mapping[str, Path]) -> None:
    for key, path in in_use.items():
        if path.resolve().is_relative_to(output_dir.resolve()):
            raise OutputError(
                f"output_dir: {output_dir}",
                got=f"a directory that {key} ({path}) is in",
                need="a directory that the run does not read from: it would be moved aside",
                hint="another output_dir",
            )


def _another_plan(
    output_dir: Path,
    before: Record,
    *,
    identity: Mapping[str, Any],
    asked: Mapping[str, Any],
    overwrite: bool,
) -> Start:
    named = differing(before, identity, asked)
    if not before.finished and not any(output_dir.glob("checkpoint-*")):
        log = output_dir / LOG
        logged = log.is_file() and log.stat().st_size > 0
        note = f"a run that differs in {', '.join(named)} had saved nothing here"
        return Start("fresh", (note,), move_aside=logged)
    if overwrite:
        return Start("fresh", (f"another plan stood here ({', '.join(named)})",), move_aside=True)
    raise OutputError(
        str(output_dir),
        got=f"a run that differs in {', '.join(named)}",
        need="the same plan to go on, or a free directory",
        hint="another output_dir, or overwrite_output_dir: true (moves the old one aside)",
    )


def differing(before: Record, identity: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What tells the run asked for from the one that is there, most specific first.

    Keys of the run file that differ stand before parts of the identity that no key explains
    (a data file with another content, another version of the model).
    """
    parts = [
        k for k in {**before.identity, **identity} if before.identity.get(k) != identity.get(k)
    ]
    keys = [
        f"{k}: {_short(before.asked.get(k))} -> {_short(asked.get(k))}"
        for k in {**before.asked, **asked}
        if k in EXPLAINS and before.asked.get(k) != asked.get(k)
        if any(part in parts for part in EXPLAINS[k])
    ]
    explained = {part for k in EXPLAINS for part in EXPLAINS[k]
                 if before.asked.get(k) != asked.get(k)}  # fmt: skip
    return keys + [
        _BEHIND.get(k) or f"{k}: {_short(before.identity.get(k))} -> {_short(identity.get(k))}"
        for k in parts
        if k not in explained
    ]


_BEHIND = {
    "data": "data: the rows behind the same keys have changed",
    "model": "model: the files of the model have changed",
    "adapter": "adapter: the files of the adapter have changed",
}
"""Parts of the identity that are hashes, in words."""


EXPLAINS: dict[str, tuple[str, ...]] = {
    **{
        key: ("data",)
        for key in (
            "dataset", "dataset_dir", "template", "max_samples", "val_size",
            "mix_strategy", "interleave_probs",
            "default_system", "train_on_prompt", "mask_history", "on_bad_row", "truncation",
            "seed", "disable_shuffling", "enable_thinking",
            "preserve_thinking", "tool_format", "split_special_tokens",
        )
    },
    "cutoff_len": ("data", "cutoff_len"),
    "packing": ("packing", "cutoff_len"),
    "neat_packing": ("packing", "cutoff_len"),
    "model_name_or_path": ("model",),
    "adapter_name_or_path": ("adapter",),
    "per_device_train_batch_size": ("global_batch",),
    "gradient_accumulation_steps": ("global_batch",),
    "global_batch_size": ("global_batch",),
    "use_muon": ("optim",),
    "quantization_bit": ("quantization",),
    "quantization_method": ("quantization",),
    "quantization_type": ("quantization",),
    "double_quantization": ("quantization",),
    "bf16": ("precision",),
    "fp16": ("precision",),
}  # fmt: skip
"""Key of the run file -> parts of the identity that it may change; others stand for themselves."""


def _visible(directory: Path) -> list[Path]:
    """What stands there and could be in the way of a run."""
    shown = (path for path in directory.iterdir() if not path.name.startswith("."))
    return [path for path in shown if not (_is_export(path) or _is_prediction(path))]


def _is_prediction(path: Path) -> bool:
    """Whether `tunesmith predict` wrote it, of the model before it was tuned for example."""
    return path.name.startswith(_PREDICTIONS) and path.is_file()


def _is_export(path: Path) -> bool:
    """Whether `tunesmith export` wrote it: its usual place is inside the directory of a run."""
    if not (path / store.MANIFEST).is_file() or (path / STATE).is_file():
        return False
    try:
        return store.read_manifest(path).facts.get("kind") == "export"
    except StoreError:
        return False


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:36]} …"
