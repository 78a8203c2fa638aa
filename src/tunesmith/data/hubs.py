"""Datasets of the hubs: which files a subset and a split are, brought by the hubs' own libraries.

`datasets` reads the card of a dataset and the names of its files; the rows are read here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.data.entry import Entry, nearest
from tunesmith.errors import DataError

if TYPE_CHECKING:
    from tunesmith.data.fetch import Access

_HF_PREFIX = "hf://datasets/"


def huggingface(entry: Entry, access: Access, datasets: Any) -> tuple[Path, ...]:
    """The files of a split of a dataset on Hugging Face, in its cache.

    Args:
        entry: with `hf_hub_url`.
        access: token and cache.
        datasets: the library.

    Raises:
        DataError: no such dataset, subset or split, or no answer.
    """
    import huggingface_hub

    found = _files(
        entry, datasets, entry.value, {"token": access.hf_token, "data_dir": entry.folder}
    )
    paths = []
    for url in found:
        repository, _, rest = url.removeprefix(_HF_PREFIX).partition("@")
        revision, _, name = rest.partition("/")
        try:
            paths.append(
                huggingface_hub.hf_hub_download(
                    repository, name, revision=revision, repo_type="dataset",
                    token=access.hf_token, cache_dir=access.cache_dir,
                )
            )  # fmt: skip
        except Exception as error:  # the library lets pass whatever its transports raise
            raise _no_answer(entry, error) from None
    return tuple(map(Path, paths))


def modelscope(entry: Entry, access: Access, snapshot: Any, datasets: Any) -> tuple[Path, ...]:
    """The files of a split of a dataset on ModelScope, in its cache.

    Args:
        entry: with `ms_hub_url`.
        access: token and cache.
        snapshot: `modelscope.hub.snapshot_download`.
        datasets: the library that knows what a split is.

    Raises:
        DataError: no such dataset, subset or split, or no answer.
    """
    logging.getLogger("modelscope_hub").setLevel(logging.WARNING)
    wanted = [f"{entry.folder.rstrip('/')}/*", "README.md"] if entry.folder else None
    try:
        directory = snapshot.dataset_snapshot_download(
            entry.value, allow_patterns=wanted, token=access.ms_token, cache_dir=access.cache_dir,
        )  # fmt: skip
    except Exception as error:  # as above
        raise _no_answer(entry, error) from None
    found = _files(entry, datasets, str(directory), {"data_dir": entry.folder})
    return tuple(map(Path, found))


def _files(entry: Entry, datasets: Any, path: str, options: Mapping[str, Any]) -> Sequence[str]:
    """Names of the files of the entry's split.

    Raises:
        DataError: the library finds none, or another split.
    """
    datasets.utils.logging.set_verbosity_error()
    try:
        builder = datasets.load_dataset_builder(path, name=entry.subset, **options)
    except Exception as error:  # as above
        raise _no_answer(entry, error) from None
    splits = builder.config.data_files or {}
    if entry.split not in splits:
        near = nearest(entry.split, splits)
        raise DataError(
            entry.place,
            got=f"split: {entry.split}, which {entry.value} does not have",
            need=f"one of {', '.join(map(str, splits)) or 'its splits; it has no files'}",
            hint=f'"split": "{near or next(iter(splits), "train")}"',
        )
    return [str(file) for file in splits[entry.split]]


def _no_answer(entry: Entry, error: Exception) -> DataError:
    from huggingface_hub import constants

    said = " ".join(str(error).split())[:200] or type(error).__name__
    offline = entry.source == "hf_hub_url" and constants.HF_HUB_OFFLINE
    why = "; HF_HUB_OFFLINE is set, and it is not in the cache" if offline else ""
    return DataError(
        entry.place,
        got=f"{entry.source}: {entry.value}: {type(error).__name__}: {said}{why}",
        need="a dataset that this hub gives you, with that subset and folder",
        hint="check name, subset and token; or download it and name the files: file_name",
    )
