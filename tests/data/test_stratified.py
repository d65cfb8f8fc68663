from __future__ import annotations

import numpy as np
import pytest

from mmcl.data.stratified import StratifiedPlan, shares_of
from mmcl.errors import UserError


def _stratified(num_complete: int, num_others: int, batch_size: int, paired: int, seed: int = 0) -> StratifiedPlan:
    is_complete = np.zeros(num_complete + num_others, dtype=bool)
    is_complete[np.random.default_rng(0).permutation(len(is_complete))[:num_complete]] = True
    return StratifiedPlan.paired(np.arange(len(is_complete)), is_complete, batch_size, paired, seed)


@pytest.mark.parametrize(("num_complete", "num_others", "batch_size", "paired"), [(7, 103, 12, 4), (90, 11, 12, 8)])
def test_every_batch_holds_its_complete_rows_and_none_twice(
    num_complete: int, num_others: int, batch_size: int, paired: int
) -> None:
    plan = _stratified(num_complete, num_others, batch_size, paired)
    for epoch in range(3):
        rows = plan.epoch(epoch)
        assert rows.shape == (plan.steps_per_epoch, batch_size)
        assert (plan.strata[0][rows].sum(axis=1) == paired).all()
        assert all(len(np.unique(batch)) == batch_size for batch in rows)


def test_larger_stratum_is_drawn_once_and_the_other_over_and_over() -> None:
    plan = _stratified(7, 103, 12, 4)
    rows = plan.epoch(0)
    assert plan.steps_per_epoch == 103 // 8
    counts = np.bincount(rows.ravel(), minlength=110)
    assert counts[plan.strata[1]].max() == 1
    assert set(counts[plan.strata[0]].tolist()) <= {6, 7}  # 48 draws of 7 rows, in whole passes
    assert plan.num_drawn == (counts > 0).sum() == 7 + 96
    assert _stratified(90, 11, 12, 8).steps_per_epoch == 90 // 8


def test_passes_and_epochs_and_seeds_are_in_other_orders() -> None:
    plan, again = _stratified(8, 40, 8, 4), _stratified(8, 40, 8, 4)
    rows = plan.epoch(2)
    np.testing.assert_array_equal(rows, again.epoch(2))
    assert (rows != plan.epoch(3)).any()
    assert (rows != _stratified(8, 40, 8, 4, seed=1).epoch(2)).any()
    first, second = rows[plan.strata[0][rows]].reshape(-1, 8)[:2].tolist()
    assert sorted(first) == sorted(second) != first != second


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_every_process_gets_an_even_share_of_the_complete_rows(world_size: int) -> None:
    plan = _stratified(30, 100, 24, 6)
    shares = plan.epoch(0).reshape(plan.steps_per_epoch, world_size, -1)
    assert (plan.strata[0][shares].sum(axis=2) == 6 // world_size).all()


def test_batches_of_complete_rows_alone() -> None:
    plan = _stratified(20, 3, 4, 4)
    assert plan.strata[0][plan.epoch(0)].all()


@pytest.mark.parametrize(
    ("num_complete", "num_others", "paired", "message"),
    [
        (5, 50, 6, "data.paired_per_batch: 6 is more than the 5 training rows that have all that any objective needs"),
        (50, 3, 4, "data.paired_per_batch: 4 leaves 4 of batch_size 8 to the rows that lack something, .* there are 3"),
        (50, 50, 9, "data.paired_per_batch: 9 is more than batch_size, 8"),
    ],
)
def test_stratum_smaller_than_its_share_is_an_error(
    num_complete: int, num_others: int, paired: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _stratified(num_complete, num_others, 8, paired)


def _of_three(has_say: tuple[bool, ...] | None = None) -> StratifiedPlan:
    """24 rows per batch: 12 of 50 rows, 8 of 20 and 4 of 300."""
    of_stratum = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 20, 300]))
    strata = [of_stratum == number for number in range(3)]
    return StratifiedPlan.build(np.arange(370), strata, (12, 8, 4), seed=0, has_say=has_say)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_every_process_gets_an_even_share_of_each_of_several_strata(world_size: int) -> None:
    plan = _of_three()
    rows = plan.epoch(1).reshape(plan.steps_per_epoch, world_size, -1)
    for chosen, number in zip(plan.strata, plan.per_batch, strict=True):
        assert (chosen[rows].sum(axis=2) == number // world_size).all()


def test_the_epoch_goes_by_the_strata_that_have_a_say() -> None:
    assert _of_three().steps_per_epoch == 300 // 4
    plan = _of_three((True, True, False))
    assert plan.steps_per_epoch == 50 // 12
    assert plan.num_drawn == 4 * 12 + 20 + 4 * 4


def test_passes_count_how_often_a_row_came_before() -> None:
    plan = _of_three()
    passes = plan.passes()
    seen = np.zeros(370, dtype=np.int64)
    for row, times in zip(plan.epoch(0).ravel().tolist(), passes.ravel().tolist(), strict=True):
        assert seen[row] == times
        seen[row] += 1
    assert passes.max() == 75 * 8 // 20 - 1


@pytest.mark.parametrize(
    ("weights", "batch_size", "expected"),
    [
        ((1, 2), 12, (4, 8)),
        ((1, 1, 1), 8, (3, 3, 2)),
        ((0.9, 0.1), 64, (58, 6)),
        ((0.5, 0.25, 0.25), 8, (4, 2, 2)),
        ((1, 1000), 8, (0, 8)),
    ],
)
def test_shares_are_whole_as_near_as_can_be_and_sum_to_the_batch(
    weights: tuple[float, ...], batch_size: int, expected: tuple[int, ...]
) -> None:
    assert shares_of(weights, batch_size) == expected
