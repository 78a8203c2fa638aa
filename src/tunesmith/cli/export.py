"""`tunesmith export run.yaml`: merge, write what was asked for, each format verified."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.cli import target
from tunesmith.cli.command import command, following
from tunesmith.cli.export_card import about
from tunesmith.config.load import require
from tunesmith.config.run import Run
from tunesmith.errors import OutputError

_PROBES = 8
"""Rows of the run that the merged model is held against."""
_QUESTION = "How are you? 2 + 2 = 4, 你好"
"""What the template that is written is asked: its prompt must be the one of training."""
_NO_GPTQ = (
    "export_quantization_bit: bitsandbytes quantises, without calibration rows; LLaMA-Factory "
    "makes a GPTQ model"
)
_OLLAMA_CONTEXT = 4096
"""Tokens of context that a Modelfile asks for at least, as LLaMA-Factory's does."""


def run(arguments: argparse.Namespace) -> int:
    """Merge, reload, compare, print where it is."""
    asked = target.read(arguments.target, arguments.overrides)
    require(asked, "model_name_or_path")
    out = asked.export.export_dir
    if out is None:
        require(asked, "output_dir")
        out = Path(str(asked.output.output_dir)) / "export"
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    push = _pushing(asked)
    exported = export(asked, out, report)
    address = None
    try:  # an upload that fails takes nothing from the export, whose figures are told all the same
        address = push(out, report)
    finally:
        report.close()
        if arguments.json:
            facts = exported.as_dict() | ({"hub": address} if address else {})
            print(json.dumps(facts, ensure_ascii=False, default=str))
        else:
            print("\n".join([*lines(exported), *told(exported)]))
            print(f"hub     {address}\n" if address else "", end="")
    return 0


def _pushing(asked: Run) -> Callable[[Path, Any], str | None]:
    """What uploads an export where that was asked for, and gives its address.

    Raises:
        ConfigError: it could not be uploaded.
    """
    name = asked.export.export_hub_model_id
    if name is None:
        return lambda out, report: None
    from tunesmith.models import hub_push

    secret = asked.model.hf_hub_token
    token = None if secret is None else secret.get_secret_value()
    hub_push.require(name, token)

    def push(out: Path, report: Any) -> str:
        report.say(f"uploading {out} to {name}")
        return hub_push.push(out, name, token, private=asked.export.hub_private_repo)

    return push


def told(exported: Any) -> list[str]:
    """Where each format is and what is done with it."""
    found = []
    for part in exported.parts:
        place = part.directory
        file = next(iter(sorted(place.glob("*.gguf"))), None)
        found += [f"result  {file or place}", following("chat", file or place)]
        found += [f"ollama  {line}" for line in for_ollama(place)]
    return found


def export(asked: Run, out: Path, report: Any) -> Any:
    """Merge the run's adapters into `out`, proved on held-out rows where there are any.

    Raises:
        Error: something cannot be loaded or written, or the export differs from the model.
    """
    import torch

    from tunesmith.cli import answering
    from tunesmith.cli.export_rows import Given, look, probes, sights
    from tunesmith.export.job import Serving
    from tunesmith.export.merge import export as merge
    from tunesmith.export.proof import Probe
    from tunesmith.templates import jinja_to_serve
    from tunesmith.training.material import examples
    from tunesmith.training.seeing import family_for
    from tunesmith.types import Conversation, Message

    _refuse_untrained(asked)
    found = answering.find(asked, report)
    modelfile, without, notes = _modelfile(asked, found)
    base = str(asked.model.model_name_or_path)
    tuned = bool(found.adapters) or found.served.model != base
    if not tuned:
        notes = (f"nothing is merged: this is {base} itself, with the template beside it", *notes)
    if asked.export.export_quantization_bit is not None:
        notes = (_NO_GPTQ, *notes)
    trust, question = asked.model.trust_remote_code, Conversation((Message("user", _QUESTION),))
    given = Given(found, trust_remote_code=trust)
    if asked.dataset.dataset:
        family = family_for(asked, found.directory, found.tokenizer)
        rows = examples(
            asked, found.renderer, found.tokenizer, report, family=family,
            split_special_tokens=found.split_special_tokens,
        )  # fmt: skip
        given = Given(found, rows, family, asked.dataset.media_dir, trust)
    shown, unseen = sights(given)
    on_gpu = asked.export.export_device == "auto" and torch.cuda.is_available()
    exported = merge(
        found.directory,
        found.adapters,
        out,
        serving=Serving(
            found.tokenizer,
            jinja_to_serve(found.renderer, found.tokenizer),
            tuple(found.renderer.stop_words),
            modelfile,
            without,
        ),
        format=asked.export.formats,
        max_shard_gb=asked.export.export_size,
        device="cuda" if on_gpu else "cpu",
        probes=[
            Probe(found.encode(question), [{"role": "user", "content": _QUESTION}]),
            *probes(given, _PROBES),
        ],
        sights=shown,
        look=look(found),
        trust_remote_code=asked.model.trust_remote_code,
        trained_over=asked.model.quantization,
        about=about(asked, found.directory, out, tuned=tuned, data=given.rows),
        progress=report.say,
    )
    return exported._replace(notes=(*found.notes, *exported.notes, *notes, *unseen))


