"""Rows of equal group: the mean of an anchor's positives, and negatives that come from earlier batches."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.losses.marks import GroupMarks
from mmcl.losses.tiles import row_log_sums


def sums_by_id(values: Tensor, ids: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the rows of each id, and say how many they are.

    Args:
        values: ``(m, D)``.
        ids: ``(m,)`` int64.
        wanted: ``(n,)`` int64, the ids asked for; one that no row has sums to 0.

    Returns:
        ``(n, D)`` sums and ``(n,)`` counts, int64.
    """
    names, place = torch.unique(torch.cat([ids, wanted]), return_inverse=True)
    of_values, of_wanted = place[: len(ids)], place[len(ids) :]
    sums = values.new_zeros(len(names), values.shape[1]).index_add(0, of_values, values)
    counts = torch.bincount(of_values, minlength=len(names))
    return sums[of_wanted], counts[of_wanted]


def mean_positives(all_keys: Tensor, group_ids: Tensor, all_ids: Tensor) -> Tensor:
    """Return ``(n, D)``, the mean of the keys of each row's group: as similarity is linear, all a loss needs of them.

    Args:
        all_keys: ``(N, D)`` of all processes; the key of row i of this process is ``across.offset + i``.
        group_ids: ``(n,)`` int64, each among those of the keys.
        all_ids: ``(N,)`` int64.
    """
    sums, counts = sums_by_id(all_keys, all_ids, group_ids)
    return sums / counts[:, None]


def count_by_id(ids: Tensor, wanted: Tensor) -> Tensor:
    """Return ``(n,)`` int64: how many of ``(m,)`` ids are each of the ``(n,)`` wanted."""
    return sums_by_id(ids.new_zeros(len(ids), 0), ids, wanted)[1]


def with_memory(
    log_sums: Tensor,
    rows: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None,
    keys: Tensor,
    key_ids: Tensor | None,
    classes: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Widen the log-sum-exps of rows by the scores of past keys, which take no gradient; see `with_negatives`."""
    return with_negatives(log_sums, rows, scale, group_ids, keys.detach(), key_ids, classes)


def with_negatives(
    log_sums: Tensor,
    rows: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None,
    keys: Tensor,
    key_ids: Tensor | None,
    classes: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Widen the log-sum-exps of rows by the scores of further keys; those of a row's own group are left out.

    Args:
        log_sums: ``(n,)``.
        rows: ``(n, D)``.
        scale: a scalar.
        group_ids: ``(n,)`` int64; None = no key is of a row's group.
        keys: ``(K, D)``, the same on every process.
        key_ids: ``(K,)`` int64; None, as of the rows.
        classes: ``(n,)`` and ``(K,)`` int64: what is of a row's group and of its class stays in. None = nothing is.
    """
    excluded = None
    if group_ids is not None and key_ids is not None:
        of_rows, of_keys = classes or (torch.zeros_like(group_ids), torch.ones_like(key_ids))
        excluded = GroupMarks(None, group_ids, key_ids, of_rows, of_keys)
    return torch.logaddexp(log_sums, row_log_sums(rows, keys, scale, excluded))
