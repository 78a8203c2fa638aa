"""Examples made in a test, as a run has them: in a token store."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tunesmith.data import token_store
from tunesmith.types import Example


def stored(examples: Sequence[Example], held_out: Sequence[bool] = ()) -> token_store.Examples:
    """A store of the examples; those that follow one another with one origin are one row."""
    with tempfile.TemporaryDirectory() as folder, token_store.Writer(Path(folder)) as writer:
        rows: list[list[Example]] = []
        for example in examples:
            if rows and rows[-1][0].origin == example.origin:
                rows[-1].append(example)
            else:
                rows.append([example])
        lengths = [len(example.ids) for example in examples]
        writer.counts.whole.update(lengths)
        writer.counts.needed.update(lengths)
        for number, row in enumerate(rows):
            writer.add(row, held_out=bool(held_out and held_out[number]))
        writer.finish()
        return token_store.read(Path(folder), list(writer.sources))


def sides(
    train: Sequence[Example], held_out: Sequence[Example]
) -> tuple[token_store.Examples, token_store.Examples]:
    """Both sides of one store."""
    whole = stored([*train, *held_out])
    first = np.arange(len(whole)) < len(train)
    return whole.choose(first), whole.choose(~first)
