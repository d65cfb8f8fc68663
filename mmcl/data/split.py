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
