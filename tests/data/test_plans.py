from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from mmcl.data.plans import IndexedPlan
from mmcl.data.sampler import EpochPlan
from mmcl.data.stratified import StratifiedPlan

IS_COMPLETE = np.arange(40) % 5 == 0
PLANS = {
    "by chance": EpochPlan.build(np.arange(40) * 3, 8, 0, False),
    "stratified": StratifiedPlan.paired(np.arange(40) * 3, IS_COMPLETE, 8, 4, 0),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_parts_of_all_ranks_are_the_whole_batch(name: str, world_size: int) -> None:
    plan = IndexedPlan(np.arange(40) + 100, PLANS[name], np.arange(40) % 3)
    parts = [islice(plan.requests(3, rank, world_size), 20) for rank in range(world_size)]
    for whole, *shares in zip(islice(plan.requests(3, 0, 1), 20), *parts, strict=True):
        for field in ("positions", "group_ids", "labels"):
            joined = np.concatenate([getattr(share, field) for share in shares])
            np.testing.assert_array_equal(getattr(whole, field), joined)
        assert {(share.step, share.epoch) for share in shares} == {(whole.step, whole.epoch)}
        assert (whole.group_ids == (whole.positions - 100) * 3).all()
        assert whole.labels is not None
        assert (whole.labels == (whole.positions - 100) % 3).all()
        if name == "stratified":
            assert all(IS_COMPLETE[share.positions - 100].sum() == 4 // world_size for share in shares)


def test_requests_say_how_often_a_row_came_before() -> None:
    plan = IndexedPlan(np.arange(40), PLANS["stratified"])
    seen = np.zeros(40, dtype=np.int64)
    for request in islice(plan.requests(0, 0, 1), 8):
        assert request.passes is not None
        np.testing.assert_array_equal(request.passes, seen[request.positions])
        seen[request.positions] += 1
    assert next(IndexedPlan(np.arange(40), PLANS["by chance"]).requests(0, 0, 1)).passes is None


@pytest.mark.parametrize("name", PLANS)
def test_requests_go_on_from_any_step(name: str) -> None:
    plan = IndexedPlan(np.arange(40), PLANS[name])
    whole = list(islice(plan.requests(0, 0, 1), 20))
    for start in (1, 7, 15):
        for one, other in zip(whole[start:], plan.requests(start, 0, 1), strict=False):
            assert (one.step, one.epoch) == (other.step, other.epoch)
            np.testing.assert_array_equal(one.positions, other.positions)


def test_fingerprint_changes_with_what_is_drawn() -> None:
    rows, epochs = np.arange(40), PLANS["by chance"]
    other = StratifiedPlan.paired(np.arange(40) * 3, np.arange(40) % 4 == 0, 8, 4, 0)
    plans = [
        IndexedPlan(rows, epochs),
        IndexedPlan(rows + 1, epochs),
        IndexedPlan(rows, epochs, rows % 3),
        IndexedPlan(rows, EpochPlan.build(np.arange(40), 8, 0, False)),
        IndexedPlan(rows, PLANS["stratified"]),
        IndexedPlan(rows, other),
    ]
    assert len({plan.fingerprint() for plan in plans}) == len(plans)
