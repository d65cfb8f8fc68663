"""What a recipe leaves to the model, settled once the model is there."""

from __future__ import annotations

from mmcl.model import TwoTower
from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.configs.cross_modal import CLIPConfig, SigLIPConfig
from mmcl.recipe import Recipe


def settle_objectives(recipe: Recipe, model: TwoTower) -> tuple[Recipe, str | None]:
    """Return the recipe with the objective of its checkpoint, where it names none.

    Args:
        recipe: the run; one that names its objectives is returned as it is.
        model: a bias in it is SigLIP's, which no other objective trains.

    Returns:
        The recipe, and a line that says what was chosen and why; None where nothing was.
    """
    if recipe.objectives is not None:
        return recipe, None
    chosen: AnyObjective
    if model.logit_bias is None:
        chosen, why = CLIPConfig(), "the recipe names no objective"
    else:
        chosen, why = SigLIPConfig(), f"the model has SigLIP's bias, {model.logit_bias.item():.4g}"
    return recipe.model_copy(update={"objectives": (chosen,)}), f"trains by {chosen.type}: {why}"
