"""The base of objectives that may take negatives from past steps as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.objectives.memory import EmbeddingMemory
from mmcl.objectives.objective import Objective, ObjectiveOutput, Progress, Selected
from mmcl.objectives.views import num_texts

if TYPE_CHECKING:
    from mmcl.distributed import RowSizes
    from mmcl.model import TwoTower


class ObjectiveWithMemory(Objective):
    """An objective with a memory of past embeddings, or without.

    Args:
        size: rows that it holds; 0 keeps none.
        dim: width of each.
        num_sets: embeddings of each row.
        views: that it compares, of which the texts' ids are held of each row.
        has_labels: a label is held of each row, beside its group.
    """

    def __init__(self, size: int, dim: int, views: Sequence[str], num_sets: int = 1, has_labels: bool = False) -> None:
        super().__init__()
        self.memory = EmbeddingMemory(size, dim, num_sets, has_labels, num_texts(views)) if size else None

    @property
    def num_past(self) -> int:
        """Rows in the memory."""
        return 0 if self.memory is None else self.memory.num_filled

    def past(self, number: int = 0) -> tuple[Tensor, Tensor] | None:
        """Return set ``number`` of the memory, ``(K, dim)``, and its ``(K,)`` group ids; None without a memory."""
        if self.memory is None:
            return None
        rows, ids = self.memory.filled()
        return rows[number], ids

    def past_pairs(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return both sets of the memory, ``(K, dim)`` each, and their ``(K,)`` group ids; None without a memory."""
        if self.memory is None:
            return None
        (first, second), ids = self.memory.filled()
        return first, second, ids

    def past_text_ids(self) -> Tensor | None:
        """Return ``(K, V)`` ids of the texts of the memory's rows; None without a memory or texts."""
        return None if self.memory is None else self.memory.filled_text_ids()

    def past_with_labels(self, number: int = 0) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """Return set ``number`` of the memory with its ``(K,)`` labels, then its ``(K,)`` group ids."""
        past, labels = self.past(number), None if self.memory is None else self.memory.filled_labels()
        return (None, None) if past is None or labels is None else ((past[0], labels), past[1])

    def remember(
        self,
        sets: Sequence[Tensor],
        group_ids: Tensor,
        across: RowSizes,
        labels: Tensor | None = None,
        text_ids: Tensor | None = None,
    ) -> None:
        """Let this step's rows enter the memory, where there is one, after the update.

        Args:
            sets: one tensor ``(n, dim)`` for each set.
            group_ids: ``(n,)`` int64.
            across: the rows of all processes.
            labels: ``(n,)`` int64, where labels are held.
            text_ids: ``(n, V)`` int64, as `EncodedBatch.text_ids` returns them.
        """
        if self.memory is not None:
            self.memory.stage(sets, group_ids, across, labels, text_ids)

    def nothing(self, rows: Selected, *inputs: Tensor) -> ObjectiveOutput:
        if self.memory is not None:
            self.memory.forget()
        return super().nothing(rows, *inputs)

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        if self.memory is not None:
            self.memory.commit()
