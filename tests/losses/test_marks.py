from __future__ import annotations

import torch
from torch import Tensor

from mmcl.losses.marks import GroupMarks, Marks, OtherClassMarks

CPU = torch.device("cpu")


def whole(marks: Marks, n: int, m: int, height: int = 3, width: int = 4) -> Tensor:
    """Put the tiles' masks together."""
    mask = torch.zeros(n, m, dtype=torch.bool)
    for top in range(0, n, height):
        for left in range(0, m, width):
            rows, cols = slice(top, min(top + height, n)), slice(left, min(left + width, m))
            tile = marks.mask(rows, cols, CPU)
            if tile is not None:
                mask[rows, cols] = tile
            assert not marks.covers(rows, cols) or bool(mask[rows, cols].all())
    return mask


def test_the_diagonal_starts_at_its_offset() -> None:
    assert torch.equal(whole(GroupMarks(4), 5, 11), torch.eye(11, dtype=torch.bool)[4:9])


def test_tiles_beside_the_diagonal_have_no_mask() -> None:
    assert GroupMarks(0).mask(slice(0, 3), slice(4, 8), CPU) is None


def test_equal_groups_of_different_class_are_marked() -> None:
    row_groups, col_groups = torch.tensor([0, 1, 1, 7, 2]), torch.tensor([1, 1, 0, 5, 2, 2, 1])
    row_classes, col_classes = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([1, 2, 0, 3, 4, 9, 9])
    expected = (row_groups[:, None] == col_groups) & (row_classes[:, None] != col_classes)
    assert expected.any()
    assert torch.equal(whole(GroupMarks(None, row_groups, col_groups, row_classes, col_classes), 5, 7), expected)
    both = expected | torch.eye(7, dtype=torch.bool)[:5]
    assert torch.equal(whole(GroupMarks(0, row_groups, col_groups, row_classes, col_classes), 5, 7), both)


def test_groups_of_one_class_cost_no_mask() -> None:
    ids = torch.arange(8) // 2
    marks = GroupMarks(None, ids, ids, ids, ids)
    assert marks.mask(slice(0, 8), slice(0, 8), CPU) is None


def test_other_classes_and_the_own_entry_are_marked_and_whole_tiles_known() -> None:
    rows, cols = torch.tensor([0, 0, 0, 2, 3]), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    marks = OtherClassMarks(rows, cols, torch.arange(5), torch.arange(8))
    expected = (rows[:, None] != cols) | torch.eye(8, dtype=torch.bool)[:5]
    assert torch.equal(whole(marks, 5, 8), expected)
    assert marks.covers(slice(0, 3), slice(4, 8))
