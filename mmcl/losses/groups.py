"""Rows of equal group or equal texts: an anchor's positives, what is left out, negatives of earlier batches."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.losses.across import Across
from mmcl.losses.marks import Marks, left_out_marks
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


def left_out(
    across: Across, group_ids: Tensor | None, text_ids: Tensor | None, classes: Tensor | None = None, num_views: int = 1
) -> Marks | None:
    """Mark which rows of all processes are no negatives of these: those of one group, and those that share a text.

    A loss that has rows of a group as positives gives the groups as classes, and no groups: then only shared texts are
    marked, of other groups. For that two rows share a text does not make all texts of one the positives of the other.

    Args:
        across: the rows of all processes.
        group_ids: ``(n,)`` int64; None = no groups.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none; None = no texts.
        classes: ``(n,)`` int64; what is of one class is not marked. None = every row is a class of its own.
        num_views: rows of the matrix for each of these, one after the other.

    Returns:
        The marks of a matrix of ``(V n, V N)``; None where nothing can be shared.
    """
    given = group_ids if text_ids is None else text_ids
    if given is None:
        return None
    if classes is None:
        classes = across.offset + torch.arange(len(given), device=given.device)
    groups = torch.full_like(classes, -1) if group_ids is None else group_ids
    texts = groups[:, None][:, :0] if text_ids is None else text_ids
    ids = torch.cat([classes[:, None], groups[:, None], texts], dim=1)
    rows, cols = (some.repeat_interleave(num_views, dim=0) for some in (ids, across.gather(ids)))
    shared = (None, None) if group_ids is None else (rows[:, 1], cols[:, 1])
    return left_out_marks((rows[:, 0], cols[:, 0]), shared, (rows[:, 2:], cols[:, 2:]))


def with_memory(
    log_sums: Tensor,
    rows: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None,
    keys: Tensor,
    key_ids: Tensor | None,
    classes: tuple[Tensor, Tensor] | None = None,
    texts: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:
    """Widen the log-sum-exps of rows by the scores of past keys, which take no gradient; see `with_negatives`."""
    return with_negatives(log_sums, rows, scale, group_ids, keys.detach(), key_ids, classes, texts)


def with_negatives(
    log_sums: Tensor,
    rows: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None,
    keys: Tensor,
    key_ids: Tensor | None,
    classes: tuple[Tensor, Tensor] | None = None,
    texts: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:
    """Widen the log-sum-exps of rows by the scores of further keys; those of a row's group or texts are left out.

    Args:
        log_sums: ``(n,)``.
        rows: ``(n, D)``.
        scale: a scalar.
        group_ids: ``(n,)`` int64; None = no key is of a row's group.
        keys: ``(K, D)``, the same on every process.
        key_ids: ``(K,)`` int64; None, as of the rows.
        classes: ``(n,)`` and ``(K,)`` int64: what is of a row's group or texts and of its class stays in. None =
            nothing does.
        texts: ``(n, V)`` and ``(K, U)`` int64 ids of the texts of rows and keys; where one is None no text is shared.
    """
    excluded = left_out_of_keys(rows, keys, (group_ids, key_ids), texts, classes)
    return torch.logaddexp(log_sums, row_log_sums(rows, keys, scale, excluded))


def left_out_of_keys(
    rows: Tensor,
    keys: Tensor,
    groups: tuple[Tensor | None, Tensor | None],
    texts: tuple[Tensor | None, Tensor | None],
    classes: tuple[Tensor, Tensor] | None = None,
) -> Marks | None:
    """Mark which of ``(K, D)`` keys that are no rows of the batch are no negatives of ``(n, D)`` rows.

    The ids are as `left_out_marks` takes them; without classes no row is of a key's.
    """
    if classes is None:
        none = rows.new_zeros(len(rows), dtype=torch.int64)
        classes = none, none.new_ones(len(keys))
    return left_out_marks(classes, groups, texts)
