"""Base and adapters to one plain transformers directory, put in place only once it is proved."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith import store
from tunesmith.config.model import Quantization
from tunesmith.errors import ModelError, OutputError, StoreError
from tunesmith.export import proof as proofs
from tunesmith.export import quantised
from tunesmith.export.proof import Probe, Proof
from tunesmith.models import adapters, files
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.card import CardFacts, card
from tunesmith.models.load import quiet
from tunesmith.types import Tokenizer

KIND = "export"
"""What the manifest of an exported directory says it is."""
_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_SPARE = 1.02  # headers, tokenizer and card beside the weights


class Exported(NamedTuple):
    """What was written and how it was proved."""

    directory: Path
    dtype: str
    """In which weights are stored."""
    adapters: int
    layers: int
    """Linear layers that an adapter was added to."""
    weight_files: int
    bytes: int
    """Of all files together."""
    stop_tokens: tuple[str, ...]
    proof: Proof
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        found = self._asdict() | {"directory": str(self.directory), "proof": self.proof._asdict()}
        return found | {"stop_tokens": list(self.stop_tokens), "notes": list(self.notes)}


class Serving(NamedTuple):
    """What must stand beside the weights so that what was trained is what is served."""

    tokenizer: Tokenizer
    chat_template: str | None = None
    """Jinja of the template that training used; `None`: the tokenizer's own."""
    stop_words: tuple[str, ...] = ()
    """Of the template, the usual one first; those that are tokens become stop ids."""
    modelfile: str | None = None
    """For Ollama; `None`: there is none."""


