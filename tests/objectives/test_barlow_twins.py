from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.objectives.configs.correlation import BarlowTwinsConfig
from tests.objectives.steps import (
    NUM_ROWS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    batches_of,
)
from tests.tiny import vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")


def barlow_twins(**fields: Any) -> BarlowTwinsConfig:
    return BarlowTwinsConfig.model_validate({"head": {"hidden_dim": 12, "output_dim": 6}, "loss_scale": 0.1, **fields})


def test_the_loss_is_that_of_the_projections(tokenizer: str) -> None:
    steps, batch = Stepper(vit_bert_pair(tokenizer), barlow_twins(off_diagonal_weight=0.2)), batches_of()[0]
    projected = [steps.objective.projector(steps.module.model.encode_image(images)) for images in batch.images]
    first, second = ((z - z.mean(dim=0)) / z.std(dim=0, correction=0) for z in projected)
    correlation = first.T @ second / NUM_ROWS
    diagonal = correlation.diagonal()
    rest = correlation.square().sum() - diagonal.square().sum()
    expected = 0.1 * ((diagonal - 1).square().sum() + 0.2 * rest)
    output = steps.module(batch)
    torch.testing.assert_close(output.loss, expected)
    assert output.chances == {"barlow_twins": None}


def test_processes_end_in_the_state_of_one(tokenizer: str, tmp_path: Path) -> None:
    assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), barlow_twins())


def test_it_resumes_bit_for_bit(tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer), barlow_twins(), batches_of())
