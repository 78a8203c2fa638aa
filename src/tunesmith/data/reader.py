"""Rows of the run's datasets as conversations; what cannot be read goes to the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tunesmith.data import purpose, registry
from tunesmith.data.convert import Converter, laid_out
from tunesmith.data.examples import Said
from tunesmith.data.formats.answers import conversations
from tunesmith.data.formats.detect import MEDIA_NAMES
from tunesmith.data.formats.media import columns_of
from tunesmith.data.ledger import Ledger, RowError, Skip, counted
from tunesmith.data.population import Population, population
from tunesmith.data.rows import Row, Source, open_sources, rows
from tunesmith.errors import DataError
from tunesmith.templates import ANSWERING, Renderer, Template
from tunesmith.templates.thoughts import unsilenced
from tunesmith.types import Conversation, Meaning, Origin

Pick = Callable[[registry.Entry, Iterator[Row | Skip]], Iterator[Row | Skip]]


class Reader:
    """Reads the rows of datasets; what cannot be read goes to the ledger.

    Args:
        ledger: of the run.
        renderer: the template, in whose words the rows are put; `None`: they are only counted.
        max_samples: the first rows of each dataset, `None`: all.
        seed: of the samples that entries ask for.
        stop: after a bad row the others are only counted.
        pick: which rows of a dataset are asked what they say, given all of them; `None`: all.
        media_dir: where paths of media begin; `None`: where the entry's own do.
        only: the rows that are read of each entry; `None`: those that the run takes.
        takes: kinds of media that the model takes, of rows that are to be learned.
    """

    def __init__(
        self,
        ledger: Ledger,
        renderer: Renderer | None,
        *,
        max_samples: int | None = None,
        seed: int = 42,
        stop: bool = True,
        media_dir: Path | None = None,
        pick: Pick | None = None,
        only: Sequence[Population] | None = None,
        takes: purpose.Takes = (),
    ) -> None:
        self.ledger, self.renderer, self.stop = ledger, renderer, stop
        self.max_samples, self.seed, self.media_dir = max_samples, seed, media_dir
        self.unfit: list[purpose.UnfitError] = []
        """Why no stage can learn from a dataset that has been counted."""
        self._pick, self._only, self._takes = pick, only, takes
        self._marked = 0

    def said(self, entries: Sequence[tuple[registry.Entry, bool]]) -> Iterator[Said]:
        """What the rows say, in order.

        Raises:
            DataError: a file that cannot be read, or that holds no row.
            UnfitError: rows that are no answers to learn.
        """
        for place, (entry, held_out) in enumerate(entries):
            only = self._only[place] if self._only else None
            for found, origin in self._read(entry, to_learn=True, only=only):
                assert isinstance(found, Conversation), "other rows have been refused"
                self._marked += any([m.trained is False for m in found.messages])
                if not (self.stop and self.ledger.bad):
                    yield Said(found, origin, held_out)

    def count(self, entry: registry.Entry) -> None:
        """Read all rows of a dataset, whatever they are for; the good ones count as used.

        A dataset that no stage can learn from is remembered in `unfit`.

        Raises:
            DataError: a file that cannot be read, or that holds no row.
        """
        for _, origin in self._read(entry, to_learn=False):
            self.ledger.use(origin.file)

    def learned_all_the_same(self) -> list[str]:
        """Of `train_on_prompt`: rows that say otherwise."""
        what = "rows mark messages as context; train_on_prompt learns them all the same"
        return [f"{self._marked:,} {what}"] if self._marked else []

    def _read(
        self, entry: registry.Entry, *, to_learn: bool, only: Population | None = None
    ) -> Iterator[tuple[Meaning, Origin]]:
        """The rows of a dataset that can be used."""
        found, notes = self.chosen(entry, only), self.ledger.notes
        entry, found, told = laid_out(entry, found)
        unfit = purpose.refusal(entry, self._takes)
        if unfit is not None and to_learn:
            raise unfit
        convert = Converter(entry, self.renderer, media_dir=self.media_dir)
        count = 0
        found = islice(found, self.max_samples)
        for row in found if self._pick is None else self._pick(entry, found):
            count += 1
            self.ledger.read(row.origin.file)
            if isinstance(row, Skip):
                self.ledger.skip(row)
                continue
            try:
                said = convert(row)
            except RowError as error:
                self.ledger.skip(Skip.of(error, row.origin))
                continue
            self.ledger.tools |= any(
                text.tools or any([message.calls for message in text.messages])
                for text in conversations(said)
            )
            yield said, row.origin
        if not count:
            paths = ", ".join(map(str, entry.paths))
            raise DataError(paths, got="no rows", need="at least one row")
        notes += [*told, *convert.notes(count)]
        for finding in convert.findings():
            self.ledger.find(*finding)
        self.unfit += [unfit] if unfit is not None else []

    def chosen(self, entry: registry.Entry, only: Population | None = None) -> Iterator[Row | Skip]:
        """The rows of a dataset, or a sample of them where the entry asks for one.

        Where it asks for more than there are, all of them: the mix repeats them, not the store.

        Args:
            entry: the dataset.
            only: those of them that are read; `None`: as the entry says.
        """
        samples = entry.num_samples
        if only is None and samples is not None:
            only = population(entry, max_samples=self.max_samples, seed=self.seed)
        if only is None:
            sources = [source for path in entry.paths for source in open_sources(path)]
        else:
            sources = only.sources
        self.ledger.notes += [source.note for source in sources if source.note]
        if only is not None and samples is not None:
            samples = min(samples, self.max_samples or samples)
            if samples > only.there:
                said = f"{entry.name}: num_samples {samples:,} of {counted(only.there)}"
                self.ledger.notes.append(f"{said}: training repeats them, evaluation does not")
                self.ledger.wanted[entry.name] = samples
        some = only is not None and len(only.numbers) < only.there
        yield from _rows(entry, sources, only.of_files() if only and some else None)


def _rows(
    entry: registry.Entry, sources: Sequence[Source], only: Sequence[list[int]] | None
) -> Iterator[Row | Skip]:
    """Rows of a dataset, one file after the other; all, or some of each."""
    columns = [name for name in entry.columns if name] if entry.formatting else None
    media = columns_of(entry.columns).values() if entry.formatting else MEDIA_NAMES
    for place, source in enumerate(sources):
        numbers = None if only is None else only[place]
        yield from rows(source, entry.name, columns=columns, media=media, only=numbers)


class Unasked:
    """Counts rows that think though nothing in their prompt asks for it.

    A Jinja template refuses rows under another prompt than the one that it serves.

    Args:
        renderer: the template.
        mask_history: of the run.
    """

    def __init__(self, renderer: Renderer, *, mask_history: bool) -> None:
        self.asked, self.marks = None, None
        if isinstance(renderer, Template):
            self.asked, self.marks = renderer.enable_thinking, renderer.format.thinking
        self.mask_history, self.number = mask_history, 0

    def counting(self, said: Iterable[Said]) -> Iterator[Said]:
        """The same rows."""
        for one in said:
            self.number += self.marks is not None and self._thinks(one.conversation)
            yield one

    def notes(self) -> Iterator[str]:
        """For the plan."""
        if self.number:
            value = "null" if self.asked is None else "false"
            yield (
                f"{counted(self.number)} with thoughts under enable_thinking: {value}: their "
                "answers are learned under the prompt that enable_thinking: true serves, the "
                f"others under that of {value}"
            )

    def _thinks(self, conversation: Conversation) -> bool:
        last = conversation.messages[-1]
        return any(
            message.role in ANSWERING
            and message.trained is not False
            and (message is last or message.trained or not self.mask_history)
            and unsilenced(message.content, self.marks, enable_thinking=self.asked)
            for message in conversation.messages
        )
