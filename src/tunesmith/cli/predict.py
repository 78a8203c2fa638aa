"""`tunesmith predict run.yaml`: answer every row of a data set, and compare with its answers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.cli import target
from tunesmith.cli.command import command
from tunesmith.config.load import require
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError, OutputError, TemplateError

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found
    from tunesmith.data.media.family import Family
    from tunesmith.eval.questions import Questions

_TOOLS = json.dumps([{"name": "tool", "description": "", "parameters": {"type": "object"}}])
"""Any tools: how calls are written does not depend on which there are."""


def options(parser: argparse.ArgumentParser) -> None:
    """Which model is asked, and where its answers go."""
    parser.add_argument("--base", action="store_true", help="the base model, without the adapter")
    parser.add_argument("--output", type=Path, help="directory of the files; else output_dir")


class _Asked(NamedTuple):
    """What is asked of which model."""

    run: Run
    found: Found
    questions: Questions
    notes: list[str]
    tools: bool
    """Whether a row has tools or calls them."""
    family: Family | None
    """What the model makes of media; `None`: the rows have none."""


def run(arguments: argparse.Namespace) -> int:
    """Answer, write, compare, print."""
    asked = target.read(arguments.target, arguments.overrides)
    out = _output(asked, arguments.output)
    require(asked, "model_name_or_path")
    if not arguments.base:
        _refuse_untrained(asked)
    from tunesmith import store
    from tunesmith.cli.engines import uses_vllm
    from tunesmith.eval.text_scores import libraries
    from tunesmith.training.report import Silent, report_for

    libraries()
    uses_vllm(asked)
    report = Silent() if arguments.json else report_for(sys.stderr)
    material = _gather(asked, report, base=arguments.base)
    with store.lock(out):
        results, shown = _predict(material, out, report, base=arguments.base)
    report.close()
    if arguments.json:
        print(json.dumps(results, ensure_ascii=False))
        return 0
    print("".join(f"note: {note}\n" for note in results["notes"]), end="")
    print(f"{results['model']} on {len(material.questions):,} rows of {results['rows_of']}")
    print("\n".join(shown))
    print(f"result  {out}")
    return 0


def _output(asked: Run, given: Path | None) -> Path:
    if given is not None:
        return given
    if asked.output.output_dir is None:
        raise ConfigError(
            asked.where("output_dir"), need="a directory for the answers",
            hint="output_dir=DIR, or --output DIR",
        )  # fmt: skip
    return Path(str(asked.output.output_dir))


def _refuse_untrained(asked: Run) -> None:
    """Answers of the base under the name of a run would pass for its own."""
    output = asked.output.output_dir
    if target.served(asked).complete or not asked.dataset.dataset or output is None:
        return
    raise OutputError(
        str(output), got="no result of this run", need="a finished run",
        hint=f"{command('train', asked.path or output)}, or --base for the model as it is",
    )  # fmt: skip


def _gather(asked: Run, report: Any, *, base: bool) -> _Asked:
    """Model directory, template, rows; no weights."""
    from tunesmith.cli import answering
    from tunesmith.cli.eval import mixed_as_trained, trained_on
    from tunesmith.eval.questions import Questions, tail_of
    from tunesmith.training.material import examples
    from tunesmith.training.seeing import family_for

    if not asked.holds_out and not asked.dataset.dataset:
        raise ConfigError(
            asked.where("eval_dataset"), got="no rows", need="rows to answer",
            hint="eval_dataset=NAME",
        )  # fmt: skip
    found = answering.find(asked, report, on_the_day_of_training=True)
    asked = mixed_as_trained(asked, found)
    # the loss on a prompt decides nothing here, and would hide where the answer begins
    asked = asked.model_copy(
        update={"dataset": asked.dataset.model_copy(update={"train_on_prompt": False})}
    )
    split = found.split_special_tokens
    family = family_for(asked, found.directory, found.tokenizer)
    prepared = examples(
        asked, found.renderer, found.tokenizer, report, split_special_tokens=split, family=family
    )
    notes = [*found.notes]
    if asked.holds_out:
        rows = prepared.eval
        notes += [] if base else trained_on(asked, found, prepared)
    else:
        rows = prepared.train.distinct()
        notes.append("these are the rows of `dataset`, which a run trains on: nothing is held out")
    questions = Questions(rows, tail_of(found.renderer, found.tokenizer))
    return _Asked(asked, found, questions, notes, prepared.tools, family)


def _predict(
    material: _Asked, out: Path, report: Any, *, base: bool
) -> tuple[dict[str, Any], list[str]]:
    """Answer what is not answered yet; what the result file holds, and lines for people."""
    from tunesmith import store
    from tunesmith.cli import answering, engines
    from tunesmith.data.media.feed import Feed
    from tunesmith.eval.figures import figures
    from tunesmith.eval.predict import Asking, Files, predict

    asked, found, questions, notes, *_ = material
    sampling = answering.sampling(asked, found)
    if engines.uses_vllm(asked) and (adapter := _adapter(asked, found, base)) is not None:
        engines.rank_of(asked, adapter)  # refused before anything is written
    notes += _room(material, sampling.max_new_tokens)
    settings = {k: v for k, v in sampling._asdict().items() if k not in ("sources", "logit_bias")}
    identity = {
        "model": _model(material, base=base),
        "rows": questions.fingerprint(),
        "settings": settings,
    }
    files = Files(out, identity, overwrite=asked.output.overwrite_output_dir)
    notes += [f"the old file is now {path}" for path in files.moved]
    store.make_directory(out)

    def asking() -> Asking:
        report.say("\n".join(sampling.lines()))
        over, model = None, None
        if engines.uses_vllm(asked):
            if material.family is not None:
                engines.refuse_vllm(asked, "predict with media")
            over = engines.over_vllm(asked, found, {None: _adapter(asked, found, base)}, report)
        else:
            model = answering.load(asked, found, base_only=base)
            answering.settle(model)
        engine = found.engine(model)
        read, lost = _reader(material, engine)
        notes.extend(lost)
        return Asking(engine, sampling, read, over=over, see=Feed(material.family))

    began = time.monotonic()
    rows, new = predict(
        asking, questions, files, progress=lambda done, of: report.work("answering", done, of)
    )
    figured = figures(rows)
    metrics = figured.prefixed("predict") | files.pace(new, time.monotonic() - began)
    results = {
        **metrics,
        **figured.as_dict(),
        "model": f"the base model {found.served.model}" if base else found.served.note,
        "rows_of": "the held-out rows" if asked.holds_out else "dataset",
        "settings": settings,
        "notes": notes,
    }
    files.finish(results, figured.picture(f"{out.name}: {len(rows):,} rows"))
    width = max(map(len, metrics))
    shown = [f"  {key:<{width}}  {value:,.6g}" for key, value in metrics.items()]
    return results, [*shown, *figured.lines()]


def _adapter(asked: Run, found: Found, base: bool) -> Path | None:
    """The adapter that vLLM answers with."""
    if len(found.adapters) > 1 and not base:
        raise ConfigError(
            asked.where("adapter_name_or_path"), got=f"{len(found.adapters)} adapters, and vllm",
            need="one adapter at most", hint="tunesmith export merges them",
        )  # fmt: skip
    return found.adapters[0] if found.adapters and not base else None


def _model(material: _Asked, *, base: bool) -> dict[str, Any]:
    """What decides an answer beside its row and the settings of the draw."""
    from tunesmith.training.fingerprints import fingerprint

    asked, found = material.run, material.found
    return {
        "base": fingerprint(found.directory),
        "adapters": [] if base else [fingerprint(path) for path in found.adapters],
        "quantization": str(asked.model.quantization or ""),
        "precision": [asked.train.bf16, asked.train.fp16, *_other(asked)],
        "stop_words": list(found.renderer.stop_words),
    }


def _other(asked: Run) -> list[str]:
    """Engine and precision, where they are not the usual ones."""
    infer = asked.infer
    said = [infer.infer_backend, infer.infer_dtype]
    return [] if said == ["huggingface", "auto"] else said


def _room(material: _Asked, wanted: int) -> list[str]:
    """A note where the context cuts answers short.

    Raises:
        DataError: a prompt leaves no room at all.
    """
    from tunesmith.cli.engines import context_of

    context = context_of(material.run, material.found.directory)
    short = material.questions.room(context, wanted)
    left = f"the context of {context:,} tokens leaves" if short else ""
    return [f"{left} less than max_new_tokens {wanted:,} to {short:,} rows"] if short else []


def _reader(material: _Asked, engine: Any) -> tuple[Any, list[str]]:
    """How answers are read; a note where calls of tools cannot be."""
    found = material.found
    if not material.tools:
        return found.read(engine, None), []
    try:
        return found.read(engine, _TOOLS), []
    except TemplateError as error:
        return found.read(engine, None), [f"calls of tools are not compared: {error.line()}"]
