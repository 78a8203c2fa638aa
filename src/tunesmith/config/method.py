"""How the weights change: one section per `finetuning_type`, each with its own keys only."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt
from pydantic import AfterValidator

from tunesmith.config.kinds import Count, Flag, Names, Number, Positive, Section, Targets, Whole


class Method(Section):
    """What every method has."""

    finetuning_type: Literal["lora", "full", "freeze"] = "lora"
    """What is trained: adapters (`lora`), all weights (`full`), or some layers (`freeze`)."""
    stage: Literal["sft"] = "sft"
    """Kind of training: supervised fine-tuning (`sft`)."""
    freeze_vision_tower: Flag = True
    """Of a model that sees or hears: its tower stays as it is."""
    freeze_multi_modal_projector: Flag = True
    """Of a model that sees or hears: what leads from the tower into the text model stays as it
    is."""
    freeze_language_model: Flag = False
    """Of a model that sees or hears: the text model stays as it is, its head included."""

    @property
    def frozen_parts(self) -> frozenset[str]:
        """Parts of a model that stay as they are, as `models.parts` calls them."""
        found = {
            "vision_tower": self.freeze_vision_tower,
            "multi_modal_projector": self.freeze_multi_modal_projector,
            "language_model": self.freeze_language_model,
        }
        return frozenset(part for part, stays in found.items() if stays)


class Lora(Method):
    """Low-rank adapters beside frozen weights (arXiv:2106.09685)."""

    finetuning_type: Literal["lora"] = "lora"  # pyright: ignore[reportIncompatibleVariableOverride]
    lora_rank: Annotated[Count, Le(65_536)] = 8
    """Inner dimension of the adapters."""
    lora_alpha: Annotated[Count, Le(1_000_000)] | None = None
    """Scale of the adapters, applied as alpha / rank. Not set: 2 x `lora_rank`."""
    lora_dropout: Annotated[Number, Ge(0), Lt(1)] = 0.0
    """Chance that an input of an adapter is zeroed in training."""
    lora_target: Targets = "all"
    """Modules that get an adapter, by the end of their name; `all`: every linear module
    except the output head."""
    additional_target: Names = ()
    """Further modules trained in full and saved with the adapter, such as `embed_tokens`."""
    create_new_adapter: Flag = False
    """Merge what `adapter_name_or_path` names and train a new adapter on top."""
    use_rslora: Flag = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank (arXiv:2312.03732)."""
    use_dora: Flag = False
    """Learn the length of each output's weights beside their direction (DoRA, arXiv:2402.09353).
    Slower than LoRA, and it keeps more for the backward pass."""
    pissa_init: Flag = False
    """Start the adapter at the largest singular values of each weight (PiSSA, arXiv:2404.02948)
    instead of at zero. It is saved with twice the rank, for the unchanged base."""
    pissa_iter: Annotated[Whole, Ge(-1)] = 16
    """Iterations of the randomised decomposition behind `pissa_init`; -1: a full one, slow."""
    pissa_convert: Flag = False
    """Nothing to convert: what `pissa_init` trains is always saved for the unchanged base."""
    loraplus_lr_ratio: Positive | None = None
    """Learning rate of the B matrices over that of the A matrices (LoRA+, arXiv:2402.12354).
    Not set: the same."""

    @property
    def alpha(self) -> int:
        """`lora_alpha` with its default in place."""
        return 2 * self.lora_rank if self.lora_alpha is None else self.lora_alpha


class Full(Method):
    """Every weight of the model is trained."""

    finetuning_type: Literal["full"] = "full"  # pyright: ignore[reportIncompatibleVariableOverride]
    train_modules: Names = ()
    """Only these learn: modules or parameters, by a part of their path such as `experts`, `gate` or
    `layers.0.mlp`. Not set: every weight that no `freeze_...` key holds back."""


def _not_zero(value: int) -> int:
    if value == 0:
        raise ValueError("0 layers would train nothing")
    return value


class Freeze(Method):
    """Some layers of the model are trained, the others stay as they are."""

    finetuning_type: Literal["freeze"] = "freeze"  # pyright: ignore[reportIncompatibleVariableOverride]
    freeze_trainable_layers: Annotated[Whole, AfterValidator(_not_zero)] = 2
    """Number of trained layers: the last n, or the first n if negative."""
    freeze_trainable_modules: Targets = "all"
    """Modules trained within these layers; `all`: every one."""
    freeze_extra_modules: Names = ()
    """Modules outside the layers that are trained too, such as `embed_tokens` or `norm`."""


METHODS: dict[str, type[Lora | Full | Freeze]] = {"lora": Lora, "full": Full, "freeze": Freeze}
