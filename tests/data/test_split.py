from __future__ import annotations

import numpy as np
import pytest

from mmcl.data.hashing import stable_id
from mmcl.data.split import is_held_out, sensible_share


def _ids(names: range) -> np.ndarray:
    return np.array([stable_id(f"group {name}") for name in names])


def test_share_of_groups_is_about_what_was_asked() -> None:
    assert abs(is_held_out(_ids(range(10_000)), 0.05).mean() - 0.05) < 0.01


def test_nothing_and_everything() -> None:
    assert not is_held_out(_ids(range(1_000)), 0.0).any()
    assert is_held_out(_ids(range(1_000)), 1.0).all()


def test_split_does_not_move_when_rows_are_added() -> None:
    few, many = is_held_out(_ids(range(100)), 0.2), is_held_out(_ids(range(-50, 300)), 0.2)
    np.testing.assert_array_equal(few, many[50:150])


def test_larger_share_holds_out_the_same_and_more() -> None:
    ids = _ids(range(500))
    assert not (is_held_out(ids, 0.1) & ~is_held_out(ids, 0.3)).any()


@pytest.mark.parametrize(
    ("num_groups", "share"), [(40_000, 0.02), (15_000, 0.05), (6_000, 0.1), (300, 0.1), (70, 0.2), (12, 0.0), (0, 0.0)]
)
def test_the_sensible_share_falls_with_the_number_of_groups(num_groups: int, share: float) -> None:
    assert sensible_share(_ids(range(num_groups))) == share


def test_the_sensible_share_counts_groups_and_not_rows() -> None:
    assert sensible_share(np.repeat(_ids(range(300)), 200)) == sensible_share(_ids(range(300)))
