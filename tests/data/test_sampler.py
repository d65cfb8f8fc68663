from __future__ import annotations

import numpy as np
import pytest

from mmcl.data.sampler import EpochPlan, shuffled
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
