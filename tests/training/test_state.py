"""What a checkpoint holds of the optimiser brings it back bit for bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mmcl.recipe import Recipe
from mmcl.training.checkpoint import load_checkpoint, save_checkpoint
from mmcl.training.optimizer import build_optimizer, set_lr
from mmcl.training.state import capture_state, restore_state

OPTIMIZERS = {
    "adamw": {},
    "sgd": {"optimizer": "sgd"},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0},
    "lars": {"optimizer": "lars", "trust_coefficient": 0.1},
}


def make_trainer(fields: dict[str, Any]) -> Any:
    """What the state asks of a trainer, around a small network with a matrix, a convolution and biases, part unused."""
    torch.manual_seed(0)
    module = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "linear": nn.Linear(4, 2), "unused": nn.Linear(2, 2)})
    module.to(memory_format=torch.channels_last)
    recipe = Recipe.model_validate({"data": "x", "lr": 0.05, "weight_decay": 0.1, **fields})
    return SimpleNamespace(
        module=module,
        optimizer=build_optimizer(module, recipe),
        average=None,
        fitting=None,
        accelerator=SimpleNamespace(scaler=None),
        order_hash="",
        num_steps=6,
        step=0,
        data=SimpleNamespace(fingerprint=lambda: "f", source=SimpleNamespace(name="x")),
    )


def train(trainer: Any, until: int) -> None:
    while trainer.step < until:
        generator = torch.Generator().manual_seed(trainer.step)
        images = torch.randn(5, 3, 8, 8, generator=generator)
        set_lr(trainer.optimizer.param_groups, 0.05 * (1 + trainer.step))
        trainer.module["linear"](trainer.module["conv"](images).tanh().mean((2, 3))).square().sum().backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.step += 1


@pytest.mark.parametrize("fields", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_an_optimiser_that_was_stopped_goes_on_as_if_it_never_had(
    fields: dict[str, Any], stop: int, tmp_path: Path
) -> None:
    whole, stopped, resumed = make_trainer(fields), make_trainer(fields), make_trainer(fields)
    train(whole, 6)
    train(stopped, stop)
    save_checkpoint(tmp_path, capture_state(stopped), 1)
    train(resumed, 2)  # what it did before is forgotten
    restore_state(resumed, load_checkpoint(tmp_path / f"step-{stop:08d}"))
    assert resumed.step == stop
    train(resumed, 6)
    one, other = capture_state(whole).tensors, capture_state(resumed).tensors
    for part in ("model", "optimizer"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(one[part][name], other[part][name]) for name in one[part]), part


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_momentum_is_kept_by_the_name_of_its_parameter(optimizer: str) -> None:
    trainer = make_trainer({"optimizer": optimizer})
    train(trainer, 1)
    names = {f"{name}/momentum_buffer" for name, _ in trainer.module.named_parameters() if "unused" not in name}
    assert set(capture_state(trainer).tensors["optimizer"]) == names


def test_a_quantity_that_is_not_there_yet_is_left_out() -> None:
    trainer = make_trainer({"optimizer": "sgd"})
    trainer.optimizer.state[trainer.module["linear"].weight]["momentum_buffer"] = None
    assert capture_state(trainer).tensors["optimizer"] == {}
