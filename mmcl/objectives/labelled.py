"""Rows with a label, out of those that have the views."""

from __future__ import annotations

from mmcl.distributed import RowSizes
from mmcl.objectives.objective import Selected


def labelled(rows: Selected) -> Selected:
    """Return the rows whose label is known.

    All processes have to call it, as rows are counted over all of them.
    """
    chosen = (rows.labels >= 0).nonzero()[:, 0]
    return Selected(
        tuple(view.rows(chosen) for view in rows.views),
        rows.group_ids[chosen],
        rows.labels[chosen],
        rows.sample_ids[chosen],
        chosen if rows.rows is None else rows.rows[chosen],
        RowSizes.of(len(chosen), chosen.device),
    )
