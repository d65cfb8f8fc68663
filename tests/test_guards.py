from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import jsonschema
import pytest

from evaluation.metrics import fill_templates
from mmcl.errors import UserError
from mmcl.guards import named_guards
from mmcl.recipe import Recipe
from mmcl.recipe_files import dump_recipe, load_recipe
from mmcl.recipe_schema import recipe_schema
from mmcl.recipe_tasks import ZeroShotClassificationConfig
from tests import documents
from tests.documents import ROOT


@pytest.mark.parametrize("name", named_guards())
def test_a_set_is_pinned_and_its_prompts_are_those_that_were_published(name: str) -> None:
    facts = named_guards()[name]
    (task,) = Recipe.model_validate({"data": "x", "guard": [name]}).guard
    assert isinstance(task, ZeroShotClassificationConfig)
    assert task.name == name
    assert task.data is not None
    assert task.data.format == "hub"
    assert re.fullmatch("[0-9a-f]{40}", task.data.revision or "")
    assert task.class_names is not None
    classes = [task.class_names[label] for label in sorted(task.class_names)]
    assert str(len(classes)) in name or (name, len(classes)) == ("food101", 101)
    prompts = fill_templates(classes, task.templates)
    assert hashlib.sha256(json.dumps(prompts).encode()).hexdigest() == facts["prompts_sha256"]


def test_a_saved_recipe_has_the_set_written_out(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"data": "x", "guard": ["cifar100"]})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    assert "aquarium_fish: aquarium fish" in (tmp_path / "recipe.yaml").read_text()
    assert load_recipe(tmp_path / "recipe.yaml").guard == recipe.guard


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ("[cifar1000]", r'r.yaml:2 guard.0.*unknown name "cifar1000" \(.*food101.*\). Did you mean "cifar100"?'),
        (
            "[{task: cifar10, templates: [a]}]",
            "cifar10 is a pinned set and takes no templates; write a task of its own",
        ),
    ],
)
def test_what_is_no_set_is_refused(tmp_path: Path, guard: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(f"data: x\nguard: {guard}\n")
    with pytest.raises(UserError, match=message):
        load_recipe(tmp_path / "r.yaml")


def test_a_set_is_a_guard_and_no_task_to_train_for(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: x\nevaluate: [cifar100]\n")
    with pytest.raises(UserError, match=r'unknown name "cifar100" \(retrieval, zeroshot_classification, '):
        load_recipe(tmp_path / "r.yaml")
    jsonschema.validate({"guard": ["cifar100", "retrieval"]}, recipe_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"evaluate": ["cifar100"]}, recipe_schema())


def test_the_guide_has_every_set() -> None:
    rows = documents.table_below(ROOT / "docs/training.md", "What the model forgets")
    facts = [
        (
            name,
            f"{guard['num_rows']:,}",
            str(len(guard["task"]["class_names"])),
            str(len(guard["task"]["templates"])),
            "@".join((guard["task"]["data"]["path"], guard["task"]["data"]["revision"][:7])),
            guard["task"]["data"]["split"],
        )
        for name, guard in named_guards().items()
    ]
    assert rows == facts
