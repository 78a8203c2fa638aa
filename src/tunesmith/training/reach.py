"""What a run may read its data from: paths that are here, hubs and scripts that it allows."""

from __future__ import annotations

from tunesmith.config.run import Run
from tunesmith.data import registry
from tunesmith.data.fetch import Access
from tunesmith.errors import ConfigError


def refuse_elsewhere(run: Run) -> None:
    """Paths that are not here but beside the run file.

    Raises:
        ConfigError: the first of them, with the directory to call the run from.
    """
    dataset = run.dataset
    every = {"dataset": dataset.dataset, "eval_dataset": dataset.eval_dataset}
    paths = [(key, registry.local_path(item)) for key, items in every.items() for item in items]
    items = [item for items in every.values() for item in items if isinstance(item, str)]
    if any(registry.local_path(item) is None for item in items):
        paths.append(("dataset_dir", str(dataset.dataset_dir)))
    for key, path in paths:
        if path is not None and (hint := run.beside(path)):
            raise ConfigError(run.where(key), got=path, need="a path that is there", hint=hint)


def access(run: Run) -> Access:
    """What the run allows for datasets that are not here."""
    hf, ms = run.model.hf_hub_token, run.model.ms_hub_token
    return Access(
        code=run.model.trust_remote_code,
        hf_token=hf.get_secret_value() if hf else None,
        ms_token=ms.get_secret_value() if ms else None,
        cache_dir=run.model.cache_dir,
    )
