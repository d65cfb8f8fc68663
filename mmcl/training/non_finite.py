"""Which rows to look at when a loss or a gradient is not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmcl import distributed
from mmcl.batch import PairBatch
from mmcl.module import ContrastiveModule


def name_rows(
    module: ContrastiveModule,
    batch: PairBatch,
    sample_ids: Sequence[int],
    num_at_a_time: int,
    autocast: Callable[[], Any],
) -> str:
    """Return a sentence that names the rows whose own embeddings are not finite, or else all of the batch.

    Every process has to call it.

    Args:
        module: that made the loss.
        batch: of this process.
        sample_ids: of all processes.
        num_at_a_time: rows that go through the towers at once.
        autocast: makes the context that towers compute in.
    """
    starts = range(0, len(batch), num_at_a_time)
    parts = [batch.part(start, min(start + num_at_a_time, len(batch))) for start in starts]
    bad = [row for part in parts for row in _non_finite(module, part, autocast)]
    named = [row for rows in distributed.gather_objects(bad) for row in rows]
    rows = named or list(sample_ids)
    shown = ", ".join(map(str, rows[:20])) + (f" and {len(rows) - 20} more" if len(rows) > 20 else "")
    return f"{'Rows with non-finite embeddings' if named else 'Rows of the batch'} (sample ids): {shown}."


@torch.no_grad()
def _non_finite(module: ContrastiveModule, batch: PairBatch, autocast: Callable[[], Any]) -> list[int]:
    """Return the sample ids of the rows whose embeddings are not finite."""
    with autocast():
        encoded = module.encode(batch)
    bad = torch.zeros(len(batch), dtype=torch.bool, device=batch.sample_ids.device)
    for (view, _), made in encoded.items():
        present = batch.rows_of(view)
        wrong = ~made.embeddings.isfinite().all(dim=1)
        bad[wrong if present is None else present[wrong]] = True
    ids: list[int] = batch.sample_ids[bad].tolist()
    return ids
