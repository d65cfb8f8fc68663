"""Embeddings of past steps: MoCo's queue, and cross-batch memory for any loss that takes negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mmcl.distributed import RowSizes

NO_GROUP = -1
"""Id of a row of no group, such as the random rows that a queue starts from."""

NO_TEXT = -1
"""Id of a text that is equal to no other."""

NO_LABEL = -1
"""Label of a row whose label is not known."""


class EmbeddingMemory(nn.Module):
    """A ring of the last embeddings, oldest overwritten first (arXiv:1911.05722; arXiv:1912.06798).

    Its contents are buffers, and so part of every checkpoint.

    Args:
        size: rows held.
        dim: width of each.
        num_sets: embeddings held per row: 2 for a picture and its caption.
        has_labels: a label is held of each row, beside its group.
        num_texts: ids of texts held per row, beside its group.
    """

    rows: Tensor
    group_ids: Tensor
    labels: Tensor | None
    text_ids: Tensor | None
    state: Tensor

    def __init__(self, size: int, dim: int, num_sets: int = 1, has_labels: bool = False, num_texts: int = 0) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("rows", torch.zeros(num_sets, size, dim))
        self.register_buffer("group_ids", torch.full((size,), NO_GROUP))
        self.register_buffer("labels", torch.full((size,), NO_LABEL) if has_labels else None)
        self.register_buffer("text_ids", torch.full((size, num_texts), NO_TEXT) if num_texts else None)
        self.register_buffer("state", torch.zeros(2, dtype=torch.int64))
        self._staged: tuple[Tensor, Tensor, Tensor | None, Tensor | None] | None = None

    @property
    def num_filled(self) -> int:
        """Rows that hold something."""
        return int(self.state[0])

    def fill_with(self, rows: Tensor) -> None:
        """Start from ``(num_sets, size, dim)`` rows of no group, as MoCo's queue starts from random ones."""
        self.rows.copy_(rows)
        self.state[0] = self.size

    def filled(self) -> tuple[Tensor, Tensor]:
        """Return ``(num_sets, K, dim)`` rows and ``(K,)`` group ids, K of `num_filled`.

        They are copies: what comes in later does not change them, nor what autograd has kept of them.
        """
        return self.rows[:, : self.num_filled].clone(), self.group_ids[: self.num_filled].clone()

    def filled_labels(self) -> Tensor | None:
        """Return ``(K,)`` labels beside `filled`, a copy; None where none are held."""
        return None if self.labels is None else self.labels[: self.num_filled].clone()

    def filled_text_ids(self) -> Tensor | None:
        """Return ``(K, num_texts)`` ids beside `filled`, a copy; None where none are held."""
        return None if self.text_ids is None else self.text_ids[: self.num_filled].clone()

    def stage(
        self,
        sets: Sequence[Tensor],
        group_ids: Tensor,
        across: RowSizes,
        labels: Tensor | None = None,
        text_ids: Tensor | None = None,
    ) -> None:
        """Take note of this step's rows of all processes, which `commit` puts in after the update.

        Args:
            sets: ``num_sets`` tensors ``(n, dim)``, this process's rows.
            group_ids: ``(n,)`` int64.
            across: the rows of all processes.
            labels: ``(n,)`` int64, which are held where there is a place for them.
            text_ids: ``(n, num_texts)`` int64; None where no two texts count as equal.
        """
        rows = torch.stack([across.gather(rows.detach()) for rows in sets])
        held = labels if self.labels is not None else None
        labels, texts = (None if some is None else across.gather(some) for some in (held, text_ids))
        self._staged = (rows, across.gather(group_ids), labels, texts)

    def commit(self) -> None:
        """Put the staged rows in. An update that was skipped does not call this, and the next step stages its own."""
        if self._staged is not None:
            self.push(*self._staged)
        self._staged = None

    def forget(self) -> None:
        """Drop what is staged: the rows of an update that was skipped do not go in with a later one."""
        self._staged = None

    @torch.no_grad()
    def push(
        self, rows: Tensor, group_ids: Tensor, labels: Tensor | None = None, text_ids: Tensor | None = None
    ) -> None:
        """Put ``(num_sets, n, dim)`` rows in, in order, with their groups, labels and texts; of more than fit only the
        last.

        On several processes all have to be given all rows, in rank order, so that their memories stay equal.
        """
        rows, group_ids = rows[:, -self.size :], group_ids[-self.size :]
        filled, cursor = self.state.tolist()
        places = (cursor + torch.arange(rows.shape[1], device=rows.device)) % self.size
        self.rows[:, places] = rows.to(self.rows.dtype)
        self.group_ids[places] = group_ids
        if self.text_ids is not None:
            self.text_ids[places] = NO_TEXT if text_ids is None else text_ids[-self.size :]
        if self.labels is not None:
            assert labels is not None
            self.labels[places] = labels[-self.size :]
        self.state[0] = min(self.size, filled + rows.shape[1])
        self.state[1] = (cursor + rows.shape[1]) % self.size
