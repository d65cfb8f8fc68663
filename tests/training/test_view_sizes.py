"""Views of other sizes than the model's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.training.plan import plan_recipe
from mmcl.training.run import run_recipe
from mmcl.training.view_sizes import check_view_sizes
from tests.tiny import resnet_pair, save_tokenizer, tiny_recipe, vit_bert_pair
from tests.towers.tiny_configs import DINOV2, lone_image

CROPS = [{"count": 2}, {"count": 2, "size": 8, "random_resized_crop": [0.2, 0.5]}]
SWAV = {"type": "swav", "views": ["image.0", "image.1", "image.2", "image.3"], "num_prototypes": 4, "head": None}


def recipe_of(views: list[dict[str, Any]], *objectives: Any) -> Recipe:
    data = {"train": "x", "image_views": views}
    return Recipe.model_validate({"data": data, "model": {"image": "x"}, "objectives": list(objectives)})


def test_a_smaller_view_of_a_tower_with_fixed_positions_is_refused_with_a_remedy(tmp_path: Path) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path)))
    with pytest.raises(UserError) as caught:
        check_view_sizes(recipe_of(CROPS, SWAV), model)
    assert str(caught.value) == (
        "data.image_views.1.size: image.2 is 8 pixels wide, and the image tower takes 16"
        " (Input image size (8*8) doesn't match model (16*16));"
        " leave the size out, or take a tower for any size, such as a ResNet, ConvNeXt or DINOv2"
    )
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    "recipe",
    [
        recipe_of(CROPS, {"type": "simclr"}),
        recipe_of([{"count": 2}, {"size": 16}, {"size": 8}], {"type": "simclr", "views": ["image.0", "image.2"]}),
        recipe_of([{}], SWAV),
        recipe_of([{"size": 8}], {"type": "simcse"}),
    ],
    ids=["not named", "of the model's size", "not described", "no pictures"],
)
def test_only_views_of_another_size_that_an_objective_names_matter(recipe: Recipe, tmp_path: Path) -> None:
    check_view_sizes(recipe, build_model(vit_bert_pair(save_tokenizer(tmp_path))))


def test_towers_that_take_any_size_are_left_alone(tmp_path: Path) -> None:
    for config in (resnet_pair(save_tokenizer(tmp_path)), lone_image(DINOV2)):
        model = build_model(config)
        model.towers.eval()
        check_view_sizes(recipe_of([{"count": 2}, {"count": 2, "size": 48}], SWAV), model)
        assert not any(module.training for module in model.towers.modules())


@pytest.mark.parametrize("start", [plan_recipe, run_recipe])
def test_plans_and_runs_are_stopped_before_anything_is_written(start: Callable[[Recipe], Any], tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    data = recipe.data.model_copy(update={"image_views": recipe_of([{"size": 8}], "clip").data.image_views})
    vit = vit_bert_pair(save_tokenizer(tmp_path / "other"))
    with pytest.raises(UserError, match=r"^data.image_views.0.size: image.0 is 8 pixels wide"):
        start(recipe.model_copy(update={"data": data, "model": vit}))
    assert not (tmp_path / "runs").exists()
