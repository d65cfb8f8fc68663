from __future__ import annotations

from pathlib import Path

import torch

from mmcl.model import build_model
from mmcl.recipe import Recipe
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
