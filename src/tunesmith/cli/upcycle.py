"""`tunesmith upcycle moe.yaml`: a dense model becomes a mixture of experts, proved equal."""

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
    from tunesmith.models.upcycle import Upcycled

_COEFFICIENT = 0.01
"""Weight of the routers' imbalance that the config says where the run file says none (Switch
Transformer, arXiv:2101.03961, section 2.2)."""


def run(arguments: argparse.Namespace) -> int:
    """Make the mixture, prove it, print what it is."""
    asked = target.read(arguments.target, arguments.overrides)
    require(asked, "model_name_or_path", "output_dir")
    from tunesmith.training.report import Silent, report_for

    report = Silent() if arguments.json else report_for(sys.stderr)
    with asked.placing():
        made = upcycle(asked, report)
    report.close()
    if arguments.json:
        print(json.dumps({**made._asdict(), "directory": str(made.directory)}))
        return 0
    experts, router = made.modules
    count = f"{len(made.layers)} with {made.experts} experts ({_numbers(made.layers)})"
    print(f"class      {made.twin}")
    print(f"layers     {count}; a token goes through {made.per_token} of them")
    print(
        f"parameters {made.parameters:,}, of which a token uses {made.active:,}; "
        f"{made.dense_parameters:,} before"
    )
    near = f"{made.difference:.2g} of {made.largest:.3g}"
    print(f"proof      the logits of the dense model, within {near}")
    print(f"result     {made.directory}")
    print(
        f"next       a run file with model_name_or_path: {made.directory}, finetuning_type: full, "
        f"train_modules: [{experts}, {router}], moe_aux_loss_coef: {_coefficient(asked):g}"
    )
    print(following("chat", made.directory))
    return 0


def upcycle(asked: Run, report: Any) -> Upcycled:
    """Write the model that a run describes.

    Raises:
        Error: a model that has no twin, or layers that are not there; nothing is left behind then.
    """
    from tunesmith.models import upcycle as making
    from tunesmith.training.material import fetch

    out = Path(str(asked.output.output_dir))
    if out.exists() and not asked.output.overwrite_output_dir:
        raise OutputError(
            str(out), got="a directory that is there", need="a new one",
            hint="overwrite_output_dir: true moves it aside",
        )  # fmt: skip
    source = fetch(asked, str(asked.model.model_name_or_path), report)
    making.refuse(source)
    how = asked.upcycle
    if out.exists():
        report.say(f"the old directory is now {store.move_aside(out)}")
    with store.publish(out) as directory:
        made = making.upcycle(
            source, directory, layers=how.moe_layers, experts=how.num_experts,
            per_token=how.num_experts_per_tok, coefficient=_coefficient(asked),
            seed=asked.train.seed,
        )  # fmt: skip
    return made._replace(directory=out)


def _coefficient(asked: Run) -> float:
    given = asked.train.moe_aux_loss_coef
    return _COEFFICIENT if given is None else given


def _numbers(layers: tuple[int, ...]) -> str:
    whole = list(range(layers[0], layers[-1] + 1)) == list(layers)
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))
