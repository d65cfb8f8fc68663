"""What a dry run says of the batch and of the optimiser."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.training.plan import Plan, describe_optimizer, plan_recipe
from tests.tiny import save_pairs, tiny_recipe

HEAD = {"num_layers": 1, "output_dim": 8}
VIEWS = {"image_views": [{"count": 2}], "validation": 0.2}


def batch_of(**given: Any) -> str:
    return Plan(**{field.name: None for field in fields(Plan)} | {"num_processes": 1, **given}).batch


@pytest.mark.parametrize(
    ("batch_size", "num_processes", "micro_batch_size", "said"),
    [
        (1024, 1, None, "1024"),
        (1024, 1, 1024, "1024"),
        (1024, 1, 256, "1024 = 4 x 256 cached, exact"),
        (1000, 1, 256, "1000 = 3 x 256 + 232 cached, exact"),
        (1024, 2, None, "1024 = 2 x 512"),
        (1024, 2, 512, "1024 = 2 x 512"),
        (1024, 2, 128, "1024 = 2 x 512, each 4 x 128 cached, exact"),
        (1000, 2, 128, "1000 = 2 x 500, each 3 x 128 + 116 cached, exact"),
    ],
)
def test_the_batch_says_what_it_is_computed_in(
    batch_size: int, num_processes: int, micro_batch_size: int | None, said: str
) -> None:
    given = {"batch_size": batch_size, "num_processes": num_processes, "micro_batch_size": micro_batch_size}
    assert batch_of(**given) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "adamw"),
        ({"optimizer": "sgd", "lr": 0.3}, "sgd"),
        ({"optimizer": "lars", "lr_scaling": "linear"}, "lars, peak lr 1.2 = 0.3 x 1024 / 256"),
        ({"lr_scaling": "sqrt", "lr_batch_size": 64}, "adamw, peak lr 1.2 = 0.3 x sqrt(1024 / 64)"),
    ],
)
def test_the_optimiser_says_how_its_peak_rate_comes_from_the_batch(given: dict[str, Any], said: str) -> None:
    recipe = Recipe.model_validate({"data": "x", "lr": 0.3, "batch_size": 1024, **given})
    assert describe_optimizer(recipe) == said


def data_of(folder: Path, every_without_text: int | None = None, **given: Any) -> dict[str, Any]:
    """A data section with two views of each picture, in which some rows have no text."""
    path = save_pairs(folder / "pairs")
    if every_without_text:
        head, *rows = path.read_text().splitlines()
        cells = [row.split(",") for row in rows]
        for cell in cells[::every_without_text]:
            cell[1] = ""
        path.write_text("\n".join([head, *(",".join(cell) for cell in cells)]) + "\n")
    return {"train": str(path), **VIEWS, **given}


def test_parameters_of_the_model_are_told_apart_from_those_of_training_alone(tmp_path: Path) -> None:
    objectives = [{"type": "moco", "queue_size": 8, "head": HEAD}]
    recipe = tiny_recipe(tmp_path, data=data_of(tmp_path), objectives=["clip", *objectives])
    model = build_model(recipe.model)
    plan = plan_recipe(recipe)
    assert plan.num_parameters == plan.num_trained == sum(parameter.numel() for parameter in model.parameters())
    head = 8 * model.towers.image_dim + 8
    # The momentum encoder is an image tower, its projection into the shared space, and a head.
    towers = sum(p.numel() for name, p in model.named_parameters() if name.startswith("towers.image"))
    assert plan.num_training_trained == head
    assert plan.num_training_parameters > head + towers
    assert plan.num_trained + plan.num_training_trained == sum(group.num_parameters for group in plan.groups)
    plain = plan_recipe(recipe.model_copy(update={"objectives": recipe.objectives[:1]}))
    assert (plain.num_training_parameters, plain.num_training_trained) == (0, 0)


def test_negatives_are_those_of_each_objective(tmp_path: Path) -> None:
    objectives: list[Any] = ["clip", {"type": "simclr", "head": HEAD, "memory": 5}, "simclr", {"byol": {"head": None}}]
    plan = plan_recipe(tiny_recipe(tmp_path, data=data_of(tmp_path), objectives=objectives))
    assert plan.num_negatives == {"clip": 3, "simclr": 11, "simclr-2": 6, "byol": None}


def test_negatives_of_an_objective_that_only_the_paired_rows_feed_are_theirs(tmp_path: Path) -> None:
    data = data_of(tmp_path, every_without_text=2, paired_per_batch=2)
    plan = plan_recipe(tiny_recipe(tmp_path, data=data, objectives=["clip", "simclr"]))
    assert plan.num_negatives == {"clip": 1, "simclr": 6}
