"""What the rows of a dataset are for: which of them a stage can learn from.

The one stage there is, `sft`, learns answers. Pairs of answers, labelled answers, media and
running text are read and checked as all rows are (`survey.py`), and refused where `sft` would
learn something else from them than they say.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.data.entry import Entry, spelled_out
from tunesmith.data.formats.media import columns_of
from tunesmith.errors import DataError


class UnfitError(DataError):
    """A dataset whose rows are for another stage or another kind of model; its rows may be sound.

    `survey.survey` reads them all the same.
    """


def of_answers(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The same datasets, if the answers of all of them are learned as they stand.

    Raises:
        UnfitError: the first that is for another stage or another kind of model.
    """
    for error in filter(None, map(refusal, entries)):
        raise error
    return entries


def refusal(entry: Entry) -> UnfitError | None:
    """Why `sft` cannot learn from a dataset; `None`: it can.

    What is said of a plain path holds once its rows have shown their layout.
    """
    columns, media = entry.columns, columns_of(entry.columns)
    if entry.formatting == "text":
        return UnfitError(
            entry.place,
            got="formatting text: rows without answers",
            need="a dataset of answers: stage sft learns from them",
            hint="columns prompt and response, if the rows have an answer",
        )
    if entry.ranking:
        return UnfitError(
            entry.place,
            got="pairs of a chosen and a rejected answer (ranking: true)",
            need="a dataset of answers: stage sft learns from them; pairs are for preference "
            "stages, which are not there yet",
            hint=f"to learn the chosen answers: {_line(entry, response=columns.chosen)}",
        )
    if columns.kto_tag is not None:
        return UnfitError(
            entry.place,
            got=f"answers labelled good or bad (kto_tag: {columns.kto_tag})",
            need="a dataset of answers to learn: stage sft would learn the bad ones too; labels "
            "are for the stage kto, which is not there yet",
            hint=f"to learn them all the same: {_line(entry)}",
        )
    if media:
        return UnfitError(
            entry.place,
            got=f"rows with {' and '.join(media)} ({_named(media)})",
            need="a dataset of text: models that see or hear are not there yet",
            hint=f"to learn the words alone, placeholders among them: {_line(entry)}",
        )
    return None


def _named(columns: dict[str, str]) -> str:
    return ", ".join(f"{key}: {name}" for key, name in columns.items())


def _line(entry: Entry, *, response: str | None = None) -> str:
    """An entry that reads the same rows as plain answers."""
    plain = dict.fromkeys(("chosen", "rejected", "kto_tag", *columns_of(entry.columns)))
    columns = entry.columns._replace(**plain)
    columns = columns._replace(response=response or columns.response)
    return spelled_out(entry._replace(columns=columns, ranking=False))
