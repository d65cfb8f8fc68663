"""How often each token occurs in the rows to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.data.loader import TrainData
from mmcl.data.plans import IndexedPlan
from mmcl.data.row_reader import RowReader
from mmcl.errors import UserError

_ROWS_AT_A_TIME = 2048


def count_tokens(train_data: TrainData) -> Tensor:
    """Count the tokens of the captions, as training sees them: cut at the longest text, special tokens included.

    Every row to learn from counts once, with all of its captions where it has several. Pictures are not read.

    Returns:
        ``(V,)`` int64 counts by token id, V one more than the largest that occurs.

    Raises:
        UserError: the source is a stream, whose tokens are not known before they come by.
    """
    plan, reader, tokenizer = train_data.plan, train_data.builder.reader, train_data.builder.tokenizer
    if not isinstance(plan, IndexedPlan):
        raise UserError(
            f"data.train: the tokens of {train_data.name} have to be counted before training, and "
            "it is a stream; set streaming to false"
        )
    if tokenizer is None:
        raise UserError("tokens are counted of texts, and no objective reads any")
    counts = torch.zeros(0, dtype=torch.int64)
    for start in range(0, len(plan.positions), _ROWS_AT_A_TIME):
        rows = reader.read(plan.positions[start : start + _ROWS_AT_A_TIME], with_pictures=False)
        captions = [caption for row in rows for caption in _captions(reader, row)]
        if captions:
            batch = tokenizer(captions)
            counts = _sum(counts, torch.bincount(batch.input_ids[batch.attention_mask.bool()]))
    return counts


def _captions(reader: RowReader, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row's captions; none for a picture without, which partly paired data has."""
    try:
        return reader.captions(row)
    except ValueError:
        return ()


def _sum(first: Tensor, second: Tensor) -> Tensor:
    length = max(len(first), len(second))
    return F.pad(first, (0, length - len(first))) + F.pad(second, (0, length - len(second)))
