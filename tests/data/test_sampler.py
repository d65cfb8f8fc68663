from __future__ import annotations

import numpy as np
import pytest

from mmcl.data.sampler import EpochPlan, StratifiedPlan, shuffled
from mmcl.errors import UserError


def test_epoch_draws_each_row_once_at_most() -> None:
    plan = EpochPlan.build(np.arange(103), 10, seed=1, unique_groups=False)
    rows = plan.epoch(0)
    assert rows.shape == (10, 10)
    assert len(np.unique(rows)) == 100


def test_order_is_a_function_of_seed_and_epoch() -> None:
    groups = np.arange(60) // 3
    for unique in (False, True):
        plan, again = (EpochPlan.build(groups, 6, 5, unique) for _ in range(2))
        other = EpochPlan.build(groups, 6, 6, unique)
        np.testing.assert_array_equal(plan.epoch(3), again.epoch(3))
        assert (plan.epoch(3) != plan.epoch(4)).any()
        assert (plan.epoch(3) != other.epoch(3)).any()


def test_order_is_what_it_was_when_runs_were_first_saved() -> None:
    assert shuffled(8, 0, 0).tolist() == [2, 1, 5, 6, 3, 4, 0, 7]


def test_shuffle_is_uniform() -> None:
    places = np.zeros((6, 6))
    for seed in range(3_000):
        places[np.arange(6), shuffled(6, seed)] += 1
    assert abs(places / 3_000 - 1 / 6).max() < 0.03


@pytest.mark.parametrize("case", range(150))
def test_unique_groups_never_meet_and_all_batches_that_can_be_are_made(case: int) -> None:
    random = np.random.default_rng(case)
    batch_size, epoch = int(random.integers(2, 10)), int(random.integers(0, 6))
    groups = random.zipf(random.uniform(1.1, 3), random.integers(4, 120)).clip(1, 12)
    ids = groups * 7919
    sizes = np.unique(ids, return_counts=True)[1]
    if len(sizes) < batch_size or len(ids) < batch_size:
        with pytest.raises(UserError):
            EpochPlan.build(ids, batch_size, 0, True)
        return
    plan = EpochPlan.build(ids, batch_size, 0, True)
    rows = plan.epoch(epoch)
    assert rows.shape == (plan.steps_per_epoch, batch_size)
    assert len(np.unique(rows)) == rows.size
    assert all(len(np.unique(ids[batch])) == batch_size for batch in rows)
    more = plan.steps_per_epoch + 1
    assert np.minimum(sizes, more).sum() < more * batch_size


def test_groups_meet_as_often_as_by_chance() -> None:
    ids = np.arange(48) // 4
    plan = EpochPlan.build(ids, 4, 0, True)
    meetings = np.zeros((12, 12))
    for epoch in range(400):
        for batch in ids[plan.epoch(epoch)]:
            meetings[np.ix_(batch, batch)] += 1
    off_diagonal = meetings[~np.eye(12, dtype=bool)]
    assert off_diagonal.min() > 0.85 * off_diagonal.mean()
    assert off_diagonal.max() < 1.15 * off_diagonal.mean()


def test_rows_of_a_large_group_take_turns() -> None:
    ids = np.array([0] * 40 + list(range(1, 21)))
    plan = EpochPlan.build(ids, 4, 0, True)
    drawn = {row for epoch in range(60) for row in plan.epoch(epoch).ravel().tolist()}
    assert drawn == set(range(60))


def test_place_within_a_batch_tells_nothing_of_the_group() -> None:
    ids = np.arange(60) // 3
    plan = EpochPlan.build(ids, 5, 0, True)
    assert len(np.unique(ids[plan.epoch(0)[:, 0]])) > 5


def test_batch_larger_than_the_data_names_both_and_the_remedy() -> None:
    with pytest.raises(UserError, match="batch_size: 16 is more than the 10 training rows; set batch_size to 10"):
        EpochPlan.build(np.arange(10), 16, 0, False)
    with pytest.raises(UserError, match=r"batch_size: 4 is more than the 3 groups .* data.unique_groups to false"):
        EpochPlan.build(np.arange(30) % 3, 4, 0, True)


def test_a_million_rows_are_ordered_in_seconds() -> None:
    ids = np.random.default_rng(0).integers(0, 300_000, 1_000_000)
    rows = EpochPlan.build(ids, 1024, 0, True).epoch(0)
    assert (np.diff(np.sort(ids[rows], axis=1), axis=1) > 0).all()


def _stratified(num_complete: int, num_others: int, batch_size: int, paired: int, seed: int = 0) -> StratifiedPlan:
    is_complete = np.zeros(num_complete + num_others, dtype=bool)
    is_complete[np.random.default_rng(0).permutation(len(is_complete))[:num_complete]] = True
    return StratifiedPlan.build(np.arange(len(is_complete)), is_complete, batch_size, paired, seed)


@pytest.mark.parametrize(("num_complete", "num_others", "batch_size", "paired"), [(7, 103, 12, 4), (90, 11, 12, 8)])
def test_every_batch_holds_its_complete_rows_and_none_twice(
    num_complete: int, num_others: int, batch_size: int, paired: int
) -> None:
    plan = _stratified(num_complete, num_others, batch_size, paired)
    for epoch in range(3):
        rows = plan.epoch(epoch)
        assert rows.shape == (plan.steps_per_epoch, batch_size)
        assert (plan.is_complete[rows].sum(axis=1) == paired).all()
        assert all(len(np.unique(batch)) == batch_size for batch in rows)


def test_larger_stratum_is_drawn_once_and_the_other_over_and_over() -> None:
    plan = _stratified(7, 103, 12, 4)
    rows = plan.epoch(0)
    assert plan.steps_per_epoch == 103 // 8
    counts = np.bincount(rows.ravel(), minlength=110)
    assert counts[~plan.is_complete].max() == 1
    assert set(counts[plan.is_complete].tolist()) <= {6, 7}  # 48 draws of 7 rows, in whole passes
    assert plan.num_drawn == (counts > 0).sum() == 7 + 96
    assert _stratified(90, 11, 12, 8).steps_per_epoch == 90 // 8


def test_passes_and_epochs_and_seeds_are_in_other_orders() -> None:
    plan, again = _stratified(8, 40, 8, 4), _stratified(8, 40, 8, 4)
    rows = plan.epoch(2)
    np.testing.assert_array_equal(rows, again.epoch(2))
    assert (rows != plan.epoch(3)).any()
    assert (rows != _stratified(8, 40, 8, 4, seed=1).epoch(2)).any()
    first, second = rows[plan.is_complete[rows]].reshape(-1, 8)[:2].tolist()
    assert sorted(first) == sorted(second) != first != second


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_every_process_gets_an_even_share_of_the_complete_rows(world_size: int) -> None:
    plan = _stratified(30, 100, 24, 6)
    shares = plan.epoch(0).reshape(plan.steps_per_epoch, world_size, -1)
    assert (plan.is_complete[shares].sum(axis=2) == 6 // world_size).all()


def test_batches_of_complete_rows_alone() -> None:
    plan = _stratified(20, 3, 4, 4)
    assert plan.is_complete[plan.epoch(0)].all()


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
