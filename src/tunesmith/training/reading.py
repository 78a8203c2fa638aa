"""The rows of a run as it would learn them: with its tokenizer and template, without its weights.

For the verbs about data; what a plan wants beyond that is gathered in `material.py`.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import NamedTuple

from tunesmith.config.load import require
from tunesmith.config.run import Run
from tunesmith.data import purpose, registry
from tunesmith.data import survey as surveys
from tunesmith.data.prepare import Prepared
from tunesmith.data.survey import Survey
from tunesmith.models import facts
from tunesmith.templates import Renderer
from tunesmith.training import material, reach, resume, seeing
from tunesmith.training.report import Report
from tunesmith.training.wanted import check_tokenizer
from tunesmith.types import Tokenizer


class Wording(NamedTuple):
    """How the rows of a run are put into tokens."""

    tokenizer: Tokenizer
    renderer: Renderer
    notes: tuple[str, ...]
    """What the template wants of the tokenizer and does not get."""
    directory: Path
    """Plain transformers directory of the model."""
    carries_state: bool = False
    """Whether the model does from token to token; see `units.unit_of`."""


class Reading(NamedTuple):
    """The rows of a run and how they were put into tokens."""

    wording: Wording
    data: Prepared


def wording(run: Run, report: Report) -> Wording:
    """Tokenizer and template as the run would have them; weights need not be there.

    Raises:
        Error: a model, tokenizer or template that cannot be used.
    """
    require(run, "model_name_or_path", "dataset")
    name = str(run.model.model_name_or_path)
    directory = material.fetch(run, name, report, weights=False)
    adapters = tuple(material.fetch(run, one, report) for one in run.model.adapter_name_or_path)
    known = facts.facts(directory, trust_remote_code=run.model.trust_remote_code)
    today = day(run) or datetime.date.today()
    words = material.worded(run, directory, adapters, known.vocab, today=today)
    checked = check_tokenizer(run, words.renderer, words.tokenizer, words.extended.rows)
    return Wording(words.tokenizer, words.renderer, checked, directory, known.carries_state)


def read(run: Run, report: Report, *, whole: bool = False) -> Reading:
    """The examples of a run and what became of every row.

    Args:
        run: what was asked.
        report: what the user sees meanwhile.
        whole: read on where rows stop the run; `Reading.data.refusal` says whether they do.

    Raises:
        Error: whatever is missing or wrong; rows that stop the run, unless `whole`; datasets
            that are for another stage, before a model is asked for.
    """
    _refuse_unfit(run)
    found = wording(run, report)
    family = seeing.family_for(run, found.directory, found.tokenizer)
    data = material.examples(
        run, found.renderer, found.tokenizer, report, family=family, whole=whole
    )
    return Reading(found, data)


def _refuse_unfit(run: Run) -> None:
    """What the registry says of datasets is told before a model is asked for."""
    reach.refuse_elsewhere(run)
    for key in ("dataset", "eval_dataset"):
        items = getattr(run.dataset, key)
        entries = registry.load(run.dataset.dataset_dir, items, run.where(key))
        purpose.of_answers(entries, takes=None)


def survey(run: Run) -> Survey:
    """All rows of a run, whatever they are for, read without its model.

    Raises:
        Error: an entry of the registry, or a file that cannot be read.
    """
    dataset = run.dataset
    return surveys.survey(
        dataset=dataset.dataset,
        eval_dataset=dataset.eval_dataset,
        dataset_dir=dataset.dataset_dir,
        media_dir=dataset.media_dir,
        max_samples=dataset.max_samples,
        seed=run.train.seed,
        where=run.where,
        access=reach.access(run),
    )


def day(run: Run) -> datetime.date | None:
    """That of the start which a run would go on from, if any: its rows may hold the date."""
    if run.output.output_dir is None or run.train.resume_from_checkpoint is False:
        return None
    return resume.day(Path(run.output.output_dir))
