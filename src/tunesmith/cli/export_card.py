"""What the card of an export tells: data, settings, metrics and licence, where known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tunesmith import __version__
from tunesmith.config.dataset import names_of
from tunesmith.config.run import Run
from tunesmith.models import files
from tunesmith.models.card import CardFacts, title

_RESULTS = "all_results.json"
_LICENCE = re.compile(r"^license:\s*(\S.*?)\s*$", re.MULTILINE)


def about(asked: Run, base_dir: Path, out: Path, *, tuned: bool, data: Any = None) -> CardFacts:
    """The facts.

    Args:
        asked: the run.
        base_dir: of the base model; its own card states the licence.
        out: where the export goes.
        tuned: whether anything was learned.
        data: the rows of the run where they were prepared.
    """
    base = str(asked.model.model_name_or_path)
    facts = CardFacts(
        name=title(base, names_of(asked.dataset.dataset), tuned=tuned),
        base=base,
        is_adapter=False,
        tuned=tuned,
        directory=asked.export.export_hub_model_id or str(out),
        template=asked.dataset.template or "",
        stage=asked.method.stage,
        licence=licence(base_dir),
        version=__version__,
    )
    if not tuned:
        return facts
    return facts._replace(
        data={} if data is None else {part.dataset: part.used for part in data.mix},
        held_out_rows=0 if data is None else len(data.eval),
        settings={key: value for key, value in asked.asked.items() if value is not None},
        metrics=_metrics(asked),
    )


def licence(base_dir: Path) -> str | None:
    """What the front matter of the base's own card states."""
    path = base_dir / "README.md"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf8", errors="replace")
    front = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    found = _LICENCE.search(front)
    return found[1].strip("\"'") if found else None


def _metrics(asked: Run) -> dict[str, float]:
    if asked.output.output_dir is None:
        return {}
    found = files.read_json_if_there(asked.output.output_dir / _RESULTS)
    return {key: float(value) for key, value in found.items() if isinstance(value, int | float)}
