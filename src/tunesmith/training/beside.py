"""What stands beside the weights of a run, the same in every checkpoint and in the result."""

from __future__ import annotations

from typing import Any

from tunesmith.config.run import Run
from tunesmith.models import adapters, lineage
from tunesmith.models.processor import files_of
from tunesmith.templates import jinja_to_serve, stop_ids
from tunesmith.training.material import Material
from tunesmith.training.outputs import Written, generation_config
from tunesmith.training.plan import Plan


def written(run: Run, plan: Plan, material: Material, model: Any) -> Written:
    """Tokenizer, template, stops and what the weights were trained over.

    Args:
        run: what was asked.
        plan: what will happen.
        material: what was found.
        model: with what is trained.
    """
    ids = stop_ids(material.renderer, material.tokenizer)
    known = [w for w in material.renderer.stop_words if material.tokenizer.id_of(w) is not None]
    adapter = bool(adapters.attached(model))
    return Written(
        run=run,
        plan=plan,
        tokenizer=material.tokenizer,
        chat_template=jinja_to_serve(material.renderer, material.tokenizer),
        eos=known[0] if known else None,
        generation=generation_config(
            material.directory,
            ids,
            control=material.tokenizer.backend.get_added_tokens_decoder().keys(),
        ),
        lineage=_lineage(run, material) if adapter else {},
        processor=files_of(material.directory),
        base=None if material.adapters else material.directory,
    )


def _lineage(run: Run, material: Material) -> dict[str, str]:
    new = getattr(run.method, "create_new_adapter", False)
    below = material.adapters if new else material.adapters[:-1]
    held = str(run.model.quantization or "")
    return lineage.lineage(material.directory, below, quantization=held)
