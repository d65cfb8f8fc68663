"""What fine-tuning usually works with, and a warning with the number where a recipe leaves it."""

from __future__ import annotations

from mmcl.model import TwoTower
from mmcl.objectives.configs.cross_modal import SigLIPConfig
from mmcl.objectives.views import modality_of
from mmcl.recipe import Recipe

FULL_LR = (1e-7, 1e-4)
"""Peak rates at which all or some blocks of a model of CLIP's size are fine-tuned."""

SIGLIP_LR = (1e-7, 5e-5)
"""The same of a model with SigLIP's bias, whose recall is reported to fall apart at 1e-4."""

LORA_LR = (1e-5, 2e-3)
"""Peak rates of low-rank updates alone, which start at 0."""


def warn_of_fine_tuning(recipe: Recipe, model: TwoTower) -> list[str]:
    """Return what is unusual in how a trained joint model is fine-tuned: its rate, its loss.

    Args:
        recipe: the run, its objectives settled.
        model: as it was loaded, before any objective has given it a bias.
    """
    if recipe.model.name is None or not recipe.model.pretrained:
        return []
    has_bias = model.logit_bias is not None
    return [*_warn_of_rate(recipe, has_bias), *_warn_of_bias(recipe, has_bias)]


def _warn_of_bias(recipe: Recipe, has_bias: bool) -> list[str]:
    types = [objective.type for objective in recipe.chosen_objectives]
    if has_bias and "siglip" not in types:
        return [
            f"the model has SigLIP's bias, which no objective trains ({', '.join(types)}): siglip goes on with the loss"
            " that the model knows"
        ]
    between = [one for one in recipe.chosen_objectives if isinstance(one, SigLIPConfig) and _is_cross_modal(one)]
    if between and not has_bias:
        return [
            "the model was trained without SigLIP's bias: siglip gives it one that calls every pair a no, and the first"
            " steps undo part of what it knows; clip goes on with the loss that the model knows"
        ]
    if any(one.bias is not None or one.temperature is not None for one in between):
        return [
            "siglip.temperature or siglip.bias replaces what the model was trained with, and the first steps undo part"
            " of what it knows; leave them out to go on from its own"
        ]
    return []


def _is_cross_modal(objective: SigLIPConfig) -> bool:
    return len({modality_of(view) for view in objective.views}) == 2


def _warn_of_rate(recipe: Recipe, has_bias: bool) -> list[str]:
    if recipe.optimizer != "adamw":
        return []
    modes = {recipe.tuning.image, recipe.tuning.text} - {"locked"}
    low, high = LORA_LR if modes == {"lora"} else SIGLIP_LR if has_bias else FULL_LR
    lr = recipe.peak_lr
    if low <= lr <= high:
        return []
    what = "low-rank updates usually take" if modes == {"lora"} else "fine-tuning usually takes"
    effect = "a model forgets what it knew" if lr > high else "a model hardly moves"
    return [f"lr {lr:g} is outside of what {what}, {low:g} to {high:g}: there {effect}"]
