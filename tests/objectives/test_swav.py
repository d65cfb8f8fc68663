from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.errors import UserError
from mmcl.losses.sinkhorn import sinkhorn
from mmcl.losses.swav import swav_loss
from mmcl.model import build_model
from mmcl.objectives.configs.clustering import SwAVConfig
from mmcl.objectives.objective import DataFacts
from tests.objectives.steps import (
    FACTS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    batches_of,
)
from tests.tiny import vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

UNIT = {"rtol": 1e-6, "atol": 1e-6}


def swav(**fields: Any) -> SwAVConfig:
    sizes = {"head": {"hidden_dim": 12, "output_dim": 6}, "num_prototypes": 7, "freeze_steps": 2}
    return SwAVConfig.model_validate({**sizes, **fields})


def embed(steps: Stepper, batch: Any) -> list[torch.Tensor]:
    model, projector = steps.module.model, steps.objective.projector
    return [F.normalize(projector(model.encode_image(images)), dim=-1) for images in batch.images]


def test_the_loss_takes_codes_from_the_two_global_crops_alone(tokenizer: str) -> None:
    config = swav(views=("image.0", "image.1", "image.2", "image.3"))
    steps, batch = Stepper(vit_bert_pair(tokenizer), config), batches_of(image_views=4)[0]
    scores = [view @ steps.objective.prototypes.T for view in embed(steps, batch)]
    codes = [sinkhorn(view, 0.05, 3) for view in scores[:2]]
    expected = swav_loss(scores, codes, 0.1)
    output = steps.module(batch)
    torch.testing.assert_close(output.loss, expected)
    of_all_crops = swav_loss(scores, [sinkhorn(view, 0.05, 3) for view in scores], 0.1)
    assert abs(float((output.loss - of_all_crops).detach())) > 1e-3
    assert output.chances["swav"] == pytest.approx(math.log(7))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_prototypes_stay_for_the_first_epoch_and_then_move_with_unit_norm(tokenizer: str, optimizer: Any) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), swav(freeze_steps=None))
    steps.steps_per_epoch = 3
    trained = [weight for weight in steps.module.parameters() if weight.requires_grad]
    steps.optimizer = optimizer(trained, lr=0.2, weight_decay=0.5)
    prototypes = steps.objective.prototypes
    start = prototypes.detach().clone()
    torch.testing.assert_close(start.norm(dim=1), torch.ones(7, dtype=torch.float64), **UNIT)
    for step, batch in enumerate(batches_of()):
        steps.take(batch)
        assert torch.equal(prototypes, start) == (step < 3)
        torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(7, dtype=torch.float64), **UNIT)


def test_frozen_prototypes_have_a_gradient_of_zero(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), swav())
    steps.module(batches_of()[0], progress=steps.progress).loss.backward()
    assert torch.equal(steps.objective.prototypes.grad, torch.zeros(7, 6, dtype=torch.float64))
    steps.step = 2
    steps.module(batches_of()[0], progress=steps.progress).loss.backward()
    assert steps.objective.prototypes.grad.norm() > 0


def test_a_full_queue_is_scored_anew_and_balances_the_codes(tokenizer: str) -> None:
    config = swav(queue_size=20, queue_start_step=1, freeze_steps=0)
    steps, batches = Stepper(vit_bert_pair(tokenizer), config), batches_of()
    entered = []
    for step, batch in enumerate(batches[:3]):
        if step >= 1:
            entered.append(embed(steps, batch)[:2])
        steps.take(batch)
        assert steps.objective.queue.num_filled == min(20, 12 * step)
    batch, prototypes = batches[3], steps.objective.prototypes
    scores = [view @ prototypes.T for view in embed(steps, batch)]
    past = [torch.cat([views[crop] for views in entered])[-20:] @ prototypes.T for crop in range(2)]
    codes = [sinkhorn(torch.cat([old, new]), 0.05, 3)[20:] for old, new in zip(past, scores, strict=True)]
    expected = swav_loss(scores, codes, 0.1).detach()
    without = swav_loss(scores, [sinkhorn(new, 0.05, 3) for new in scores], 0.1).detach()
    torch.testing.assert_close(steps.take(batch), expected)
    assert abs(float(expected - without)) > 1e-4


def test_processes_end_in_the_state_of_one_with_and_without_a_queue(tokenizer: str, tmp_path: Path) -> None:
    model = vit_bert_pair(tokenizer)
    plain = assert_processes_end_alike(tmp_path / "plain", model, swav())
    config = swav(queue_size=14, queue_start_step=1)
    queued = assert_processes_end_alike(tmp_path / "queued", model, config)
    assert not torch.allclose(plain["objectives.swav.prototypes"], queued["objectives.swav.prototypes"])
    assert queued["objectives.swav.queue.state"].tolist() == [14, 48 % 14]


def test_it_resumes_bit_for_bit(tokenizer: str) -> None:
    config = swav(queue_size=14, queue_start_step=1)
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer), config, batches_of())


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "queue_size", "expected"),
    [(50_000, 4096, 0, 3000), (5_000, 256, 0, 256), (5_000, 256, 512, 500), (60, 64, 0, 10), (60, 8, 0, 8)],
)
def test_prototypes_are_by_default_counted_by_the_data(
    tokenizer: str, num_samples: int, batch_size: int, queue_size: int, expected: int
) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    config = swav(num_prototypes=None, queue_size=queue_size)
    objective = config.build(model, DataFacts(num_samples, batch_size=batch_size))
    assert len(objective.prototypes) == expected


def test_a_stream_has_to_say_what_follows_from_its_length(tokenizer: str) -> None:
    model, stream = build_model(vit_bert_pair(tokenizer)), replace(FACTS, num_samples=None)
    with pytest.raises(UserError, match="give num_prototypes, freeze_steps, queue_start_step"):
        swav(num_prototypes=None, freeze_steps=None, queue_size=5).build(model, stream)
    assert len(swav().build(model, stream).prototypes) == 7


def test_too_few_rows_are_no_loss(tokenizer: str) -> None:
    steps, batch = Stepper(vit_bert_pair(tokenizer), swav()), batches_of()[0]
    output = steps.module(batch.part(0, 1))
    output.loss.backward()
    assert output.loss.item() == 0
    assert steps.objective.prototypes.grad is not None
