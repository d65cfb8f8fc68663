"""What every objective of the registry promises."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import expand_objective
from mmcl.objectives.objective import Progress
from tests.objectives.small_modules import CONFIGS, batch_of, model_for, small
from tests.objectives.small_modules import REGISTRY_FACTS as FACTS
from tests.processes import run_processes
from tests.tiny import without_some

pytestmark = pytest.mark.xdist_group("processes")

LATE = Progress(step=900, num_steps=1000, steps_per_epoch=10)
"""Where queues are open and nothing is frozen."""


def assert_close(found: Tensor, expected: Tensor, whole: float, tolerance: float, name: str) -> None:
    """Equal but for rounding; a gradient that is zero by symmetry is compared with the size of all of them."""
    size = max(float(expected.norm()), (1e-4 if tolerance < 1e-8 else 1e-2) * whole)
    assert float((found - expected).norm()) < tolerance * size, name


def without_rows(batch: PairBatch, views: tuple[str, ...]) -> PairBatch:
    """The batch with no row left that has all of some views."""
    nothing = torch.empty(0, dtype=torch.int64)
    batch = without_some(batch)
    return replace(
        batch,
        images=tuple(view[:0] for view in batch.images) if "image.0" in views else batch.images,
        texts=tuple(view.part(0, 0) for view in batch.texts),
        image_rows=nothing if "image.0" in views else batch.image_rows,
        text_rows=tuple(nothing for _ in batch.texts),
    )


@pytest.mark.parametrize("config_class", CONFIGS)
def test_the_loss_and_every_gradient_are_finite(config_class: Any, tokenizer: str) -> None:
    config = small(config_class)
    module = ContrastiveModule(build_model(model_for(config, tokenizer)), [config], FACTS)
    output = module(batch_of(12))
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert math.isfinite(float(output.loss.detach()))
    assert 0 < output.num_rows[config.type] <= 12
    grads = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert all(bool(grad.isfinite().all()) for grad in grads)
    assert any(bool(grad.abs().sum() > 0) for grad in grads)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_batch_without_a_usable_row_gives_zero_and_gradients_all_the_same(config_class: Any, tokenizer: str) -> None:
    config = small(config_class)
    module = ContrastiveModule(build_model(model_for(config, tokenizer)), [config], FACTS)
    module(batch_of(12)).loss.backward()
    with_gradient = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    module.zero_grad()
    output = module(without_rows(batch_of(2), config.views))
    output.loss.backward()
    assert output.loss.item() == 0
    assert with_gradient == {name for name, parameter in module.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("config_class", [one for one in CONFIGS if {"memory", "queue_size"} & set(one.model_fields)])
def test_rows_of_an_update_that_was_skipped_do_not_go_in_with_a_later_one(config_class: Any, tokenizer: str) -> None:
    config = small(config_class, **({"memory": 20} if "memory" in config_class.model_fields else {}))
    module = ContrastiveModule(build_model(model_for(config, tokenizer)), [config], FACTS)
    module(batch_of(12), progress=LATE)
    before = {name: value.clone() for name, value in module.state_dict().items() if name.endswith(".state")}
    assert before
    module(without_rows(batch_of(2), config.views), progress=LATE)
    module.after_optimizer_step(LATE)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    module(batch_of(12), progress=LATE)
    module.after_optimizer_step(LATE)
    assert not all(torch.equal(module.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("config_class", CONFIGS)
def test_its_state_survives_a_round_trip(config_class: Any, tokenizer: str) -> None:
    config, batch = small(config_class), batch_of(12)
    model = model_for(config, tokenizer)
    module = ContrastiveModule(build_model(model, seed=0), [config], FACTS)
    module(batch).loss.backward()
    module.after_optimizer_step()
    # What a recipe builds again, such as a teacher, is no state; so the same start, with all its state wiped out.
    other = ContrastiveModule(build_model(model, seed=0), [config], replace(FACTS, seed=6))
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict({name: tensor.clone() for name, tensor in module.state_dict().items()})
    torch.manual_seed(0)
    found = other(batch).loss
    torch.manual_seed(0)
    assert torch.equal(module(batch).loss, found)


@pytest.mark.parametrize(
    ("bounds", "is_partial", "dtype"),
    [
        ([0, 5, 12], False, torch.float64),
        ([0, 5, 12], True, torch.float64),
        ([0, 3, 7, 12], False, torch.float64),
        ([0, 3, 7, 12], True, torch.float64),
        ([0, 5, 12], False, torch.float32),
    ],
    ids=["two-paired", "two-partly", "three-paired", "three-partly", "two-paired-float32"],
)
@pytest.mark.parametrize("config_class", CONFIGS)
def test_several_processes_equal_one(
    config_class: Any, bounds: list[int], is_partial: bool, dtype: torch.dtype, tokenizer: str, tmp_path: Path
) -> None:
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    config, batch = small(config_class), batch_of(12, num_groups=10)
    batch = without_some(batch) if is_partial else batch
    model = model_for(config, tokenizer)
    arguments = {"config": model, "objectives": [config], "batch": batch, "dtype": dtype, "facts": FACTS}
    results = run_processes("module_gradients", len(bounds) - 1, tmp_path, bounds=bounds, **arguments)
    module = ContrastiveModule(build_model(model), [config], FACTS).to(dtype)
    torch.manual_seed(0)
    output = module(batch)
    output.loss.backward()
    expected = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    whole = max(float(grad.norm()) for grad in expected.values())
    assert whole > 0
    for result in results:
        torch.testing.assert_close(result["loss"], output.loss.detach(), rtol=tolerance, atol=0)
        assert result["num_rows"] == output.num_rows
        for name, grad in expected.items():
            assert_close(result["grads"][name], grad, whole, tolerance, name)


def test_short_forms_mean_the_whole_mapping() -> None:
    assert expand_objective("clip") == {"type": "clip"}
    assert expand_objective({"clip": 0.5}) == {"type": "clip", "weight": 0.5}
    assert expand_objective({"clip": {"weight": 2}}) == {"type": "clip", "weight": 2}
    assert expand_objective({"type": "clip", "weight": 3}) == {"type": "clip", "weight": 3}
