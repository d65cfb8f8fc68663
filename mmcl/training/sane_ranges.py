"""What fine-tuning usually works with, and a warning with the number where a recipe leaves it."""

from __future__ import annotations

from mmcl.recipe import Recipe

FULL_LR = (1e-7, 1e-4)
"""Peak rates at which all or some blocks of a model of CLIP's size are fine-tuned."""

LORA_LR = (1e-5, 2e-3)
"""Peak rates of low-rank updates alone, which start at 0."""


def warn_of_rates(recipe: Recipe) -> list[str]:
    """Return a warning where a trained joint model is fine-tuned by AdamW at an unusual rate."""
    if recipe.model.name is None or not recipe.model.pretrained or recipe.optimizer != "adamw":
        return []
    modes = {recipe.tuning.image, recipe.tuning.text} - {"locked"}
    low, high = LORA_LR if modes == {"lora"} else FULL_LR
    lr = recipe.peak_lr
    if low <= lr <= high:
        return []
    what = "low-rank updates usually take" if modes == {"lora"} else "fine-tuning usually takes"
    effect = "a model forgets what it knew" if lr > high else "a model hardly moves"
    return [f"lr {lr:g} is outside of what {what}, {low:g} to {high:g}: there {effect}"]
