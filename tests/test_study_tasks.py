"""What a study knows of its tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig
from mmcl.study_tasks import StudyTask
from mmcl.training.judge import build_tasks
from tests.tiny import save_pairs


@pytest.mark.parametrize("task", ["retrieval", "image_retrieval", "robustness"])
def test_the_pictures_that_a_task_encodes_are_known(tmp_path: Path, task: str) -> None:
    asked = {"task": task, "data": str(save_pairs(tmp_path))}
    (config,) = Recipe.model_validate({"data": "unused", "evaluate": [asked]}).evaluate
    (built,) = build_tasks([config], ColumnsConfig())
    (pictures,) = StudyTask("evaluate.0", config, built).pictures
    assert len(pictures) == 60
