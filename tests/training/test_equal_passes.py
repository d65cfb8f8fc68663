"""SimCSE without dropout is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.training.equal_passes import warn_of_equal_passes
from mmcl.training.observer import Observer
from mmcl.training.plan import plan_recipe
from mmcl.training.run import run_recipe
from tests.tiny import bert_alone, clip_text_config, resnet_pair, save_tokenizer, tiny_recipe, vit_bert_pair
from tests.towers.tiny_configs import STATIC, lone_text

SAYS = "simcse compares two passes over text.0, which differ by their dropout alone, and the text tower has none"


def recipe_of(*objectives: Any) -> Recipe:
    data = {"train": "x", "image_views": [{"count": 2}]}
    return Recipe.model_validate({"data": data, "model": {"text": "x"}, "objectives": list(objectives)})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def clip_text(tokenizer: str, dropout: float) -> ModelConfig:
    """Its dropout is of attention alone, and no module."""
    config = clip_text_config(attention_dropout=dropout)
    return ModelConfig.model_validate({"text": {"config": config, "tokenizer": tokenizer}})


def test_a_text_tower_without_any_dropout_is_told_of_with_a_remedy(tokenizer: str) -> None:
    for config in (bert_alone(tokenizer), clip_text(tokenizer, 0.0), lone_text(STATIC, tokenizer)):
        (warning,) = warn_of_equal_passes(recipe_of("simcse"), build_model(config))
        assert warning.startswith(SAYS)
        assert "attention_dropout: 0.1" in warning
        assert "\n" not in warning


@pytest.mark.parametrize("seed", range(5))
def test_a_tower_with_a_little_dropout_is_not(seed: int, tokenizer: str) -> None:
    torch.manual_seed(seed)
    for config in (bert_alone(tokenizer, 0.1), clip_text(tokenizer, 0.1)):
        assert warn_of_equal_passes(recipe_of("simcse"), build_model(config)) == []


@pytest.mark.parametrize(
    "objective",
    [
        "clip",
        {"type": "simcse", "views": ["text.0", "text.1"]},
        {"type": "simcse", "views": ["image.0", "image.0"]},
        # The second pass is that of another encoder.
        {"type": "moco", "views": ["text.0", "text.0"]},
    ],
)
def test_objectives_that_do_not_rest_on_dropout_are_left_alone(objective: Any, tokenizer: str) -> None:
    assert warn_of_equal_passes(recipe_of(objective), build_model(vit_bert_pair(tokenizer))) == []


def test_every_objective_that_names_a_text_twice_is_told_of(tokenizer: str) -> None:
    twice = {"type": "info_nce", "views": ["text.0", "text.0"]}
    warnings = warn_of_equal_passes(recipe_of("simcse", "clip", twice), build_model(resnet_pair(tokenizer)))
    assert [warning.split()[0] for warning in warnings] == ["simcse", "info_nce"]


def test_a_look_leaves_the_model_and_the_random_state_as_they_were(tokenizer: str) -> None:
    model = build_model(clip_text(tokenizer, 0.1))
    model.towers.eval()
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    warn_of_equal_passes(recipe_of("simcse"), model)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.towers.modules())
    assert torch.equal(torch.get_rng_state(), random)


class Listener(Observer):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_plans_and_runs_say_it(tmp_path: Path) -> None:
    with_dropout = tiny_recipe(tmp_path, objectives=["clip", "simcse"], max_steps=1, evaluate=[])
    model = with_dropout.model.model_dump()
    del model["text"]["config"]["attention_dropout"]
    recipe = with_dropout.model_copy(update={"model": ModelConfig.model_validate(model)})
    assert any(line.startswith(SAYS) for line in plan_recipe(recipe).warnings)
    assert not any(line.startswith(SAYS) for line in plan_recipe(with_dropout).warnings)
    listener = Listener()
    run_recipe(recipe, observer=listener)
    assert sum(line.startswith(f"warning: {SAYS}") for line in listener.messages) == 1
