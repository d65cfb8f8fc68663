"""Which rows are held out: decided by a row's group alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmcl.data.hashing import Int64Array


def is_held_out(group_ids: Int64Array, share: float) -> NDArray[np.bool_]:
    """Return which rows belong to the validation split.

    A group is held out when its id, which is a hash, falls into the lowest ``share`` of all ids. So a group is never
    divided between the splits, adding or removing rows moves no other group, and a larger share holds out the same
    groups and more.

    Args:
        group_ids: ``(N,)`` int64 ids from `mmcl.data.hashing.stable_id`, uniform over ``[0, 2**63)``.
        share: of the groups, 0 to 1.

    Returns:
        ``(N,)`` bool, true for validation.
    """
    return group_ids < share * 2.0**63


def sensible_share(group_ids: Int64Array) -> float:
    """Return which share of the groups to hold out: enough to judge by, and no more than that takes.

    The smallest of 2%, 5% and 10% that holds out 500 groups, whose recall at 1 is known to some 4 points; where there
    are too few for that, the smallest of 10%, 20%, 30% and 50% that holds out 10. 0 when none does.

    Args:
        group_ids: ``(N,)`` int64 ids of the rows that can be used, as `is_held_out` takes them.
    """
    groups = np.unique(group_ids)
    for shares, enough in (((0.02, 0.05, 0.1), 500), ((0.1, 0.2, 0.3, 0.5), 10)):
        for share in shares:
            if is_held_out(groups, share).sum() >= enough:
                return share
    return 0.0
