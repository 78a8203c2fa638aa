"""Media of a batch, read: the last thing before the model, while the batch before it computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tunesmith.data.media.family import Family
from tunesmith.data.media.recall import Recall
from tunesmith.types import Batch, Media, Seen


class Feed:
    """Reads the media of batches; batches without any are given back as they are.

    Args:
        family: what the model makes of media; `None`: it takes none.
        alone: documents with media are computed one by one.
        recall: pictures that need not be read, since what the tower makes of them is known.
    """

    def __init__(
        self, family: Family | None, *, alone: bool = False, recall: Recall | None = None
    ) -> None:
        self.family, self.recall = family, recall
        self.alone = family is not None and (alone or family.alone)

    def room(self, max_tokens: int) -> int:
        """Tokens that a batch may hold; 1: each document has a batch of its own."""
        return 1 if self.alone else max_tokens

    def __call__(self, batch: Batch) -> Batch:
        """The batch with what the model takes of its media.

        Raises:
            RowError: a medium that cannot be read any more.
        """
        if not batch.media:
            return batch
        assert self.family is not None, "rows with media have been refused"
        every = [medium for media in batch.media for medium in media]
        known = self.recall(every) if self.recall else None
        inputs = self.family.inputs(every) if known is None else known.inputs
        inputs |= self.family.beside(batch)
        positions = self.family.positions(batch, inputs)
        later = self.family.later(inputs)
        made = None if known is None else known.made
        return batch._replace(seen=Seen(inputs, positions, self.family.alone, later, made))

    def prompt(self, ids: Sequence[int], media: Sequence[Media]) -> Seen | None:
        """What the model takes of the media of a prompt; `None`: it has none.

        Args:
            ids: of the prompt.
            media: in the order of their places among the ids.

        Raises:
            RowError: a medium that cannot be read.
        """
        if not media:
            return None
        ids_T, none = torch.tensor(ids), torch.zeros(0, dtype=torch.int64)
        batch = Batch(
            ids_T, torch.arange(len(ids)), (0, len(ids)), none, none, media=(tuple(media),)
        )
        return self(batch).seen
