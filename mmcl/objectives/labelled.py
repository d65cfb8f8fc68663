"""Rows with a label, out of those that have the views."""

from __future__ import annotations

from mmcl.objectives.objective import Selected


def labelled(rows: Selected) -> Selected:
    """Return the rows whose label is known.

    All processes have to call it, as rows are counted over all of them.
    """
    return rows.at((rows.labels >= 0).nonzero()[:, 0])
