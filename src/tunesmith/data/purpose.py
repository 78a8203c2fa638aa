"""What the rows of a dataset are for: which of them a stage can learn from.

The one stage there is, `sft`, learns answers. Pairs of answers, labelled answers, running text, and
media that the model does not take are read and checked as all rows are (`survey.py`), and refused
where `sft` would learn something else from them than they say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tunesmith.data.entry import Entry, spelled_out
from tunesmith.data.formats.media import columns_of
from tunesmith.errors import DataError

Takes = Collection[str] | None
"""Kinds of media: image, video, audio."""


class UnfitError(DataError):
    """A dataset whose rows are for another stage or another kind of model; its rows may be sound.

    `survey.survey` reads them all the same.
    """


def of_answers(entries: Sequence[Entry], takes: Takes = ()) -> Sequence[Entry]:
    """The same datasets, if the answers of all of them are learned as they stand.

    Args:
        entries: of the registry.
        takes: kinds of media that the model takes; `None`: not known yet, all are let pass.

    Raises:
        UnfitError: the first that is for another stage or another kind of model.
    """
    for error in filter(None, (refusal(entry, takes) for entry in entries)):
        raise error
    return entries


def refusal(entry: Entry, takes: Takes = ()) -> UnfitError | None:
    """Why `sft` cannot learn from a dataset; `None`: it can.

    What is said of a plain path holds once its rows have shown their layout.

    Args:
        entry: of the registry.
        takes: kinds of media that the model takes; `None`: not known yet, all are let pass.
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
    taken = media if takes is None else [f"{kind}s" for kind in takes]
    if set(media) - set(taken):
        need = f"text and {' and '.join(taken)}, which are what the model takes"
        return UnfitError(
            entry.place,
            got=f"rows with {' and '.join(media)} ({_named(media)})",
            need=need if taken else "a model that takes them, or a dataset of text",
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
