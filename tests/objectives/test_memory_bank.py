from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.errors import UserError
from mmcl.losses.instance_discrimination import nce_loss
from mmcl.model import build_model
from mmcl.objectives import memory_bank
from mmcl.objectives.configs.momentum import MemoryBankConfig
from mmcl.objectives.memory import NO_GROUP
from tests.objectives.steps import (
    FACTS,
    NUM_ROWS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    batches_of,
)
from tests.tiny import vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

NUM_SLOTS = 60


def bank(**fields: Any) -> MemoryBankConfig:
    return MemoryBankConfig.model_validate({"head": {"output_dim": 6}, "num_noise": 9, **fields})


def embed(steps: Stepper, batch: Any) -> torch.Tensor:
    features = steps.module.model.encode_image(batch.images[0])
    return F.normalize(steps.objective.projector(features), dim=-1).detach()


def test_slots_start_as_random_unit_rows_one_for_each_sample(tokenizer: str) -> None:
    slots = Stepper(vit_bert_pair(tokenizer), bank()).objective.slots
    assert slots.shape == (NUM_SLOTS, 6)
    torch.testing.assert_close(slots.norm(dim=1), torch.ones(NUM_SLOTS, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert (slots @ slots.T).fill_diagonal_(0).abs().max() < 0.9999


def test_the_loss_is_that_of_the_bank_before_the_batch_and_of_the_first_batchs_constant(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), bank(num_noise=40)), batches_of()
    first = steps.encoded(batches[0]).select(("image.0",))
    objective = steps.objective
    noise = objective.draw(first, 0)
    scores = (embed(steps, batches[0])[:, None] * objective.slots[noise]).sum(-1)
    constant = NUM_SLOTS * (scores / 0.07).exp().mean()
    # The last batch has groups of the first, in other slots.
    for step, batch in enumerate([batches[0], batches[4]]):
        rows, z = steps.encoded(batch).select(("image.0",)), embed(steps, batch)
        slots, groups = objective.slots.clone(), objective.slot_groups.clone()
        noise = objective.draw(rows, step)
        own_slot, own_group = noise == batch.sample_ids[:, None], groups[noise] == batch.group_ids[:, None]
        assert own_slot.any()
        assert own_group.any() == (step == 1)
        own, other = (z * slots[batch.sample_ids]).sum(-1), (z[:, None] * slots[noise]).sum(-1)
        expected = nce_loss(own, other, NUM_SLOTS, constant, excluded=own_slot | own_group)
        torch.testing.assert_close(steps.take(batch), expected)
        torch.testing.assert_close(objective.normaliser, constant)


def test_a_slot_moves_half_way_and_back_to_unit_norm_and_no_other_slot_moves(tokenizer: str) -> None:
    steps, batches = Stepper(vit_bert_pair(tokenizer), bank(momentum=0.3)), batches_of()
    expected, groups = steps.objective.slots.clone(), torch.full((NUM_SLOTS,), NO_GROUP)
    for batch in batches[:4] + batches[:1]:
        moved = 0.3 * expected[batch.sample_ids] + 0.7 * embed(steps, batch)
        expected[batch.sample_ids] = moved / moved.norm(dim=1, keepdim=True)
        groups[batch.sample_ids] = batch.group_ids
        steps.take(batch)
    torch.testing.assert_close(steps.objective.slots, expected)
    assert torch.equal(steps.objective.slot_groups, groups)
    assert (groups == NO_GROUP).sum() == NUM_ROWS


def test_of_a_sample_that_a_batch_holds_twice_the_last_row_counts(tokenizer: str) -> None:
    steps, batch = Stepper(vit_bert_pair(tokenizer), bank()), batches_of()[0]
    batch.sample_ids[:] = torch.tensor([5, 3, 5, 9, 3, 5, 11, 12, 13, 14, 15, 16])
    z, before = embed(steps, batch), steps.objective.slots.clone()
    steps.take(batch)
    for sample, row in ((5, 5), (3, 4), (9, 3)):
        expected = F.normalize(0.5 * before[sample] + 0.5 * z[row], dim=0)
        torch.testing.assert_close(steps.objective.slots[sample], expected)


def test_noise_is_drawn_anew_each_step_and_for_each_row(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), bank())
    rows = steps.encoded(batches_of()[0]).select(("image.0",))
    drawn = [steps.objective.draw(rows, step) for step in range(50)]
    assert torch.equal(drawn[0], steps.objective.draw(rows, 0))
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == 50
    assert not torch.equal(drawn[0][0], drawn[0][1])
    counts = torch.bincount(torch.stack(drawn).flatten(), minlength=NUM_SLOTS).double()
    # 5400 draws from 60 slots: 90 each, with a deviation of 9.4.
    assert (counts - 90).abs().max() < 45


def test_chance_is_that_of_equally_likely_slots(tokenizer: str) -> None:
    steps = Stepper(vit_bert_pair(tokenizer), bank())
    output = steps.module(batches_of()[0])
    zero = torch.zeros(3, 9)
    level = nce_loss(torch.zeros(3), zero, NUM_SLOTS, float(NUM_SLOTS))
    assert output.chances["memory_bank"] == pytest.approx(float(level))
    assert float(level) == pytest.approx(math.log(10) + 9 * math.log(10 / 9))


def test_looking_noise_up_in_parts_changes_neither_loss_nor_gradient(
    tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for size in (2**24, 2 * 9 * 6):
        monkeypatch.setattr(memory_bank, "_NUMBERS_AT_A_TIME", size)
        steps = Stepper(vit_bert_pair(tokenizer), bank())
        loss = steps.module(batches_of()[0]).loss
        loss.backward()
        found.append((loss.detach(), steps.objective.projector.head[0].weight.grad))
    torch.testing.assert_close(found[0], found[1])


def test_no_more_noise_is_drawn_than_there_are_slots(tokenizer: str) -> None:
    assert Stepper(vit_bert_pair(tokenizer), bank(num_noise=4096)).objective.num_noise == NUM_SLOTS


def test_processes_end_in_the_state_of_one(tokenizer: str, tmp_path: Path) -> None:
    state = assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), bank())
    assert (state["objectives.memory_bank.slot_groups"] != NO_GROUP).all()
    assert state["objectives.memory_bank.normaliser"] > 0


def test_it_resumes_bit_for_bit(tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer), bank(), batches_of())


def test_a_stream_is_refused(tokenizer: str) -> None:
    with pytest.raises(UserError, match="a slot for each training row"):
        bank().build(build_model(vit_bert_pair(tokenizer)), replace(FACTS, num_samples=None))
