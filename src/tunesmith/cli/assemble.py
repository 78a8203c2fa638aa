"""`tunesmith assemble vlm.yaml`: a language model and a vision tower become a model that sees."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import store
from tunesmith.cli import target
from tunesmith.cli.command import following
from tunesmith.config.load import require
from tunesmith.config.run import Run
from tunesmith.errors import OutputError

if TYPE_CHECKING:
    from tunesmith.models.assemble import Assembled


def run(arguments: argparse.Namespace) -> int:
    """Put together, prove, print what it is."""
    asked = target.read(arguments.target, arguments.overrides)
    require(asked, "model_name_or_path", "vision_tower", "output_dir")
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    made = assemble(asked, report)
    report.close()
    if arguments.json:
        print(json.dumps({**made._asdict(), "directory": str(made.directory)}))
        return 0
    sizes = ", ".join(f"{part.replace('_', ' ')} {n:,}" for part, n in made.parameters.items())
    print(f"parts      {sizes} parameters")
    print(f"pictures   {made.patches:,} tokens each ({made.strategy})")
    print(f"{'token':<10} {made.image_token} (id {made.image_token_id}): {made.how}")
    print(f"proof      on text the logits of the language model, within {made.difference:.2g}")
    print(f"result     {made.directory}")
    print(following("chat", made.directory))
    return 0


def assemble(asked: Run, report: Any) -> Assembled:
    """Write the model that a run describes.

    Raises:
        Error: parts that cannot be had or joined; nothing is left behind then.
    """
    from tunesmith.models import assemble as making
    from tunesmith.models import facts
    from tunesmith.models import tokenizer as tokenizers
    from tunesmith.models.tower import open_tower
    from tunesmith.templates import Asked, choose, jinja_to_serve
    from tunesmith.training.material import fetch

    out = Path(str(asked.output.output_dir))
    if out.exists() and not asked.output.overwrite_output_dir:
        raise OutputError(
            str(out), got="a directory that is there", need="a new one",
            hint="overwrite_output_dir: true moves it aside",
        )  # fmt: skip
    parts = asked.assemble
    llm = fetch(asked, str(asked.model.model_name_or_path), report)
    making.refuse(llm)
    kind = parts.mm_projector_type
    layer = -1 if kind == "resampler" else parts.mm_vision_select_layer
    tower = open_tower(fetch(asked, str(parts.vision_tower), report, words=False), layer=layer)
    words_of = making.image_marks if kind == "resampler" else making.image_token
    words = words_of(tokenizers.load(llm), facts.facts(llm).vocab)
    renderer = choose(
        asked.dataset.template, words.tokenizer, Asked.of(asked.dataset), where=asked.where
    )
    template = jinja_to_serve(renderer, words.tokenizer)
    if template is None:
        raise OutputError(
            asked.where("template"), got=renderer.name, need="a template that Jinja can write"
        )
    if out.exists():
        report.say(f"the old directory is now {store.move_aside(out)}")
    with store.publish(out) as directory:
        how = making.Making(kind, layer, parts.num_queries, asked.train.seed)
        made = making.join(llm, tower, words, how, template=template, out=directory)
    return made._replace(directory=out)
