from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from mmcl.data.loader import TrainData, build_train_data
from mmcl.export import ModelCardFacts
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.training.card_facts import card_facts
from mmcl.training.run import run_recipe
from tests.tiny import save_pairs, tiny_recipe


def facts_of(recipe: Recipe, data: TrainData) -> ModelCardFacts:
    return card_facts("x", recipe, data, [], [], None, ["no guard: it goes unseen"])


def data_of(recipe: Recipe) -> TrainData:
    model = build_model(recipe.model, recipe.seed)
    return build_train_data(recipe, model.preprocessing, model.tokenizer)


def test_rows_and_groups_learnt_from_and_held_out_are_counted(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    data = data_of(recipe)
    said = facts_of(recipe, data).training_data
    held_out = {data.group_ids[row] for row in data.held_out}
    assert data.num_rows == 60 - len(data.held_out)
    assert data.num_groups == 40 - len(held_out)
    assert said == (
        f"Learnt from {data.num_rows} rows, {data.num_groups} groups, of pairs.csv"
        " (image <- image   text <- text   group <- group   label <- label)."
        f" Held out: {len(data.held_out)} rows, {len(held_out)} groups, none of which it learnt from."
    )


def test_validation_rows_of_their_own_are_named(tmp_path: Path) -> None:
    other = str(save_pairs(tmp_path / "other", num_rows=10))
    recipe = tiny_recipe(tmp_path)
    update = {"validation": type(recipe.data.train)(path=other)}
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=update)})
    assert facts_of(recipe, data_of(recipe)).training_data.endswith(f". Validation rows: {other}.")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"name": "someone/clip"}, ["someone/clip"]),
        ({"name": "someone/clip", "pretrained": False}, []),
        ({"name": "ViT-B-32,openai"}, []),
        ({"image": "someone/vit", "text": {"name": "someone/bert", "pretrained": False}}, ["someone/vit"]),
    ],
)
def test_a_base_model_is_one_whose_weights_were_taken(tmp_path: Path, model: Any, expected: list[str]) -> None:
    recipe = tiny_recipe(tmp_path)
    data = data_of(recipe)
    other = recipe.model_copy(update={"model": ModelConfig.model_validate(model)})
    facts = facts_of(other, data)
    assert facts.base_models == expected
    assert facts.datasets == []
    assert facts.limitations == ["No guard: it goes unseen."]


def test_the_card_of_a_run_parses_and_has_its_numbers(tmp_path: Path) -> None:
    run = run_recipe(tiny_recipe(tmp_path, max_steps=1, ema=None, license="apache-2.0", language=["en"]))
    read = ModelCard.load(run.model / "README.md").data
    assert (read.license, read.language) == ("apache-2.0", ["en"])
    (result,) = run.results
    assert {one.metric_type: one.metric_value for one in read.eval_results} == {
        name: result.metrics[name] for name in result.headline
    }
    assert {one.dataset_split for one in read.eval_results} == {"validation"}
