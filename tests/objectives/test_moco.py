from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.losses.moco import moco_loss
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs.momentum import MoCoConfig
from mmcl.objectives.memory import NO_GROUP
from mmcl.schedules import MomentumSchedule
from tests.objectives.steps import (
    NUM_ROWS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    batches_of,
)
from tests.tiny import resnet_pair, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

SMALL: dict[str, Any] = {"queue_size": 40, "momentum": 0.6, "head": {"hidden_dim": 12, "output_dim": 6}}


def moco(**fields: Any) -> MoCoConfig:
    return MoCoConfig.model_validate({**SMALL, **fields})


def project(steps: Stepper, images: torch.Tensor) -> torch.Tensor:
    return F.normalize(steps.objective.projector(steps.module.model.encode_image(images)), dim=-1)


def test_the_loss_is_that_of_the_queue_before_this_steps_keys_enter(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), moco()), batches_of()
    for batch in batches[:2]:
        steps.take(batch)
    batch, objective = batches[2], steps.objective
    queries = project(steps, batch.images[0])
    encoded = objective.twin.encode(steps.module.model, batch, "image.1")
    keys = F.normalize(objective.twin.project(encoded), dim=-1)
    (past,), ids = objective.queue.filled()
    expected = moco_loss(queries, keys, past, 0.2, batch.group_ids, ids).detach()
    entered = torch.cat([past[NUM_ROWS:], keys])
    entered_too_early = moco_loss(queries, keys, entered, 0.2, batch.group_ids, ids).detach()
    torch.testing.assert_close(steps.take(batch), expected)
    assert abs(float(expected - entered_too_early)) > 1e-3


def test_the_queue_starts_with_random_unit_rows_of_no_group_and_holds_k_keys_always(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), moco())
    (rows,), ids = steps.objective.queue.filled()
    assert rows.shape == (40, 6)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(40, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert (rows @ rows.T).fill_diagonal_(0).abs().max() < 0.9999
    assert ids.tolist() == [NO_GROUP] * 40
    for batch in batches_of():
        steps.take(batch)
        assert steps.objective.queue.num_filled == 40


def test_after_five_steps_the_queue_holds_the_last_keys_and_their_groups_in_order(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), moco()), batches_of()
    keys, ids = [], []
    for batch in batches:
        encoded = steps.objective.twin.encode(steps.module.model, batch, "image.1")
        keys.append(F.normalize(steps.objective.twin.project(encoded), dim=-1))
        ids.append(batch.group_ids)
        steps.take(batch)
    (rows,), group_ids = steps.objective.queue.filled()
    every, every_id = torch.cat(keys), torch.cat(ids)
    # 60 keys went into 40 places: the last 40, of which the oldest stands where the next will be.
    places = torch.arange(20, 60) % 40
    torch.testing.assert_close(rows[places], every[20:])
    assert torch.equal(group_ids[places], every_id[20:])


def test_the_twin_after_five_steps_is_the_average_by_hand(tokenizer: str) -> None:
    momentum = MomentumSchedule(start=0.2, end=1.0, shape="linear")
    steps = Stepper(vit_bert_pair(tokenizer), moco(momentum=momentum))
    online = dict(steps.objective.projector.named_parameters())
    expected = {name: weight.detach().clone() for name, weight in online.items()}
    for step, batch in enumerate(batches_of()):
        steps.take(batch)
        # The move comes before the next step's forward and has that step's momentum.
        m = 0.2 + 0.8 * (step + 1) / 5
        for name, weight in online.items():
            expected[name] = m * expected[name] + (1 - m) * weight.detach()
    for name, weight in steps.objective.twin.projector.named_parameters():
        torch.testing.assert_close(weight, expected[name])


def test_the_keys_view_does_not_go_through_the_trained_encoder(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), moco())
    assert steps.module.num_passes == {"image.0": 1}
    batch = batches_of()[0]
    output = steps.module(batch)
    assert list(output.views) == ["image.0"]
    assert output.num_rows == {"moco": NUM_ROWS}
    assert output.chances["moco"] == pytest.approx(math.log(41))


def test_symmetric_is_the_mean_of_both_directions_and_both_views_keys_enter(tokenizer: str) -> None:
    steps, batch = Stepper(vit_bert_pair(tokenizer), moco(symmetric=True)), batches_of()[0]
    assert steps.module.num_passes == {"image.0": 1, "image.1": 1}
    views = [project(steps, images) for images in batch.images]
    (past,), ids = steps.objective.queue.filled()
    # At the first step twin and trained encoder are the same.
    losses = [moco_loss(query, key, past, 0.2, batch.group_ids, ids) for query, key in (views, views[::-1])]
    torch.testing.assert_close(steps.take(batch), torch.stack(losses).mean().detach())
    (rows,), ids = steps.objective.queue.filled()
    torch.testing.assert_close(rows[: 2 * NUM_ROWS], torch.cat(views[::-1]).detach())
    assert torch.equal(ids[: 2 * NUM_ROWS], batch.group_ids.repeat(2))


def test_a_key_of_a_querys_group_is_no_negative(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), moco()), batches_of()
    steps.take(batches[0])
    batch = batches[0]
    before = float(steps.module(batch).loss.detach())
    with torch.no_grad():
        steps.objective.queue.group_ids.fill_(NO_GROUP)
    assert float(steps.module(batch).loss.detach()) > before + 1e-3


@pytest.mark.parametrize("pair", [vit_bert_pair, resnet_pair], ids=["vit", "resnet"])
def test_processes_end_in_the_state_of_one(tokenizer: str, tmp_path: Path, pair: Any) -> None:
    batches = batches_of(32 if pair is resnet_pair else 16)
    state = assert_processes_end_alike(tmp_path, pair(tokenizer), moco(), batches=batches)
    assert state["objectives.moco.queue.state"].tolist() == [40, 20]
    assert (state["objectives.moco.queue.group_ids"] != NO_GROUP).all()


def test_it_resumes_bit_for_bit(tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer), moco(), batches_of())


def test_an_update_that_was_skipped_leaves_the_queue(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), moco()), batches_of()
    module: ContrastiveModule = steps.module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(batches[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
