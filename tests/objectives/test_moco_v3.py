from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.losses.info_nce import info_nce_loss
from mmcl.objectives.configs.momentum import MoCoV3Config
from mmcl.schedules import MomentumSchedule
from tests.objectives.steps import (
    NUM_ROWS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    batches_of,
)
from tests.tiny import vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")


def moco_v3(**fields: Any) -> MoCoV3Config:
    sizes = {"head": {"hidden_dim": 12, "output_dim": 6}, "predictor": {"hidden_dim": 12}}
    return MoCoV3Config.model_validate({**sizes, **fields})


def test_the_loss_is_both_directions_times_two_temperatures(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), moco_v3()), batches_of()
    steps.take(batches[0])
    batch, objective, model = batches[1], steps.objective, steps.module.model
    queries, keys = [], []
    for view, images in zip(("image.0", "image.1"), batch.images, strict=True):
        projected = objective.projector(model.encode_image(images))
        queries.append(F.normalize(objective.predictor(projected), dim=-1))
        keys.append(F.normalize(objective.twin.project(objective.twin.encode(model, batch, view)), dim=-1))
    targets = torch.arange(NUM_ROWS)
    directions = [F.cross_entropy(query @ key.T / 0.2, targets) for query, key in zip(queries, keys[::-1], strict=True)]
    expected = 2 * 0.2 * (directions[0] + directions[1])
    torch.testing.assert_close(info_nce_loss(queries[0], keys[1], 5.0), directions[0])
    torch.testing.assert_close(steps.take(batch), expected.detach())


def test_chance_is_that_of_equal_scores(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), moco_v3())
    output = steps.module(batches_of()[0])
    assert output.chances["moco_v3"] == pytest.approx(4 * 0.2 * math.log(NUM_ROWS))


def test_the_twin_has_no_predictor_and_moves_with_the_momentum_of_the_next_step(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), moco_v3(momentum=MomentumSchedule(start=0.5, end=1.0)))
    online = dict(steps.objective.projector.named_parameters())
    expected = {name: weight.detach().clone() for name, weight in online.items()}
    for step, batch in enumerate(batches_of()):
        steps.take(batch)
        m = 1 - 0.5 * (math.cos(math.pi * (step + 1) / 5) + 1) / 2
        for name, weight in online.items():
            expected[name] = m * expected[name] + (1 - m) * weight.detach()
    for name, weight in steps.objective.twin.projector.named_parameters():
        torch.testing.assert_close(weight, expected[name])
    assert not any("predictor" in name for name, _ in steps.objective.twin.named_parameters())


def test_rows_of_one_group_are_not_each_others_negatives(tokenizer: str) -> None:
    steps, batch = Stepper(vit_bert_pair(tokenizer), moco_v3()), batches_of()[0]
    apart = float(steps.module(batch).loss.detach())
    batch.group_ids.fill_(7)
    assert abs(float(steps.module(batch).loss.detach()) - apart) > 1e-3


def test_processes_end_in_the_state_of_one(tokenizer: str, tmp_path: Path) -> None:
    assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), moco_v3(momentum=0.6))


def test_it_resumes_bit_for_bit(tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer), moco_v3(), batches_of())
