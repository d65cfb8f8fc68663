"""Texts through a tower in parts of like length, so that little of what is computed is padding.

The rows of a batch are sorted by length, encoded in a few parts, each as wide as its longest row, and put back in
order. So every row keeps the negatives that it had, unlike where batches are made of rows of like length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mmcl.batch import TokenBatch
from mmcl.towers.towers import Output, Towers

TOKENS_PER_PART_ON_CPU = 32
"""How many tokens are encoded in the time that one more part takes: calls, and the dense gradient of the token table.

Measured forward and backward on one core: 22 to 54 for a BERT 256 to 768 wide, 142 for one of width 64.
"""
TOKENS_PER_PART_ON_GPU = 4096
"""The same for some hundred kernels to launch; an estimate on the safe side, as none has been tried."""


def encode_by_length(towers: Towers, tokens: TokenBatch) -> Output:
    """Return what ``towers.encode_text`` does, up to rounding and other dropout masks.

    Which parts there are depends on the lengths and the kind of device alone, so that rows which go through again with
    the same random numbers get the same dropout.
    """
    part_cost = TOKENS_PER_PART_ON_CPU if tokens.input_ids.device.type == "cpu" else TOKENS_PER_PART_ON_GPU
    # To look at the lengths, a GPU has to be waited for; where nothing can be saved it is left alone.
    if not towers.skips_padding or tokens.input_ids.numel() <= part_cost:
        return towers.encode_text(tokens)
    parts = _parts(tokens, part_cost)
    outputs = [towers.encode_text(tokens.cut(rows, columns)) for rows, columns in parts]
    places = torch.cat([rows for rows, _ in parts]).argsort()
    features, projected = (torch.cat(tensors)[places] for tensors in zip(*outputs, strict=True))
    return features, projected


def _parts(tokens: TokenBatch, part_cost: int) -> list[tuple[torch.Tensor, slice]]:
    """Return the rows and the columns of each part; all of the batch where padding is not on one side of it alone."""
    mask = tokens.attention_mask.cpu().bool()
    num_rows, width = mask.shape
    lengths = mask.sum(dim=1)
    is_right = torch.equal(mask, torch.arange(width) < lengths[:, None])
    if not is_right and not torch.equal(mask, torch.arange(width) >= width - lengths[:, None]):
        return [(torch.arange(num_rows, device=tokens.input_ids.device), slice(0, width))]
    order = lengths.argsort(stable=True)
    ends = cut_by_length(lengths[order].tolist(), part_cost)
    parts = []
    for start, end in zip([0, *ends], ends, strict=False):
        longest = int(lengths[order[end - 1]])
        columns = slice(0, longest) if is_right else slice(width - longest, width)
        parts.append((order[start:end].to(tokens.input_ids.device), columns))
    return parts


def cut_by_length(lengths: Sequence[int], part_cost: int) -> list[int]:
    """Cut rows into parts of the least cost: rows times longest row of each part, and ``part_cost`` for each.

    The exact minimum, by dynamic programming over the different lengths.

    Args:
        lengths: of the rows in tokens, ascending; one or more.
        part_cost: in tokens.

    Returns:
        Where each part ends, the last at ``len(lengths)``.
    """
    widths, counts = np.unique(lengths, return_counts=True)
    # Rows of one length stay together, so that there is a place to cut after each length, and one before the first.
    places = np.concatenate([[0], counts.cumsum()])
    costs, best_starts = np.zeros(len(places), dtype=np.int64), np.zeros(len(places), dtype=np.int64)
    for end, width in enumerate(widths, start=1):
        candidates = costs[:end] + (places[end] - places[:end]) * width + part_cost
        best_starts[end] = candidates.argmin()
        costs[end] = candidates[best_starts[end]]
    ends, end = [], len(widths)
    while end:
        ends.append(int(places[end]))
        end = int(best_starts[end])
    return ends[::-1]
