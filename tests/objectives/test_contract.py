"""What every objective of the registry promises."""

from __future__ import annotations

import math
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import AnyObjective, expand_objective
from mmcl.objectives.objective import DataFacts
from mmcl.recipe_model import ModelConfig
from tests.processes import run_processes
from tests.tiny import SPECIAL, WORDS, bert_alone, random_batch, save_tokenizer, vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

CONFIGS: list[Any] = list(typing.get_args(typing.get_args(AnyObjective)[0]))


def count_tokens() -> Tensor:
    """As if one token alone were ever seen, so that nothing is left to chance in drawing noise."""
    return torch.zeros(len(SPECIAL + WORDS), dtype=torch.int64).index_fill(0, torch.tensor(10), 1)


FACTS = DataFacts(24, ("a", "b", "c"), batch_size=12, seed=5, count_tokens=count_tokens)
SMALL: dict[str, Any] = {
    "head": {"hidden_dim": 12, "output_dim": 8},
    "predictor": {"hidden_dim": 12, "output_dim": 8},
    "queue_size": 20,
    "num_prototypes": 6,
    "num_noise": 8,
    "window": 1,
    "subsample": 0,
}
"""Sizes at which a test is quick, for the fields that an objective has."""


def small(config_class: Any, **fields: Any) -> Any:
    """An objective with everything at its default but its sizes."""
    default = config_class()
    for name, value in SMALL.items():
        if getattr(default, name, None) is not None:
            own = getattr(default, name)
            fields[name] = {**own.model_dump(), **value} if hasattr(own, "model_dump") else value
    return config_class.model_validate({**fields})


def model_for(config: Any, tokenizer: str) -> ModelConfig:
    """Two towers, or the one that an objective can do with: a text tower that may keep a head, a table of tokens."""
    if config.type == "skip_gram":
        return ModelConfig.model_validate(
            {"text": {"config": {"model_type": "static", "embedding_dim": 8}, "tokenizer": tokenizer}}
        )
    return bert_alone(tokenizer) if getattr(config, "keep_head", False) else vit_bert_pair(tokenizer)


def batch_of(num_rows: int, seed: int = 0, num_groups: int | None = None) -> PairBatch:
    return random_batch(num_rows, 16, seed, num_groups, image_views=2, text_views=3, num_classes=3)


def assert_close(found: Tensor, expected: Tensor, whole: float, name: str) -> None:
    """Equal but for rounding; a gradient that is zero by symmetry is compared with the size of all of them."""
    size = max(float(expected.norm()), 1e-4 * whole)
    assert float((found - expected).norm()) < 1e-10 * size, name


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


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
    batch, nothing = batch_of(2), torch.empty(0, dtype=torch.int64)
    batch = without_some(batch)
    empty = PairBatch(
        tuple(view[:0] for view in batch.images) if "image.0" in config.views else batch.images,
        tuple(view.part(0, 0) for view in batch.texts),
        batch.group_ids,
        batch.sample_ids,
        batch.labels,
        nothing if "image.0" in config.views else batch.image_rows,
        tuple(nothing for _ in batch.texts),
    )
    output = module(empty)
    output.loss.backward()
    assert output.loss.item() == 0
    assert with_gradient == {name for name, parameter in module.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("config_class", CONFIGS)
def test_its_state_survives_a_round_trip(config_class: Any, tokenizer: str) -> None:
    config, batch = small(config_class), batch_of(12)
    model = model_for(config, tokenizer)
    module = ContrastiveModule(build_model(model, seed=0), [config], FACTS)
    module(batch).loss.backward()
    module.after_optimizer_step()
    other = ContrastiveModule(build_model(model, seed=1), [config], replace(FACTS, seed=6))
    other.load_state_dict({name: tensor.clone() for name, tensor in module.state_dict().items()})
    torch.manual_seed(0)
    found = other(batch).loss
    torch.manual_seed(0)
    assert torch.equal(module(batch).loss, found)


@pytest.mark.parametrize("bounds", [[0, 5, 12], [0, 3, 7, 12]], ids=["5+7", "3+4+5"])
@pytest.mark.parametrize("is_partial", [False, True], ids=["paired", "partly"])
@pytest.mark.parametrize("config_class", CONFIGS)
def test_several_processes_equal_one(
    config_class: Any, is_partial: bool, bounds: list[int], tokenizer: str, tmp_path: Path
) -> None:
    config, batch = small(config_class), batch_of(12, num_groups=10)
    batch = without_some(batch) if is_partial else batch
    model = model_for(config, tokenizer)
    arguments = {"config": model, "objectives": [config], "batch": batch, "dtype": torch.float64, "facts": FACTS}
    results = run_processes("module_gradients", len(bounds) - 1, tmp_path, bounds=bounds, **arguments)
    module = ContrastiveModule(build_model(model), [config], FACTS).double()
    torch.manual_seed(0)
    output = module(batch)
    output.loss.backward()
    expected = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    whole = max(float(grad.norm()) for grad in expected.values())
    assert whole > 0
    for result in results:
        torch.testing.assert_close(result["loss"], output.loss.detach(), rtol=1e-10, atol=0)
        assert result["num_rows"] == output.num_rows
        for name, grad in expected.items():
            assert_close(result["grads"][name], grad, whole, name)


def test_short_forms_mean_the_whole_mapping() -> None:
    assert expand_objective("clip") == {"type": "clip"}
    assert expand_objective({"clip": 0.5}) == {"type": "clip", "weight": 0.5}
    assert expand_objective({"clip": {"weight": 2}}) == {"type": "clip", "weight": 2}
    assert expand_objective({"type": "clip", "weight": 3}) == {"type": "clip", "weight": 3}
