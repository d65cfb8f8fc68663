"""What a user gives to the packaged recipes that leave something open."""

from __future__ import annotations

from pathlib import Path

from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe_files import ListedRecipe
from tests.towers.tiny_configs import DINOV2, lone_image


def what_a_user_gives(listed: ListedRecipe, folder: Path) -> dict[str, str]:
    """Return data that need not be there, or the first stage of two, by key."""
    given = {}
    for need in listed.needs:
        if need == "model.image.name":
            first = folder / "first"
            export_model(build_model(lone_image(DINOV2)), first / "model", ModelCardFacts("x"))
            given[need] = str(first)
        else:
            given[need] = {"data": "missing.csv"}[need]
    return given
