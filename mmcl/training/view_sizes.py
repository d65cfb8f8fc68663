"""Views of other sizes than the model's, as multi-crop has them: not every image tower takes them."""

from __future__ import annotations

import torch

from mmcl.errors import UserError
from mmcl.model import TwoTower
from mmcl.objectives.views import modality_of, number_of
from mmcl.recipe import Recipe
from mmcl.towers.towers import in_evaluation_mode


def check_view_sizes(recipe: Recipe, model: TwoTower) -> None:
    """Refuse a view that an objective names and the image tower does not take, before anything is trained.

    Raises:
        UserError: naming the view, its size, the model's, and what to do.
    """
    if model.preprocessing is None:
        return
    entries = [place for place, view in enumerate(recipe.data.image_views) for _ in range(view.count)]
    named = {number_of(view) for one in recipe.chosen_objectives for view in one.views if modality_of(view) == "image"}
    tried = {model.preprocessing.size}
    for number in sorted(named & set(range(len(entries)))):
        size = recipe.data.image_views[entries[number]].size
        if size is None or size in tried:
            continue
        tried.add(size)
        reason = _refusal(model, size)
        if reason is not None:
            raise UserError(
                f"data.image_views.{entries[number]}.size: image.{number} is {size} pixels wide, and the image tower"
                f" takes {model.preprocessing.size} ({reason}); leave the size out, or take a tower for any size, such"
                " as a ResNet, ConvNeXt or DINOv2"
            )


@torch.no_grad()
def _refusal(model: TwoTower, size: int) -> str | None:
    """Return why the image tower does not take pictures of a size; None where it does."""
    pixels = torch.zeros(1, 3, size, size).to(next(model.towers.parameters()))
    try:
        with in_evaluation_mode(model.towers):
            model.towers.encode_image(pixels)
    except (ValueError, RuntimeError, AssertionError, TypeError) as error:
        return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return None
