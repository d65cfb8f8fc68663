from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mmcl.model import TwoTower, build_model
from mmcl.recipe import Recipe
from mmcl.training.sane_ranges import warn_of_fine_tuning
from tests.tiny import save_tokenizer, vit_bert_pair

LORA = {"tuning": {"image": "lora", "text": "lora"}}
CLIP: dict[str, Any] = {"data": "x", "model": "a/clip", "objectives": ["clip"], "lr": 1e-5}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture
def model(tokenizer: str) -> TwoTower:
    return build_model(vit_bert_pair(tokenizer))


@pytest.fixture
def with_bias(tokenizer: str) -> TwoTower:
    found = build_model(vit_bert_pair(tokenizer))
    found.logit_bias = nn.Parameter(torch.tensor(-12.9))
    return found


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
def test_a_rate_outside_is_told_with_its_number(fields: dict[str, Any], part: str, model: TwoTower) -> None:
    (line,) = warn_of_fine_tuning(Recipe.model_validate({**CLIP, **fields}), model)
    assert part in line


def test_a_siglips_highest_rate_is_lower(model: TwoTower, with_bias: TwoTower) -> None:
    recipe = Recipe.model_validate({**CLIP, "objectives": ["siglip"], "lr": 1e-4})
    (line,) = warn_of_fine_tuning(recipe, with_bias)
    assert "lr 0.0001 is outside of what fine-tuning usually takes, 1e-07 to 5e-05" in line
    assert warn_of_fine_tuning(Recipe.model_validate({**CLIP, "lr": 1e-4}), model) == []


@pytest.mark.parametrize(
    ("objectives", "has_bias", "part"),
    [
        (["clip", "simclr"], True, "SigLIP's bias, which no objective trains (clip, simclr): siglip goes on"),
        (["siglip"], False, "the model was trained without SigLIP's bias: siglip gives it one"),
        ([{"siglip": {"bias": -10}}], True, "siglip.temperature or siglip.bias replaces"),
        ([{"siglip": {"temperature": 0.1}}], True, "siglip.temperature or siglip.bias replaces"),
    ],
)
def test_a_loss_that_throws_away_what_the_checkpoint_learnt_is_told(
    objectives: Any, has_bias: bool, part: str, model: TwoTower, with_bias: TwoTower
) -> None:
    recipe = Recipe.model_validate({**CLIP, "objectives": objectives})
    (line,) = warn_of_fine_tuning(recipe, with_bias if has_bias else model)
    assert part in line
    fresh = Recipe.model_validate({**CLIP, "objectives": objectives, "model": {"name": "a/b", "pretrained": False}})
    assert warn_of_fine_tuning(fresh, with_bias if has_bias else model) == []


def test_a_loss_that_goes_on_is_not(model: TwoTower, with_bias: TwoTower) -> None:
    for objectives, given in [(["siglip"], with_bias), (["clip"], model)]:
        assert warn_of_fine_tuning(Recipe.model_validate({**CLIP, "objectives": objectives}), given) == []
    between_views = [{"siglip": {"views": ["image.0", "image.1"]}}]
    assert warn_of_fine_tuning(Recipe.model_validate({**CLIP, "objectives": between_views}), model) == []


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
def test_what_is_usual_or_starts_from_nothing_is_not(fields: dict[str, Any], model: TwoTower) -> None:
    assert warn_of_fine_tuning(Recipe.model_validate({"data": "x", "objectives": ["clip"], **fields}), model) == []