def _refuse_untrained(asked: Run) -> None:
    """An export of the base under the name of a run would pass for its result."""
    if target.served(asked).complete:
        return
    output = Path(str(asked.output.output_dir))
    begun = (output / "run.json").is_file()
    itself = command("export", asked.model.model_name_or_path, "export_dir=DIR")
    train = command("train", asked.path or output)
    raise OutputError(
        str(output),
        got="a run without a result" if begun else "no result: nothing has been trained there yet",
        need="a finished run",
        hint=f"{train} to the end, or export a checkpoint-N directory of it"
        if begun
        else f"{train}; the model itself, untuned: {itself}",
    )


def _modelfile(asked: Run, found: Any) -> tuple[str | None, str, tuple[str, ...]]:
    """Text of the Modelfile for Ollama, if there is one, what it lacks, and what to tell."""
    from tunesmith.infer.sampling import read_generation_config
    from tunesmith.models.classes import sees_or_hears
    from tunesmith.models.load import read_config
    from tunesmith.templates import OwnJinja, Template, ollama
    from tunesmith.templates.parse import parse

    template, lost = found.renderer, ()
    config = read_config(found.directory, trust_remote_code=asked.model.trust_remote_code)
    if sees_or_hears(config):
        why = "a Modelfile that is written here speaks of text alone, and the model sees or hears"
        return None, why, (f"no Modelfile for Ollama: {why}",)
    if isinstance(template, OwnJinja):
        parsed = parse(template)
        if parsed.format is None:
            why = f"the model's own Jinja cannot be written as one ({parsed.lost[0]})"
            hint = "template: NAME in the run file can"
            return None, why, (f"no Modelfile for Ollama: {why}; {hint}",)
        said = template.default_system
        template = Template(parsed.format).bind(found.tokenizer, default_system=said)
        lost = tuple(f"Modelfile, not as in the model's own Jinja: {what}" for what in parsed.lost)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    wanted = max(_OLLAMA_CONTEXT, asked.dataset.cutoff_len)
    stops = tuple(dict.fromkeys((*template.stop_words, *found.tokenizer.stops)))
    text = ollama.modelfile(
        template,
        base=".",
        stops=stops,
        num_ctx=min(wanted, context or wanted),
        sampling=read_generation_config(found.directory),
    )
    lacks = next(iter((*lost, *ollama.lacks(template, stops))), "")
    return text, lacks, (*lost, *(f"Modelfile: {note}" for note in ollama.notes(template, stops)))


def for_ollama(out: Path) -> list[str]:
    """How Ollama gets an exported directory; nothing where it holds no Modelfile."""
    from tunesmith.models import files
    from tunesmith.templates import ollama

    if not (out / "Modelfile").exists():
        return []
    create = f"cd {shlex.quote(str(out))} && ollama create NAME -f Modelfile"
    if any(out.glob("*.gguf")):
        return [create]
    kinds = files.read_json(out / "config.json").get("architectures")
    if kinds and kinds[0] in ollama.CONVERTED:
        return [create]
    first = f"does not read {kinds[0] if kinds else 'this'} itself"
    return [f"{first}: make a GGUF file of it and name that after FROM in {out / 'Modelfile'}"]


def _adapters(count: int) -> str:
    return "1 adapter" if count == 1 else f"{count} adapters"


def lines(exported: Any) -> list[str]:
    """What was written and how it was proved, for people."""
    facts = {
        "merged": f"{_adapters(exported.adapters)} into {exported.layers} layers",
        "stops at": " ".join(exported.stop_tokens),
    }
    told = [f"  {key:<18} {value}" for key, value in facts.items()]
    for part in exported.parts:
        told += _part(part)
    return [*told, *(f"note: {note}" for note in exported.notes)]


def _part(part: Any) -> list[str]:
    proof = part.proof
    files = "1 file" if part.weight_files == 1 else f"{part.weight_files} files"
    facts = {
        "weights": f"{part.weights}, {files}, {part.bytes / 1e6:,.1f} MB in all",
        "opened by": f"{proof.reader}, in a process of its own",
        "largest |dlogit|": f"{proof.largest_difference:.2g}, allowed {proof.bound:.2g} "
        f"(computed in {proof.compute_dtype})",
        "KL divergence": f"{proof.kl:.2g} nats, allowed {proof.kl_bound:.2g}",
        "same first choice": f"{proof.argmax_equal:.2%} of {proof.positions} positions",
    }
    facts |= {door.name: door.said for door in proof.doors if door.name != "logits"}
    if proof.worn is not None:
        facts["lost in rounding"] = f"{proof.worn:.2g} of what the adapter changed"
    return [f"{part.format}", *(f"  {key:<18} {value}" for key, value in facts.items())]
