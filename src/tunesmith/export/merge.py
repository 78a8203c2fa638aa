"""Base and adapters to what is served: merged once, written in every format that was asked for.

Each is opened in a process of its own and held against the tuned model before any of them gets
its name; if one door does not say the same, nothing is left.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith import store
from tunesmith.config.model import Quantization
from tunesmith.errors import ModelError, OutputError, StoreError
from tunesmith.export import formats, quantised, reader
from tunesmith.export import job as jobs
from tunesmith.export import proof as proofs
from tunesmith.export.job import Format, Job, Serving, Written
from tunesmith.export.proof import Probe, Proof
from tunesmith.export.said import Questions
from tunesmith.export.sights import Look, Sight
from tunesmith.models import adapters, files
from tunesmith.models.card import CardFacts
from tunesmith.models.load import read_config

KIND = "export"
"""What the manifest of an exported directory says it is."""
_SPARE = 1.02  # headers, tokenizer and card beside the weights


class Part(NamedTuple):
    """One format of an export."""

    format: str
    directory: Path
    weights: str
    """Type of the stored weights."""
    weight_files: int
    bytes: int
    """Of all files together."""
    proof: Proof
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        proof = self.proof._asdict() | {"doors": [door.as_dict() for door in self.proof.doors]}
        found = self._asdict() | {"directory": str(self.directory), "proof": proof}
        return found | {"notes": list(self.notes)}


class Exported(NamedTuple):
    """What was written and how it was proved."""

    directory: Path
    adapters: int
    layers: int
    """Linear layers that an adapter was added to."""
    stop_tokens: tuple[str, ...]
    parts: tuple[Part, ...]
    """One for each format, in the order in which they were asked for."""
    notes: tuple[str, ...]

    @property
    def proof(self) -> Proof:
        """Of the first format."""
        return self.parts[0].proof

    @property
    def dtype(self) -> str:
        """In which the weights of the first format are stored."""
        return self.parts[0].weights

    @property
    def weight_files(self) -> int:
        """Of the first format."""
        return self.parts[0].weight_files

    @property
    def bytes(self) -> int:
        """Of all files of all formats."""
        return sum(part.bytes for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: the first format's facts stand outside too."""
        first = {"dtype": self.dtype, "weight_files": self.weight_files, "bytes": self.bytes}
        found = self._asdict() | first | {"directory": str(self.directory)}
        found |= {"proof": self.parts[0].as_dict()["proof"], "notes": list(self.notes)}
        found["parts"] = [part.as_dict() for part in self.parts]
        return found | {"stop_tokens": list(self.stop_tokens)}


