from __future__ import annotations

import numpy as np

from mmcl.data.repeats import find_repeats, rows_in_common


def test_repeats_are_counted_once_for_each_later_row() -> None:
    found = find_repeats({0: "a", 1: "b", 3: "a", 4: "a"})
    assert (found.num_distinct, found.num_rows, found.num_across_groups) == (2, 2, None)
    assert found.rows == ((0, 3, 4),)


def test_a_row_does_not_repeat_itself() -> None:
    found = find_repeats({0: ["a", "a", "b"], 1: ["b", "c"]})
    assert (found.num_distinct, found.num_rows, found.rows) == (3, 1, ((0, 1),))


def test_values_shared_by_several_groups_are_counted() -> None:
    groups = np.array([7, 7, 8, 9], dtype=np.int64)
    found = find_repeats({0: "a", 1: "a", 2: "b", 3: "b"}, groups)
    assert (found.num_rows, found.num_across_groups) == (2, 1)


def test_rows_in_common_are_those_of_the_first_in_order() -> None:
    assert rows_in_common({5: "a", 2: ["x", "b"], 1: "c"}, {0: "b", 9: "a"}) == (2, 5)
    assert rows_in_common({5: "a"}, {}) == ()
