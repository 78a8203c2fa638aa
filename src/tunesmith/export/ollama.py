"""`ollama`: a GGUF file with the Modelfile that renders the text of training, in one directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith import store
from tunesmith.errors import TemplateError
from tunesmith.export import gguf_file as gguf
from tunesmith.export.job import Format, Job, Written
from tunesmith.export.said import Questions, Said

_FROM = "FROM ."


def check(kind: gguf.Kind | None, job: Job) -> Sequence[str]:
    """Refuse what Go's templates cannot express, and what a GGUF file cannot hold."""
    serving, notes = job.serving, gguf.check(kind or gguf.OF_DTYPE[job.stored], job)
    if serving.modelfile is None or serving.without_modelfile:
        raise TemplateError(
            "export_format: ollama",
            got=serving.without_modelfile or "no template that can be written as a Modelfile",
            need="a template that Go's templates can express whole",
            hint="template: NAME in the run file, or export_format: gguf-f16",
        )
    return notes


def write(kind: gguf.Kind | None, job: Job, model: Any, place: Path) -> Written:
    """Write the file, and the Modelfile that names it."""
    kind = kind or gguf.OF_DTYPE[job.stored]
    written = gguf.write(kind, job, model, place, begins=False)
    text = job.serving.modelfile
    assert text is not None, "refused by check"
    assert text.startswith(f"{_FROM}\n"), "a Modelfile begins with what it is made from"
    named = f"FROM ./{gguf.file_name(kind)}{text.removeprefix(_FROM)}"
    store.write_text(place / "Modelfile", named)
    return written


def _without_begin(job: Job, questions: Questions, said: Said) -> tuple[Questions, Said]:
    """The template writes the begin token, so the file must not have a second one added."""
    questions, said = gguf.composed(job, questions, said)
    if said.ids is None:
        return questions, said
    begin, ids = job.serving.tokenizer.id_of(job.serving.tokenizer.bos), list(said.ids)
    for i in range(1, len(ids), 2):  # a text may begin with that token itself
        if ids[i] == [begin, *ids[i - 1]]:
            ids[i] = ids[i - 1]
    return questions, said._replace(ids=ids)


def _of(kind: gguf.Kind | None) -> Format:
    def real(job: Job) -> gguf.Kind:
        return kind or gguf.OF_DTYPE[job.stored]

    return Format(
        "ollama" if kind is None else f"ollama-{kind}",
        check=lambda job: check(kind, job),
        write=lambda job, model, place: write(kind, job, model, place),
        bound=lambda job: gguf.bound(real(job), job),
        bytes_of=lambda job, weights: gguf.bytes_of(real(job), job, weights),
        opens="gguf",
        rounds=kind in ("q8_0", "q4_k_m"),
        asks=_without_begin,
    )


FORMATS: Mapping[str, Format] = {form.name: form for form in map(_of, (None, "q8_0", "q4_k_m"))}
