"""All rows of some datasets, read and counted without a model: what is in them, and for what.

For datasets that no stage can learn from yet, and for whoever wants to know before choosing a
model. Everything is checked that can be seen without a template and a tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.data import registry
from tunesmith.data.fetch import NO_ACCESS, Access, fetch
from tunesmith.data.ledger import Ledger
from tunesmith.data.purpose import UnfitError
from tunesmith.data.reader import Reader


class Survey(NamedTuple):
    """What was found."""

    ledger: Ledger
    """Closed; its notes say what the rows hold, and which datasets are not for `sft`."""
    unfit: tuple[UnfitError, ...]
    """Of each dataset that `sft` cannot learn from, what a run on it is told."""


def survey(
    *,
    dataset: Sequence[registry.Item],
    eval_dataset: Sequence[registry.Item] = (),
    dataset_dir: Path,
    media_dir: Path | None = None,
    max_samples: int | None = None,
    seed: int = 42,
    where: Callable[[str], str] = str,
    access: Access = NO_ACCESS,
) -> Survey:
    """Read and check all rows; a bad row is in the ledger, and stops nothing.

    Args:
        dataset: names, paths or entries.
        eval_dataset: held-out datasets.
        dataset_dir: where `dataset_info.json` stands.
        media_dir: where paths of media begin; `None`: where the entries' own paths do.
        max_samples: the first rows of each dataset, `None`: all.
        seed: of the samples that entries ask for.
        where: the place of a key of the run, for errors about what stands in it.
        access: what may be used to get datasets from elsewhere.

    Raises:
        DataError: an entry of the registry, a file that cannot be read or that holds no row.
    """
    ledger = Ledger()
    reader = Reader(
        ledger, None, max_samples=max_samples, seed=seed, stop=False, media_dir=media_dir
    )
    asked = {"dataset": dataset, "eval_dataset": eval_dataset}
    for key, items in asked.items():
        for entry in registry.load(dataset_dir, items, where(key)):
            reader.count(fetch(entry, access))
    ledger.close()
    return Survey(ledger, tuple(reader.unfit))
