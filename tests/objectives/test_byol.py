from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.objectives.configs.momentum import BYOLConfig
from tests.objectives.steps import (
    NUM_ROWS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    batches_of,
)
from tests.tiny import resnet_pair, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")


def byol(**fields: Any) -> BYOLConfig:
    sizes = {"head": {"hidden_dim": 12, "output_dim": 6}, "predictor": {"hidden_dim": 12}}
    return BYOLConfig.model_validate({**sizes, **fields})


def test_the_loss_is_the_sum_of_both_directions_and_their_mean_over_rows(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), byol(momentum=0.6)), batches_of()
    steps.take(batches[0])
    batch, objective, model = batches[1], steps.objective, steps.module.model
    predictions, targets = [], []
    for view, images in zip(("image.0", "image.1"), batch.images, strict=True):
        predictions.append(objective.predictor(objective.projector(model.encode_image(images))))
        targets.append(objective.twin.project(objective.twin.encode(model, batch, view)))
    cosines = [F.cosine_similarity(predictions[0], targets[1]), F.cosine_similarity(predictions[1], targets[0])]
    expected = (4 - 2 * cosines[0] - 2 * cosines[1]).sum() / NUM_ROWS
    torch.testing.assert_close(steps.take(batch), expected.detach())


def test_the_twin_takes_no_gradient_and_moves_by_tau_of_the_step_that_is_done(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), byol())
    online = dict(steps.objective.projector.named_parameters())
    expected = {name: weight.detach().clone() for name, weight in online.items()}
    for step, batch in enumerate(batches_of()):
        steps.take(batch)
        tau = 1 - (1 - 0.996) * (math.cos(math.pi * step / 5) + 1) / 2
        for name, weight in online.items():
            expected[name] = tau * expected[name] + (1 - tau) * weight.detach()
    twin = dict(steps.objective.twin.projector.named_parameters())
    for name, weight in twin.items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-10, atol=1e-14)
    assert all(weight.grad is None for weight in steps.objective.twin.parameters())


def test_every_trained_part_learns(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), byol()), batches_of()
    steps.module(batches[0]).loss.backward()
    objective = steps.objective
    parts = [objective.projector, objective.predictor, steps.module.model.towers.image_model]
    for part in parts:
        assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in part.parameters())


def test_there_is_no_chance_level(tokenizer: str) -> None:
    output = Stepper(vit_bert_pair(tokenizer), byol()).module(batches_of()[0])
    assert output.chances == {"byol": None}


@pytest.mark.parametrize("buffers", ["own", "ema"])
def test_processes_end_in_the_state_of_one(tokenizer: str, tmp_path: Path, buffers: str) -> None:
    config = byol(momentum=0.6, buffers=buffers)
    assert_processes_end_alike(tmp_path, resnet_pair(tokenizer), config, batches=batches_of(32))


def test_it_resumes_bit_for_bit(tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer), byol(), batches_of())
