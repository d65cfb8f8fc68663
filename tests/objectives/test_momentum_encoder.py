from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.distributed import RowSizes
from mmcl.model import TwoTower, build_model
from mmcl.objectives.configs.base import HeadConfig
from mmcl.objectives.configs.momentum import BYOLConfig, MoCoConfig
from mmcl.objectives.heads import Projector
from mmcl.objectives.momentum_encoder import MomentumEncoder
from mmcl.training.grad_cache import GradCache
from tests.objectives.steps import Stepper, batches_of
from tests.tiny import random_batch, resnet_pair, vit_bert_pair

HEAD = HeadConfig(hidden_dim=12, output_dim=6)
VIEWS = ("image.0", "image.1")


def built(config: Any, views: tuple[str, ...] = VIEWS, **fields: Any) -> tuple[TwoTower, Projector, MomentumEncoder]:
    model = build_model(config)
    projector = Projector(HEAD, model, views)
    return model, projector, MomentumEncoder(model, projector, views, **fields)


def shake(*modules: torch.nn.Module) -> None:
    """Change all weights, as an update would."""
    with torch.no_grad():
        for module in modules:
            for weight in module.parameters():
                weight.add_(0.1 * torch.randn_like(weight))


def test_weights_after_five_steps_are_the_average_by_hand(tokenizer: str) -> None:
    model, projector, twin = built(vit_bert_pair(tokenizer))
    online = {**dict(model.towers.named_parameters()), **dict(projector.named_parameters())}
    expected = {name: weight.detach().double().clone() for name, weight in online.items()}
    for momentum in (0.9, 0.5, 0.99, 0.0, 0.7):
        shake(model, projector)
        twin.update(model, projector, momentum)
        for name, weight in online.items():
            expected[name] = momentum * expected[name] + (1 - momentum) * weight.detach().double()
    found = dict(twin.towers["image"].named_parameters()) | dict(twin.projector.named_parameters())
    assert len(found) > 10
    for name, weight in found.items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_it_starts_as_a_copy_that_takes_no_gradient(tokenizer: str) -> None:
    model, projector, twin = built(vit_bert_pair(tokenizer))
    batch = random_batch(6, 16, image_views=2)
    for view, images in zip(VIEWS, batch.images, strict=True):
        encoded = twin.encode(model, batch, view)
        assert torch.equal(encoded, projector.input_of(model.encode_image(images)))
        assert torch.equal(twin.project(encoded), projector(model.encode_image(images)))
        assert not twin.project(encoded).requires_grad
    assert not any(weight.requires_grad for weight in twin.parameters())
    assert all(weight.requires_grad for weight in projector.parameters())


def test_of_the_towers_it_holds_what_its_views_need(tokenizer: str) -> None:
    _, _, twin = built(vit_bert_pair(tokenizer))
    assert list(twin.towers) == ["image"]
    assert not any(name.startswith("towers.image.text") for name, _ in twin.named_parameters())


def test_it_encodes_texts_and_views_of_both_kinds(tokenizer: str) -> None:
    model, _, twin = built(vit_bert_pair(tokenizer), ("image.0", "text.0"))
    batch = random_batch(5, 16)
    expected = model.encode_text(batch.texts[0]).projected
    assert torch.equal(twin.encode(model, batch, "text.0"), expected)
    assert torch.equal(twin.encode(model, batch, "image.0"), model.encode_image(batch.images[0]).projected)


def test_it_computes_little_padding(tokenizer: str) -> None:
    model, _, twin = built(vit_bert_pair(tokenizer), ("text.0",))
    shapes = []
    twin.towers["text"].text_model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    batch = random_batch(24, 16, longest_text=31)
    twin.encode(model, batch, "text.0")
    assert len(shapes) > 1
    assert sum(map(math.prod, shapes)) < 1.3 * int(batch.texts[0].attention_mask.sum())


def test_no_rows_become_no_rows(tokenizer: str) -> None:
    model, projector, twin = built(vit_bert_pair(tokenizer))
    encoded = twin.encode(model, random_batch(5, 16, image_views=2).part(2, 2), "image.1")
    assert encoded.shape == (0, projector.input_dim)


@pytest.mark.parametrize("buffers", ["own", "copy", "ema"])
def test_running_statistics_are_kept_as_asked(tokenizer: str, buffers: str) -> None:
    model, projector, twin = built(resnet_pair(tokenizer), buffers=buffers)
    name = next(name for name, _ in model.towers.named_buffers() if name.endswith("running_mean"))
    batch = random_batch(6, 32, image_views=2)
    start = dict(model.towers.named_buffers())[name].clone()
    model.encode_image(batch.images[0])
    twin.encode(model, batch, "image.1")
    online, own = (dict(towers.named_buffers())[name].clone() for towers in (model.towers, twin.towers["image"]))
    assert not torch.equal(online, own)
    twin.update(model, projector, 0.75)
    expected = {"own": own, "copy": online, "ema": 0.75 * own + 0.25 * online}[buffers]
    found = dict(twin.towers["image"].named_buffers())[name]
    torch.testing.assert_close(found, expected)
    assert not torch.equal(own, start)


def test_batch_norm_normalises_by_the_batch_whatever_is_kept(tokenizer: str) -> None:
    _, projector, twin = built(vit_bert_pair(tokenizer), buffers="copy")
    first, norm = (twin.projector.head[0], twin.projector.head[1])
    encoded = torch.randn(9, projector.input_dim)
    hidden = F.batch_norm(first(encoded), None, None, norm.weight, norm.bias, training=True)
    expected = twin.projector.head[3](hidden.relu())
    torch.testing.assert_close(twin.project(encoded), expected)


def test_a_momentum_of_one_stops_it(tokenizer: str) -> None:
    model, projector, twin = built(vit_bert_pair(tokenizer))
    before = [weight.clone() for weight in twin.parameters()]
    shake(model, projector)
    twin.update(model, projector, 1.0)
    assert all(torch.equal(old, new) for old, new in zip(before, twin.parameters(), strict=True))


@pytest.mark.parametrize("config_class", [MoCoConfig, BYOLConfig])
def test_cached_gradients_are_those_of_the_whole_batch(tokenizer: str, config_class: Any) -> None:
    fields: dict[str, Any] = {"head": {"hidden_dim": 12, "output_dim": 6, "batch_norm": True}, "momentum": 0.6}
    fields |= {"queue_size": 30} if config_class is MoCoConfig else {"predictor": {"hidden_dim": 12}}
    config, batches, found = config_class.model_validate(fields), batches_of(), []
    for is_cached in (False, True):
        steps = Stepper(vit_bert_pair(tokenizer), config)
        steps.take(batches[0])
        if is_cached:
            cache = GradCache(steps.module, 5, lambda loss: loss.backward(), nullcontext)
            cache.step(batches[1], RowSizes((12,)), steps.progress)
        else:
            steps.module(batches[1], progress=steps.progress).loss.backward()
        found.append({name: weight.grad for name, weight in steps.module.named_parameters()})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        if grad is not None and grad.norm() > 0:
            torch.testing.assert_close(found[1][name], grad, rtol=1e-8, atol=1e-12)
