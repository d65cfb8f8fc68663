"""What the tasks of a recipe may say."""

from __future__ import annotations

import inspect
import json

import pytest

from evaluation import FewLabelTask, KNNTask, LinearProbeTask
from mmcl.recipe import Recipe
from mmcl.recipe_data import SourceConfig
from mmcl.recipe_tasks import FewLabelConfig, KNNConfig, LinearProbeConfig

BUILT = {KNNConfig: KNNTask, LinearProbeConfig: LinearProbeTask, FewLabelConfig: FewLabelTask}
ROWS = {"task", "name", "train", "data", "columns"}


@pytest.mark.parametrize("config", BUILT)
def test_defaults_are_those_of_the_evaluation_package(
    config: type[KNNConfig | LinearProbeConfig | FewLabelConfig],
) -> None:
    defaults = inspect.signature(BUILT[config]).parameters
    for name, field in config.model_fields.items():
        if name not in ROWS:
            assert field.default == defaults[name].default, name


def test_short_forms_are_the_names_and_the_paths() -> None:
    tasks = ["knn", {"task": "linear_probe", "train": "a.csv", "data": {"path": "b.csv", "limit": 9}}, "few_label"]
    recipe = Recipe.model_validate({"data": "x", "evaluate": tasks})
    first, second, third = recipe.evaluate
    assert first == KNNConfig()
    assert second == LinearProbeConfig(train=SourceConfig(path="a.csv"), data=SourceConfig(path="b.csv", limit=9))
    assert third == FewLabelConfig()
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())).evaluate == recipe.evaluate


@pytest.mark.parametrize("task", ["knn", "linear_probe", "few_label"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": {"label": "l"}}, "columns are those of the task's own train and data"),
        ({"train": "x.csv", "data": "x.csv"}, "train and data are the same rows"),
        ({"train": "x.csv", "data": {"path": "x.csv", "limit": 5}}, "train and data are the same rows"),
        ({"templates": ["{}"]}, "Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(task: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate({"data": "x", "evaluate": [{"task": task, **fields}]})


def test_a_gallery_of_the_rows_judged_on_is_refused() -> None:
    task = {"task": "image_retrieval", "data": "x.csv", "gallery": {"path": "x.csv", "limit": 5}}
    with pytest.raises(ValueError, match="every picture would find itself"):
        Recipe.model_validate({"data": "y", "evaluate": [task]})


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "knn", "k": 0},
        {"task": "knn", "temperature": 0},
        {"task": "linear_probe", "c_grid": []},
        {"task": "linear_probe", "c_grid": [0]},
        {"task": "linear_probe", "validation_fraction": 1},
        {"task": "few_label", "labels_per_class": [0]},
        {"task": "few_label", "labels_per_class": []},
        {"task": "few_label", "num_seeds": 0},
        {"task": "few_label", "c": 0},
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"evaluate.0.{fields['task']}.{list(fields)[1]}"):
        Recipe.model_validate({"data": "x", "evaluate": [fields]})


def test_columns_go_with_train_alone() -> None:
    columns = {"label": "l"}
    recipe = Recipe.model_validate({"data": "x", "evaluate": [{"task": "knn", "train": "y", "columns": columns}]})
    assert recipe.evaluate[0].columns is not None
    assert recipe.evaluate[0].columns.label == "l"
