from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.training.lars import LARS
from mmcl.training.optimizer import build_optimizer, parameter_groups
from tests.tiny import resnet_pair, save_tokenizer


def test_norms_biases_and_the_temperature_take_no_decay(tmp_path: Path) -> None:
    model = build_model(resnet_pair(save_tokenizer(tmp_path)))
    groups = {group["name"]: group for group in parameter_groups(model, 0.2)}
    assert groups["decay"]["weight_decay"] == 0.2
    assert groups["no_decay"]["weight_decay"] == 0.0
    exempt = groups["no_decay"]["parameter_names"]
    assert "logit_scale.log_scale" in exempt
    assert all(name in exempt for name, _ in model.named_parameters() if name.endswith("bias"))
    assert all("norm" not in name and ".bn" not in name for name in groups["decay"]["parameter_names"])


def test_every_trained_parameter_is_in_exactly_one_group(tmp_path: Path) -> None:
    model = build_model(resnet_pair(save_tokenizer(tmp_path), learn_temperature=False))
    frozen = next(model.parameters()).requires_grad_(False)
    grouped = [id(parameter) for group in parameter_groups(model, 0.1) for parameter in group["params"]]
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trained)
    assert id(frozen) not in grouped


def test_the_optimiser_is_the_recipes(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"data": "x", "lr": 0.5, "betas": [0.8, 0.9], "eps": 1e-3, "weight_decay": 0.3})
    optimizer = build_optimizer(torch.nn.Linear(2, 2), recipe)
    assert optimizer.defaults["fused"] is True
    assert [(g["lr"], g["betas"], g["eps"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.5, (0.8, 0.9), 1e-3, 0.3),
        (0.5, (0.8, 0.9), 1e-3, 0.0),
    ]


def built(**fields: Any) -> torch.optim.Optimizer:
    return build_optimizer(torch.nn.Linear(2, 2), Recipe.model_validate({"data": "x", **fields}))


def test_sgd_and_lars_are_the_recipes_too() -> None:
    sgd = built(optimizer="sgd", lr=0.5, momentum=0.8, weight_decay=0.3)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["fused"] is True
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [(0.5, 0.8, 0.3), (0.5, 0.8, 0.0)]
    lars = built(optimizer="lars", lr=0.5, trust_coefficient=0.02, weight_decay=1e-6)
    assert isinstance(lars, LARS)
    assert [(g["lr"], g["momentum"], g["trust_coefficient"], g["weight_decay"]) for g in lars.param_groups] == [
        (0.5, 0.9, 0.02, 1e-6),
        (0.5, 0.9, 0.02, 0.0),
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_it_begins_at_the_peak_rate_scaled_to_the_batch(optimizer: str) -> None:
    scaled = built(optimizer=optimizer, lr=0.3, lr_scaling="linear", batch_size=1024)
    assert {group["lr"] for group in scaled.param_groups} == {1.2}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_every_optimiser_learns(optimizer: str) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    lr = {"adamw": 1e-2, "sgd": 1e-2, "lars": 1.0}[optimizer]
    recipe = Recipe.model_validate({"data": "x", "optimizer": optimizer, "lr": lr, "weight_decay": 1e-6})
    stepper = build_optimizer(module, recipe)
    inputs = torch.randn(64, 4)
    targets = inputs[:, :1] * inputs[:, 1:2]
    losses = []
    for _ in range(200):
        loss = (module(inputs) - targets).square().mean()
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
