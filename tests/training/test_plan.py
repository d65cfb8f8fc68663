"""What a dry run says of the batch and of the optimiser."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from mmcl.recipe import Recipe
from mmcl.training.plan import Plan, describe_optimizer


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
