from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.distributed import RowSizes
from mmcl.errors import UserError
from mmcl.model import Encoded, build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.configs.words import WordsConfig
from mmcl.objectives.objective import DataFacts, Progress
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tuning import TuningConfig
from mmcl.training.grad_cache import GradCache
from mmcl.training.tuning import tune
from tests.objectives.small_modules import CONFIGS, REGISTRY_FACTS, batch_of, model_for, small
from tests.processes import run_processes
from tests.tiny import random_batch, resnet_pair, save_tokenizer, vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

OBJECTIVES: list[Any] = ["clip", {"simclr": 0.5}]


def objectives_of(items: list[Any]) -> tuple[AnyObjective, ...]:
    return Recipe.model_validate({"data": {"train": "x", "image_views": [{}, {}]}, "objectives": items}).objectives


def make_module(config: ModelConfig, items: list[Any], dtype: torch.dtype = torch.float64) -> ContrastiveModule:
    return ContrastiveModule(build_model(config), objectives_of(items), DataFacts(64, seed=1)).to(dtype).train()


def gradients(module: ContrastiveModule) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def whole_batch(module: ContrastiveModule, batch: PairBatch, micro_batch_size: int) -> Tensor:
    """One graph over all rows, which go through the towers in the same parts, and so under the same dropout."""
    parts = [batch.part(start, start + micro_batch_size) for start in range(0, len(batch), micro_batch_size)]
    encoded, keys = [], []
    for part in parts:
        encoded.append(module.encode(part))
        keys.append(module.encode_keys(part))
    views = {
        key: Encoded.of(
            torch.cat([views[key].features for views in encoded]),
            torch.cat([views[key].projected for views in encoded]),
        )
        for key in encoded[0]
    }
    joined = {name: tuple(map(torch.cat, zip(*(part[name] for part in keys), strict=True))) for name in keys[0]}
    output = module.losses_of(batch, views, joined)
    output.loss.backward()
    return output.loss.detach()


def cached(module: ContrastiveModule, batch: PairBatch, micro_batch_size: int) -> Tensor:
    cache = GradCache(module, micro_batch_size, lambda loss: loss.backward(), nullcontext)
    return cache.step(batch, RowSizes((len(batch),)), Progress()).loss.detach()


@pytest.mark.parametrize("is_partial", [False, True], ids=["paired", "partly"])
@pytest.mark.parametrize("micro_batch_size", [1, 4, 5])
def test_gradients_are_those_of_the_whole_batch_with_dropout(
    tmp_path: Path, micro_batch_size: int, is_partial: bool
) -> None:
    config = vit_bert_pair(save_tokenizer(tmp_path), dropout=0.2)
    # Long enough to go through in parts of like length.
    batch = random_batch(12, 16, num_groups=9, image_views=2, longest_text=60)
    batch = without_some(batch) if is_partial else batch
    one, other = make_module(config, OBJECTIVES), make_module(config, OBJECTIVES)
    torch.manual_seed(3)
    expected_loss = whole_batch(one, batch, micro_batch_size)
    torch.manual_seed(3)
    torch.testing.assert_close(cached(other, batch, micro_batch_size), expected_loss, rtol=1e-12, atol=0)
    expected, found = gradients(one), gradients(other)
    assert found.keys() == expected.keys()
    assert "model.logit_scale.log_scale" in found
    assert float(found["model.logit_scale.log_scale"].abs()) > 0
    for name, grad in expected.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-9, atol=1e-13, msg=name)


@pytest.mark.parametrize("config_class", [one for one in CONFIGS if not issubclass(one, WordsConfig)])
def test_every_objective_of_embeddings_has_them_with_dropout_in_the_towers(tmp_path: Path, config_class: Any) -> None:
    config = small(config_class)
    built = model_for(config, save_tokenizer(tmp_path), dropout=0.2)
    found = []
    for step in (whole_batch, cached):
        torch.manual_seed(1)
        module = ContrastiveModule(build_model(built), [config], REGISTRY_FACTS).double().train()
        torch.manual_seed(3)
        loss = step(module, batch_of(12, num_groups=9), 5)
        found.append((loss, gradients(module)))
    (expected_loss, expected), (loss, grads) = found
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    # Those that the loss does not reach are zeros in one, and not there in the other.
    reached = {name for name, grad in expected.items() if grad.abs().sum() > 0}
    assert reached
    assert reached == {name for name, grad in grads.items() if grad.abs().sum() > 0}
    for name in reached:
        torch.testing.assert_close(grads[name], expected[name], rtol=1e-8, atol=1e-12, msg=name)


def test_without_dropout_they_are_those_of_one_forward(tmp_path: Path) -> None:
    config, batch = vit_bert_pair(save_tokenizer(tmp_path)), random_batch(12, 16, image_views=2)
    one, other = make_module(config, OBJECTIVES), make_module(config, OBJECTIVES)
    one(batch).loss.backward()
    cached(other, batch, 5)
    for name, grad in gradients(one).items():
        torch.testing.assert_close(gradients(other)[name], grad, rtol=1e-9, atol=1e-13, msg=name)


