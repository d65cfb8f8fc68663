from __future__ import annotations

from typing import Any

import pytest

from mmcl.recipe import Recipe
from mmcl.training.sane_ranges import warn_of_rates

LORA = {"tuning": {"image": "lora", "text": "lora"}}


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"lr": 1e-3}, "lr 0.001 is outside of what fine-tuning usually takes, 1e-07 to 0.0001: there a model forgets"),
        ({"lr": 1e-9}, "lr 1e-09 is outside of what fine-tuning usually takes, 1e-07 to 0.0001: there a model hardly"),
        ({"lr": 1e-5, "lr_scaling": "linear", "batch_size": 25600}, "lr 0.001 is outside"),
        ({"lr": 5e-3, **LORA}, "lr 0.005 is outside of what low-rank updates usually take, 1e-05 to 0.002"),
        ({"lr": 1e-3, "tuning": {"image": "lora"}}, "what fine-tuning usually takes"),
        ({"lr": 5e-3, "tuning": {"image": "locked", "text": "lora"}}, "what low-rank updates usually take"),
    ],
)
def test_a_rate_outside_is_told_with_its_number(fields: dict[str, Any], part: str) -> None:
    (line,) = warn_of_rates(Recipe.model_validate({"data": "x", "model": "a/clip", **fields}))
    assert part in line


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "a/clip", "lr": 1e-5},
        {"model": "a/clip", "lr": 1e-3, **LORA},
        {"model": {"name": "a/clip", "pretrained": False}, "lr": 1e-3},
        {"model": {"image": "a/vit", "text": "a/bert"}, "lr": 1e-3},
        {"model": "a/clip", "lr": 0.1, "optimizer": "sgd", "betas": None, "eps": None},
    ],
)
def test_what_is_usual_or_starts_from_nothing_is_not(fields: dict[str, Any]) -> None:
    assert warn_of_rates(Recipe.model_validate({"data": "x", **fields})) == []
