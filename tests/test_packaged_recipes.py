"""Every packaged recipe, small: it trains, its state is whole, and a run that was interrupted ends the same."""

from __future__ import annotations

import shutil
import typing
from pathlib import Path

import pytest

from mmcl.data.loader import build_train_data
from mmcl.model import build_model
from mmcl.objectives.configs import AnyObjective
from mmcl.recipe import Recipe
from mmcl.recipe_files import ListedRecipe, list_recipes, load_recipe
from mmcl.smoke import smoke_recipe
from mmcl.training.accelerator import build_accelerator
from mmcl.training.observer import Observer
from mmcl.training.run_folder import RunFolder
from mmcl.training.trainer import Trainer
from tests.given import what_a_user_gives
from tests.training.runs import last_sums


def train(recipe: Recipe, folder: Path, resume: bool = False) -> dict[str, str]:
    """Train without judging; return the sums of the last checkpoint's files."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(recipe.model, recipe.seed)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    data.quarantine.write_to(folder)
    trainer = Trainer(recipe, model, data, RunFolder(folder), build_accelerator(recipe), Observer())
    if resume:
        trainer.resume()
    trainer.fit(lambda step: {})
    return last_sums(folder)


@pytest.mark.parametrize("listed", list_recipes(), ids=lambda listed: listed.name)
def test_a_resumed_run_of_the_recipe_ends_bit_identical(listed: ListedRecipe, tmp_path: Path) -> None:
    recipe = smoke_recipe(load_recipe(listed.name, what_a_user_gives(listed, tmp_path)))
    recipe = recipe.model_copy(update={"save_every": 1, "keep_checkpoints": 4})
    expected = train(recipe, tmp_path / "whole")
    half = tmp_path / "half"
    shutil.copytree(tmp_path / "whole/checkpoints/step-00000002", half / "checkpoints/step-00000002")
    assert train(recipe, half, resume=True) == expected


def test_every_method_has_a_recipe(tmp_path: Path) -> None:
    recipes = [load_recipe(listed.name, what_a_user_gives(listed, tmp_path / listed.name)) for listed in list_recipes()]
    configs = typing.get_args(typing.get_args(AnyObjective)[0])
    methods = {config.model_fields["type"].default for config in configs}
    assert {objective.type for recipe in recipes for objective in recipe.chosen_objectives} == methods
