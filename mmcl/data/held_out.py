"""Which share of rows that have been looked at to hold out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcl.data.look import Look
from mmcl.data.scan import BoolArray
from mmcl.data.split import is_held_out, sensible_share


@dataclass(frozen=True)
class HeldOut:
    """A share of the groups of some rows.

    Attributes:
        share: of the groups, for ``data.validation``; 0 holds nothing out.
        rows: ``(N,)`` bool: usable rows that are held out.
        num_train_rows: usable rows that are left to learn from.
        said: what it comes to, or why it is nothing, in a sentence.
    """

    share: float
    rows: BoolArray
    num_train_rows: int
    said: str


def hold_out(look: Look) -> HeldOut:
    """Choose `sensible_share` of the usable rows, where a task can judge by them.

    Pictures are judged by their captions or labels; texts alone by nothing, unless a recipe names a task for them.
    """
    roles, usable, group_ids = look.roles, look.is_usable, look.scan.group_ids
    is_judged = roles.image is not None and (roles.text is not None or roles.label is not None)
    share = sensible_share(group_ids[usable]) if is_judged else 0.0
    rows = usable & is_held_out(group_ids, share)
    num_rows, num_held = int(usable.sum()), int(rows.sum())
    num_groups, num_held_groups = len(np.unique(group_ids[usable])), len(np.unique(group_ids[rows]))
    if not is_judged:
        what = "texts alone" if roles.image is None else "pictures that have neither captions nor labels"
        said = f"Nothing is held out: by default no task judges {what}."
    elif not share:
        said = f"Nothing is held out: fewer than 10 of {num_groups:,} groups would be, too few to judge by."
    else:
        groups = "" if num_groups == num_rows else f"{num_held_groups:,} of {num_groups:,} groups, "
        said = f"Held out: {groups}{num_held:,} of {num_rows:,} rows."
    return HeldOut(share, rows, num_rows - num_held, said)
