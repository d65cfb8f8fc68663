from __future__ import annotations

import torch

from mmcl.distributed import RowSizes
from mmcl.objectives.memory import NO_GROUP, EmbeddingMemory


def rows(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_the_oldest_rows_go_first() -> None:
    memory = EmbeddingMemory(size=3, dim=1)
    for number in range(5):
        memory.push(rows(float(number))[None], torch.tensor([10 + number]))
    found, ids = memory.filled()
    assert sorted(zip(found[0, :, 0].tolist(), ids.tolist(), strict=True)) == [(2.0, 12), (3.0, 13), (4.0, 14)]


def test_it_gives_out_what_it_has_been_given_and_no_more() -> None:
    memory = EmbeddingMemory(size=4, dim=1, num_sets=2)
    assert memory.filled()[0].shape == (2, 0, 1)
    memory.push(torch.stack([rows(1, 2), rows(3, 4)]), torch.tensor([7, 8]))
    found, ids = memory.filled()
    assert found[..., 0].tolist() == [[1, 2], [3, 4]]
    assert ids.tolist() == [7, 8]


def test_of_more_rows_than_it_holds_the_last_stay() -> None:
    memory = EmbeddingMemory(size=2, dim=1)
    memory.push(rows(1, 2, 3, 4, 5)[None], torch.arange(5))
    assert sorted(memory.filled()[0][0, :, 0].tolist()) == [4, 5]


def test_what_it_gave_out_does_not_change_later() -> None:
    memory = EmbeddingMemory(size=2, dim=1)
    memory.push(rows(1, 2)[None], torch.arange(2))
    before = memory.filled()[0]
    memory.push(rows(8, 9)[None], torch.arange(2))
    assert before[0, :, 0].tolist() == [1, 2]


def test_random_rows_to_start_from_are_of_no_group() -> None:
    memory = EmbeddingMemory(size=3, dim=2)
    memory.fill_with(torch.ones(1, 3, 2))
    assert memory.num_filled == 3
    assert memory.filled()[1].tolist() == [NO_GROUP] * 3


def test_staged_rows_go_in_at_the_commit_once_and_without_a_gradient() -> None:
    memory = EmbeddingMemory(size=4, dim=1)
    memory.stage([rows(1, 2).requires_grad_()], torch.tensor([5, 6]), RowSizes((2,)))
    assert memory.num_filled == 0
    memory.commit()
    memory.commit()
    assert memory.num_filled == 2
    assert not memory.filled()[0].requires_grad


def test_labels_are_held_beside_the_groups_where_there_is_a_place_for_them() -> None:
    memory = EmbeddingMemory(size=3, dim=1, has_labels=True)
    for group in (5, 6):
        memory.stage([rows(1, 2)], torch.tensor([group, group]), RowSizes((2,)), torch.tensor([group - 5, 3]))
        memory.commit()
    labels = memory.filled_labels()
    assert labels is not None
    assert sorted(zip(memory.filled()[1].tolist(), labels.tolist(), strict=True)) == [(5, 3), (6, 1), (6, 3)]
    memory.push(rows(4)[None], torch.tensor([9]), torch.tensor([8]))
    assert labels.tolist() != memory.filled_labels().tolist()
    again = EmbeddingMemory(size=3, dim=1, has_labels=True)
    again.load_state_dict(memory.state_dict())
    assert again.filled_labels().tolist() == memory.filled_labels().tolist()
    without = EmbeddingMemory(size=3, dim=1)
    without.stage([rows(1)], torch.tensor([5]), RowSizes((1,)), torch.tensor([0]))
    without.commit()
    assert without.filled_labels() is None


def test_staged_rows_of_a_skipped_update_are_forgotten() -> None:
    memory = EmbeddingMemory(size=4, dim=1)
    memory.stage([rows(1)], torch.tensor([5]), RowSizes((1,)))
    memory.stage([rows(2)], torch.tensor([6]), RowSizes((1,)))
    memory.commit()
    assert memory.filled()[1].tolist() == [6]
    memory.stage([rows(3)], torch.tensor([7]), RowSizes((1,)))
    memory.forget()
    memory.commit()
    assert memory.filled()[1].tolist() == [6]
