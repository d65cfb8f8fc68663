"""What every objective of the registry promises."""

from __future__ import annotations

import math
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import AnyObjective, expand_objective
from tests.processes import run_processes
from tests.tiny import random_batch, save_tokenizer, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

# A union of one is the class itself.
CONFIGS: list[Any] = list(typing.get_args(AnyObjective)) or [AnyObjective]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("config_class", CONFIGS)
def test_the_loss_and_every_gradient_are_finite_and_near_chance_at_first(config_class: Any, tokenizer: str) -> None:
    module = ContrastiveModule(build_model(vit_bert_pair(tokenizer, temperature=1.0)), [config_class()])
    output = module(random_batch(8, 16))
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert math.isfinite(float(output.loss.detach()))
    assert float(output.loss.detach()) == pytest.approx(output.chance, rel=0.5)
    grads = [parameter.grad for parameter in module.parameters() if parameter.requires_grad]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
    assert any(bool(grad.abs().sum() > 0) for grad in grads if grad is not None)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_its_state_survives_a_round_trip(config_class: Any, tokenizer: str) -> None:
    config, batch = vit_bert_pair(tokenizer), random_batch(6, 16)
    module = ContrastiveModule(build_model(config, seed=0), [config_class()])
    module(batch).loss.backward()
    module.after_optimizer_step()
    other = ContrastiveModule(build_model(config, seed=1), [config_class()])
    assert not torch.equal(module(batch).loss, other(batch).loss)
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(batch).loss, other(batch).loss)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_two_processes_equal_one(config_class: Any, tokenizer: str, tmp_path: Path) -> None:
    config, batch = vit_bert_pair(tokenizer), random_batch(10, 16, num_groups=7)
    arguments = {"config": config, "objectives": [config_class()], "batch": batch, "dtype": torch.float64}
    results = run_processes("module_gradients", 2, tmp_path, bounds=[0, 4, 10], **arguments)
    module = ContrastiveModule(build_model(config), [config_class()]).double()
    output = module(batch)
    output.loss.backward()
    for result in results:
        torch.testing.assert_close(result["loss"], output.loss.detach(), rtol=1e-10, atol=0)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(result["grads"][name], parameter.grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_its_needs_are_met_by_the_views_it_is_given(config_class: Any) -> None:
    needs = config_class().build().needs
    assert needs.image_views + needs.text_views > 0


def test_short_forms_mean_the_whole_mapping() -> None:
    assert expand_objective("clip") == {"type": "clip"}
    assert expand_objective({"clip": 0.5}) == {"type": "clip", "weight": 0.5}
    assert expand_objective({"clip": {"weight": 2}}) == {"type": "clip", "weight": 2}
    assert expand_objective({"type": "clip", "weight": 3}) == {"type": "clip", "weight": 3}
