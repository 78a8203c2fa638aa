"""Whether a run keeps the load of experts even, and how strongly."""

from __future__ import annotations

from typing import Any

from tunesmith.compute.routing import COEFFICIENT, balanced_by_loss, routers
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError


def coefficient(run: Run, model: Any) -> float:
    """Weight of the routers' imbalance beside the loss of a trained token; 0: none.

    Where the run file says nothing it is what transformers would do: the config's own
    `router_aux_loss_coef` if that says `output_router_logits`.

    Args:
        run: what was asked.
        model: of transformers; may be without weights.

    Raises:
        ConfigError: it is asked for, and the model has no routers that it could be about.
    """
    asked, config = run.train.moe_aux_loss_coef, model.config.get_text_config()
    possible = bool(routers(model)) and balanced_by_loss(config)
    if asked is None:
        wanted = getattr(config, "output_router_logits", False) and possible
        return float(getattr(config, COEFFICIENT)) if wanted else 0.0
    if asked and not possible:
        raise ConfigError(
            run.where("moe_aux_loss_coef"),
            got=f"{asked:g}, and {config.model_type}",
            need="a model with experts whose routers choose by a softmax and are kept even by a "
            "loss (mixtral, qwen2_moe, qwen3_moe, olmoe, granitemoe, gpt_oss ...)",
            hint="remove it; tunesmith upcycle makes experts of a dense model",
        )
    return asked


def notes(run: Run, model: Any) -> list[str]:
    """What the reader of a plan should know about the routers of a model.

    Args:
        run: what was asked.
        model: with what learns; may be without weights.
    """
    found, strength = routers(model), coefficient(run, model)
    if not found:
        return []
    learn = any(p.requires_grad for module in found for p in module.parameters())
    if learn and not strength:
        return [
            f"the routers of {len(found)} layers learn, and nothing keeps the load of the experts "
            f"even; moe_aux_loss_coef: 0.01 would"
        ]
    if strength and not learn:
        return [
            f"moe_aux_loss_coef {strength:g} reaches what lies below the routers only: they stay "
            "as they are"
        ]
    return [f"the load of the experts is kept even with moe_aux_loss_coef {strength:g}"] * learn
