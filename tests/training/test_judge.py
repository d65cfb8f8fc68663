from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation import RetrievalTask, ZeroShotClassificationTask
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig
from mmcl.training.judge import AnyBuiltTask, build_tasks
from tests.tiny import save_pairs


def build(data: Path, *tasks: dict[str, Any]) -> list[AnyBuiltTask]:
    recipe = Recipe.model_validate({"data": "unused", "evaluate": [{"data": str(data), **task} for task in tasks]})
    return build_tasks(recipe.evaluate, recipe.data.columns)


def test_tasks_of_one_data_set_share_their_pictures(tmp_path: Path) -> None:
    first, second = build(save_pairs(tmp_path), {"task": "retrieval"}, {"task": "zeroshot_classification"})
    assert isinstance(first, RetrievalTask)
    assert isinstance(second, ZeroShotClassificationTask)
    assert first.images is second.images


def test_two_tasks_of_one_name_are_refused_before_one_overwrites_the_other(tmp_path: Path) -> None:
    task = {"task": "zeroshot_classification", "templates": ["a {}"]}
    data = save_pairs(tmp_path)
    with pytest.raises(UserError, match=r'evaluate.1: two tasks .* are called "pairs.csv"'):
        build(data, task, {**task, "templates": ["one {}"]})
    assert len(build(data, task, {**task, "name": "other prompts"})) == 2


def test_groups_that_are_the_classes_are_not_resampled_together(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path)
    task = {"task": "zeroshot_classification"}
    assert build(pairs, task)[0].groups is not None
    as_classes = {**task, "columns": {"group": "label", "label": "label"}}
    assert build(pairs, as_classes)[0].groups is None


def test_a_task_without_rows_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no rows to judge on, because data.validation is 0"):
        build_tasks(Recipe.model_validate({"data": "x"}).evaluate, ColumnsConfig())


def test_labels_are_needed_for_classification(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path)
    pairs.write_text("\n".join(line.rsplit(",", 1)[0] for line in pairs.read_text().splitlines()) + "\n")
    with pytest.raises(UserError, match=r"needs labels: pairs.csv has no label column"):
        build(pairs, {"task": "zeroshot_classification"})


def test_class_names_for_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'colour', which is no label of pairs.csv"):
        build(save_pairs(tmp_path), {"task": "zeroshot_classification", "class_names": {"colour": "hue"}})


def test_columns_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="columns are those of the task's own data"):
        Recipe.model_validate({"data": "x", "evaluate": [{"task": "retrieval", "columns": {"text": "t"}}]})