TUNINGS: list[dict[str, Any]] = [
    {"image": "lora", "text": "lora", "lora": {"dropout": 0.1}},
    {"image": "locked"},
    {"image": "locked", "text": "lora"},
]


def tuned_module(config: ModelConfig, tuning: dict[str, Any]) -> ContrastiveModule:
    model = build_model(config)
    tune(model, TuningConfig.model_validate(tuning), seed=0)
    # The second factors start at 0, and would keep the first ones from a gradient.
    generator = torch.Generator().manual_seed(2)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1, generator=generator)
    return ContrastiveModule(model, objectives_of(["clip"]), DataFacts(64, seed=1)).double().train()


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_a_batch_of_1024_in_micro_batches_of_32_with_updates_and_locked_towers(
    tmp_path: Path, tuning: dict[str, Any]
) -> None:
    config, batch = vit_bert_pair(save_tokenizer(tmp_path), dropout=0.1), random_batch(1024, 16)
    found = []
    for step in (whole_batch, cached):
        module = tuned_module(config, tuning)
        torch.manual_seed(3)
        step(module, batch, 32)
        found.append(gradients(module))
    assert found[0].keys() == found[1].keys()
    assert any("lora_A" in name for name in found[0]) == ("lora" in tuning.values())
    assert "model.logit_scale.log_scale" in found[0]
    for name, grad in found[0].items():
        assert float(grad.abs().max()) > 0
        torch.testing.assert_close(found[1][name], grad, rtol=1e-8, atol=1e-13, msg=name)


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_updates_and_locked_towers_on_two_processes(tmp_path: Path, tuning: dict[str, Any]) -> None:
    tuning = {**tuning, "lora": {}}  # whose dropout one process would draw differently
    config, batch = vit_bert_pair(save_tokenizer(tmp_path / "tokenizer")), random_batch(1024, 16, num_groups=900)
    model = build_model(config)
    tune(model, TuningConfig.model_validate(tuning), seed=0)
    module = ContrastiveModule(model, objectives_of(["clip"]), DataFacts(64, seed=1)).double()
    module(batch).loss.backward()
    results = run_processes(
        "cached_gradients",
        2,
        tmp_path,
        config=config,
        objectives=objectives_of(["clip"]),
        batch=batch,
        bounds=[0, 400, 1024],
        micro_batch_size=32,
        tuning=TuningConfig.model_validate(tuning),
    )
    for result in results:
        assert result.keys() == gradients(module).keys()
        for name, grad in gradients(module).items():
            torch.testing.assert_close(result[name], grad, rtol=1e-8, atol=1e-13, msg=name)


def test_a_batch_of_4096_in_micro_batches_of_64(tmp_path: Path) -> None:
    config, batch = vit_bert_pair(save_tokenizer(tmp_path), dropout=0.1), random_batch(4096, 16)
    one, other = make_module(config, ["clip"]), make_module(config, ["clip"])
    torch.manual_seed(3)
    whole_batch(one, batch, 64)
    torch.manual_seed(3)
    cached(other, batch, 64)
    for name, grad in gradients(one).items():
        torch.testing.assert_close(gradients(other)[name], grad, rtol=1e-8, atol=1e-14, msg=name)


@pytest.mark.parametrize("bounds", [[0, 5, 12], [0, 3, 7, 12]], ids=["5+7", "3+4+5"])
def test_over_processes_they_are_those_of_one(tmp_path: Path, bounds: list[int]) -> None:
    config = vit_bert_pair(save_tokenizer(tmp_path / "tokenizer"))
    batch = random_batch(12, 16, num_groups=9, image_views=2)
    module = make_module(config, OBJECTIVES)
    module(batch).loss.backward()
    results = run_processes(
        "cached_gradients",
        len(bounds) - 1,
        tmp_path,
        config=config,
        objectives=objectives_of(OBJECTIVES),
        batch=batch,
        bounds=bounds,
        micro_batch_size=2,
    )
    for result in results:
        for name, grad in gradients(module).items():
            torch.testing.assert_close(result[name], grad, rtol=1e-8, atol=1e-12, msg=name)


def test_batch_norm_in_a_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"micro_batch_size: 4 would give batch norm, which is inside the towers"):
        cached(make_module(resnet_pair(save_tokenizer(tmp_path)), ["clip"]), random_batch(8, 32), 4)


def test_batch_norm_in_a_head_sees_the_whole_batch(tmp_path: Path) -> None:
    """What makes SimCLR exact under caching: its head is not cut into parts."""
    config, batch = vit_bert_pair(save_tokenizer(tmp_path)), random_batch(12, 16, image_views=2)
    one, other = make_module(config, ["simclr"]), make_module(config, ["simclr"])
    one(batch)
    cached(other, batch, 3)
    running = [name for name in one.state_dict() if "running" in name]
    assert running
    for name in running:
        torch.testing.assert_close(other.state_dict()[name], one.state_dict()[name], rtol=1e-10, atol=1e-12)