def export(
    model_dir: Path,
    adapter_dirs: Sequence[Path],
    out_dir: Path,
    *,
    serving: Serving,
    dtype: torch.dtype | None = None,
    max_shard_gb: float = 5,
    device: str = "cpu",
    probes: Sequence[Probe] = (),
    about: CardFacts | None = None,
    trust_remote_code: bool = False,
    trained_over: Quantization | None = None,
    progress: Callable[[str], None] = lambda phase: None,
) -> Exported:
    """Merge the adapters into the base, write a plain transformers directory, and prove it.

    The merge is computed in fp32 and rounded once. Before the directory gets its name it is
    loaded by stock transformers and held against the tuned model on the probes; if that fails,
    nothing is left of it, and an older export of that name stays as it was.

    Args:
        model_dir: the base, or a whole tuned model.
        adapter_dirs: in the order in which they were trained; may be empty.
        out_dir: new, empty, or an earlier export, which is replaced.
        serving: tokenizer, template and stop words of the training.
        dtype: of the stored weights; `None`: what the base is stored in.
        max_shard_gb: largest weight file, in 10⁹ bytes.
        device: `cpu` or `cuda`, where merging and proving compute.
        probes: rows to compare on, preferably of the run; texts in many scripts are added.
        about: what the model card says; `None`: as much as is known here.
        trust_remote_code: allow the base's own Python code.
        trained_over: how the base was held in training; what is merged into is dense.
        progress: told the name of each phase as it begins.

    Raises:
        OutputError: `out_dir` holds something else, or is one of the inputs.
        ModelError: something cannot be loaded, or the export is not the tuned model.
        StoreError: a file cannot be written.
    """
    model_dir, out_dir = Path(model_dir), Path(out_dir)
    _refuse_place(out_dir, [model_dir, *adapter_dirs])
    _refuse_quantised(model_dir)
    stored = dtype or proofs.stored_dtype(model_dir)
    store.require_space(out_dir, int(_parameters(model_dir) * stored.itemsize * _SPARE))
    compute = _compute_dtype(model_dir, device, stored)
    loading = proofs.Loading(compute, device, trust_remote_code)
    progress("loading")
    model = proofs.tuned_model(model_dir, adapter_dirs, loading)
    progress("asking the tuned model")
    asked = proofs.ask(model, proofs.probes_of(serving.tokenizer, probes), based=bool(adapter_dirs))
    progress("merging")
    layers = adapters.merge(model)
    facts = {"kind": KIND, "base": str(model_dir), "adapters": [str(path) for path in adapter_dirs]}
    with store.publish(out_dir, facts=facts) as place:
        progress("writing")
        stops = _write(
            model.to(stored), place, serving, model_dir=model_dir, max_shard_gb=max_shard_gb
        )
        del model
        gc.collect()
        progress("proving")
        notes = proofs.check_tokenizer(place, serving.tokenizer, asked.probes)
        found = proofs.prove(place, asked, loading, dtype=stored, where=str(out_dir))
        notes += proofs.worn_note(found, stored)
        if trained_over and adapter_dirs:
            progress("measuring what the quantisation of training changes")
            notes.append(
                quantised.note(model_dir, adapter_dirs, asked, loading, quantization=trained_over)
            )
        about = about or CardFacts(
            out_dir.name, str(model_dir), is_adapter=False, directory=str(out_dir)
        )
        _write_card(place, about, stored, stops=stops, notes=notes)
    return Exported(
        out_dir,
        _name(stored),
        len(adapter_dirs),
        layers,
        *_sizes(out_dir),
        stops,
        found,
        tuple(notes),
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


def _write(
    model: Any, place: Path, serving: Serving, *, model_dir: Path, max_shard_gb: float
) -> tuple[str, ...]:
    """Fill the directory; the tokens that end an answer."""
    from transformers import GenerationConfig

    tokenizer = serving.tokenizer
    stops = _stop_tokens(tokenizer, serving.stop_words)
    ids = [tokenizer.id_of(stop) for stop in stops]
    model.config.dtype = model.dtype
    if ids:
        model.config.eos_token_id = ids if len(ids) > 1 else ids[0]
    # older transformers refuse to save an odd one; the base's is taken over below as it stands
    model.generation_config = GenerationConfig()
    with quiet():
        model.save_pretrained(place, max_shard_size=f"{max(1, int(max_shard_gb * 1000))}MB")
    generation = files.read_json_if_there(model_dir / "generation_config.json")
    generation |= {"eos_token_id": ids} if ids else {}
    pad = tokenizer.id_of(tokenizer.pad)
    if pad is not None:
        generation.setdefault("pad_token_id", pad)
    store.write_json(place / "generation_config.json", generation)
    usual = next((word for word in stops if word in serving.stop_words), None)
    tokenizers.save(tokenizer, place, chat_template=serving.chat_template, eos=usual)
    if serving.modelfile is not None:
        store.write_text(place / "Modelfile", serving.modelfile)
    for path in (path for pattern in _LICENCES for path in model_dir.glob(pattern)):
        if path.is_file():
            shutil.copyfile(path, place / path.name)
    mode = 0o666 & ~_umask()
    for path in place.iterdir():
        path.chmod(mode)  # safetensors makes files that only their owner may read
    return stops


def _write_card(
    place: Path,
    about: CardFacts,
    stored: torch.dtype,
    *,
    stops: tuple[str, ...],
    notes: Sequence[str],
) -> None:
    whole = about._replace(
        is_adapter=False, stops=stops, dtype=_name(stored), notes=(*about.notes, *notes)
    )
    store.write_text(place / "README.md", card(whole))


def _sizes(directory: Path) -> tuple[int, int]:
    """Number of weight files; bytes of all files."""
    every = [path for path in directory.iterdir() if path.is_file()]
    weights = sum(path.suffix == ".safetensors" for path in every)
    return weights, sum(path.stat().st_size for path in every)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _stop_tokens(tokenizer: Tokenizer, stop_words: Sequence[str]) -> tuple[str, ...]:
    """Tokens that end an answer, the template's first."""
    every = (*stop_words, tokenizer.eos, *tokenizer.stops)
    return tuple(dict.fromkeys(w for w in every if w and tokenizer.id_of(w) is not None))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