def export(  # noqa: PLR0913  # one keyword for each fact of a run
    model_dir: Path,
    adapter_dirs: Sequence[Path],
    out_dir: Path,
    *,
    serving: Serving,
    format: Sequence[str] = ("merged",),
    dtype: torch.dtype | None = None,
    max_shard_gb: float = 5,
    device: str = "cpu",
    probes: Sequence[Probe] = (),
    sights: Sequence[Sight] = (),
    look: Look | None = None,
    about: CardFacts | None = None,
    trust_remote_code: bool = False,
    trained_over: Quantization | None = None,
    progress: Callable[[str], None] = lambda phase: None,
) -> Exported:
    """Merge the adapters into the base, write what was asked for, and prove it.

    The merge is computed in fp32 and rounded once. Before the directory gets its name, every
    format is opened in a fresh process by an independent reader and held against the tuned model
    on the probes; if that fails, nothing is left, and an older export of that name stays as it
    was. What a killed export has left beside it is removed, and a note says so.

    Args:
        model_dir: the base, or a whole tuned model.
        adapter_dirs: in the order in which they were trained; may be empty.
        out_dir: new, empty, or an earlier export, which is replaced. One format lies there
            itself, several lie in directories of their names.
        serving: tokenizer, template and stop words of the training.
        format: names of `formats.FORMATS`.
        dtype: of dense stored weights; `None`: what the base is stored in.
        max_shard_gb: largest weight file, in 10⁹ bytes.
        device: `cpu` or `cuda`, where merging and proving compute.
        probes: rows to compare on, preferably of the run; texts in many scripts are added.
        sights: questions about pictures, for a model that sees.
        look: how training reads those.
        about: what the model card says; `None`: as much as is known here.
        trust_remote_code: allow the base's own Python code.
        trained_over: how the base was held in training; what is merged into is dense.
        progress: told the name of each phase as it begins.

    Raises:
        ConfigError: a format that is not there, or needs what is not installed.
        OutputError: `out_dir` holds something else, is one of the inputs, or another process
            exports to it.
        ModelError: something cannot be loaded or expressed, or an export is not the tuned model.
        StoreError: a file cannot be written.
    """
    model_dir, out_dir = Path(model_dir), Path(out_dir)
    _refuse_place(out_dir, [model_dir, *adapter_dirs])
    _refuse_quantised(model_dir)
    chosen = formats.named(format)
    stored = dtype or proofs.stored_dtype(model_dir)
    loading = proofs.Loading(_compute_dtype(model_dir, device, stored), device, trust_remote_code)
    job = Job(
        model_dir=model_dir,
        adapter_dirs=tuple(Path(path) for path in adapter_dirs),
        config=read_config(model_dir, trust_remote_code=trust_remote_code).to_dict(),
        serving=serving,
        stored=stored,
        loading=loading,
        max_shard_gb=max_shard_gb,
        about=about or _known(model_dir, out_dir),
        probes=tuple(proofs.probes_of(serving.tokenizer, probes)),
    )
    asking = proofs.questions(serving.tokenizer, job.probes, loading, sights)
    job = job._replace(texts=tuple(asking.texts))
    told = [list(form.check(job)) for form in chosen]
    with store.lock(out_dir):
        left = store.clean(out_dir.absolute().parent, name=out_dir.name)
        _require_space(job, chosen, out_dir)
        progress("loading")
        model = proofs.tuned_model(model_dir, adapter_dirs, loading)
        progress("asking the tuned model")
        asked = proofs.ask(model, job.probes, based=bool(adapter_dirs), sights=sights, look=look)
        progress("merging")
        layers = adapters.merge(model)
        with store.publish(out_dir, facts=_facts(job, chosen)) as place:
            written = _write(job, chosen, model=model, place=place, progress=progress)
            del model
            gc.collect()
            proved = partial(_prove, job, asked=asked, asking=asking, where=str(out_dir))
            found = _proofs(chosen, written, proved, progress)
            shared = _measured(job, asked, trained_over, progress)
            parts = [
                _part(job, form, written[form.name], found=found[form.name], notes=notes + shared)
                for form, notes in zip(chosen, told, strict=True)
            ]
            if len(chosen) > 1:
                jobs.write_contents(job, place, {part.format: part.weights for part in parts})
    return Exported(
        out_dir,
        len(job.adapter_dirs),
        layers,
        serving.stops,
        tuple(part._replace(directory=_inside(out_dir, part.format, chosen)) for part in parts),
        (*left, *dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _known(model_dir: Path, out_dir: Path) -> CardFacts:
    return CardFacts(out_dir.name, str(model_dir), is_adapter=False, directory=str(out_dir))


def _facts(job: Job, chosen: Sequence[Format]) -> dict[str, Any]:
    return {
        "kind": KIND,
        "base": str(job.model_dir),
        "adapters": [str(path) for path in job.adapter_dirs],
        "formats": [form.name for form in chosen],
    }


def _require_space(job: Job, chosen: Sequence[Format], out_dir: Path) -> None:
    weights = _parameters(job.model_dir)
    needed = sum(form.bytes_of(job, weights) for form in chosen)
    store.require_space(out_dir, int(needed * _SPARE))


def _inside(place: Path, name: str, chosen: Sequence[Format]) -> Path:
    return place if len(chosen) == 1 else place / name


def _write(
    job: Job,
    chosen: Sequence[Format],
    *,
    model: Any,
    place: Path,
    progress: Callable[[str], None],
) -> dict[str, Written]:
    """Every format into its directory: first those that need the exact weights."""
    written = {}
    for form in sorted(chosen, key=lambda form: formats.ORDER.index(form.name)):
        progress("writing" if len(chosen) == 1 else f"writing {form.name}")
        inside = _inside(place, form.name, chosen)
        inside.mkdir(exist_ok=True)
        written[form.name] = form.write(job, model, inside)
    return written


def _proofs(
    chosen: Sequence[Format],
    written: dict[str, Written],
    prove: Callable[[Format, Written], tuple[Proof, list[str]]],
    progress: Callable[[str], None],
) -> dict[str, tuple[Proof, list[str]]]:
    """Of each format, by its name."""
    found = {}
    for form in chosen:
        progress("proving" if len(chosen) == 1 else f"proving {form.name}")
        found[form.name] = prove(form, written[form.name])
    return found


def _prove(
    job: Job,
    form: Format,
    written: Written,
    *,
    asked: proofs.Asked,
    asking: Questions,
    where: str,
) -> tuple[Proof, list[str]]:
    """Open it anew and compare; what the reader has to say of it."""
    template = job.serving.template
    want = proofs.expected(asked, job.serving.tokenizer, template, asking.texts)
    questions, want = form.asks(job, asking, want)
    said = reader.apart(form.opens, written.path, questions)
    proof = proofs.prove(
        asked,
        want,
        said,
        bound=form.bound(job),
        compute=job.loading.dtype,
        where=where,
        rounds=form.rounds,
    )
    return proof, [*said.notes, *proofs.worn_note(proof, written.weights)]


def _measured(
    job: Job,
    asked: proofs.Asked,
    trained_over: Quantization | None,
    progress: Callable[[str], None],
) -> list[str]:
    """How far merging into a dense base is from a training over few bits."""
    if not trained_over or not job.adapter_dirs:
        return []
    progress("measuring what the quantisation of training changes")
    return [
        quantised.note(
            job.model_dir, job.adapter_dirs, asked, job.loading, quantization=trained_over
        )
    ]


def _part(
    job: Job, form: Format, written: Written, *, found: tuple[Proof, list[str]], notes: list[str]
) -> Part:
    """The card beside it, and what there is to tell."""
    place = written.path if written.path.is_dir() else written.path.parent
    proof, said = found
    every = [*said, *written.notes, *notes]
    file = written.path.name if written.path.is_file() else ""
    jobs.write_beside(job, place, written.weights, file=file, notes=every, proof=proof)
    jobs.open_to_all(place)
    sizes = [path for path in place.iterdir() if path.is_file()]
    return Part(
        form.name,
        place,
        written.weights,
        sum(path.suffix in (".safetensors", ".gguf") for path in sizes),
        sum(path.stat().st_size for path in sizes),
        proof,
        tuple(dict.fromkeys(every)),
    )


def _refuse_place(out_dir: Path, inputs: Sequence[Path]) -> None:
    """A directory is replaced only if an export made it."""
    place = out_dir.resolve()
    for path in inputs:
        source = path.resolve()
        if place == source or place in source.parents:
            raise OutputError(
                f"export_dir: {out_dir}",
                got=f"a directory that is or holds {path}",
                need="a directory apart from the model and its adapters",
            )
    if not out_dir.exists():
        return
    if not out_dir.is_dir():
        raise OutputError(f"export_dir: {out_dir}", got="a file", need="a new directory")
    if not any(out_dir.iterdir()):
        return
    try:
        kind = store.read_manifest(out_dir).facts.get("kind")
    except StoreError:
        kind = None
    if kind != KIND:
        names = sorted(path.name for path in out_dir.iterdir())
        raise OutputError(
            f"export_dir: {out_dir}",
            got=", ".join(names[:5]),
            need="a new or empty directory, or an earlier export, which is replaced",
            hint="another export_dir, or move the directory away",
        )


def _refuse_quantised(model_dir: Path) -> None:
    """Rounding to a few bits would erase the training (peft issue 2321)."""
    quantised = files.read_json(model_dir / "config.json").get("quantization_config")
    if quantised:
        raise ModelError(
            f"{model_dir}/config.json: quantization_config",
            got=quantised.get("quant_method", quantised),
            need="weights in fp32, bf16 or fp16 to merge into",
            hint="name the model that the quantised one was made from",
        )


def _parameters(model_dir: Path) -> int:
    headers = [files.read_header(path) for path in files.weight_files(model_dir)]
    return sum(_count(info.shape) for header in headers for info in header.values())


def _count(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def _compute_dtype(model_dir: Path, device: str, stored: torch.dtype) -> torch.dtype:
    """fp32, unless the model in fp32 would not fit into half of the memory."""
    needed = 4 * _parameters(model_dir)
    if device.startswith("cuda"):
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return torch.float32 if 2 * needed <= memory else stored
