"""Triplets of anchor, positive and negative, mined within the batch (arXiv:1503.03832)."""

from __future__ import annotations

from mmcl.losses.triplet import batch_triplet_loss
from mmcl.objectives.mined import MinedObjective


class TripletObjective(MinedObjective):
    """The triplet loss.

    A model that knows nothing has all distances equal, and a loss of the margin; of semi-hard triplets it has none.
    """

    batch_loss = staticmethod(batch_triplet_loss)

    @property
    def chance(self) -> float | None:
        return None if self.config.mining == "semi_hard" else self.config.margin
