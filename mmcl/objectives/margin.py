"""Pairwise contrastive learning with a margin (Hadsell, Chopra and LeCun 2006)."""

from __future__ import annotations

from mmcl.losses.margin import batch_margin_loss
from mmcl.objectives.mined import MinedObjective


class MarginObjective(MinedObjective):
    """The contrastive loss of pairs: similar ones are pulled together, others pushed beyond the margin.

    Its chance level depends on how many pairs of the batch are similar, and none is given.
    """

    batch_loss = staticmethod(batch_margin_loss)
