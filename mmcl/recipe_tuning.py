"""What a recipe may say of how much of the model is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mmcl.recipe_fields import Fraction
from mmcl.section import Section

TowerTuning = Literal["full", "locked", "lora"] | Annotated[int, Field(gt=0)]


class LoRAConfig(Section):
    """Low-rank updates of the linear layers of a tower's blocks (arXiv:2106.09685)."""

    rank: int = Field(default=8, gt=0)
    """Rank of each update."""
    alpha: int = Field(default=16, gt=0)
    """Updates are scaled by ``alpha / rank``."""
    dropout: Fraction = 0.0
    """Dropout before each update, in training."""


class TuningConfig(Section):
    """How much of each tower is trained, and how far it may go from where it started. What is new in any case is
    trained: a pair's projections, the heads of objectives."""

    image: TowerTuning = "full"
    """``full``: all of the image tower; ``locked``: none (LiT, arXiv:2111.07991); ``lora``: low-rank updates, merged
    into the weights at export; a number: so many last blocks and what comes after them. Locked parts are in evaluation
    mode, without dropout and with batch norm's statistics as they are."""
    text: TowerTuning = "full"
    """The same of the text tower."""
    lora: LoRAConfig = LoRAConfig()
    """The updates of towers that are ``lora``."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate for each block further from the output, norms and embeddings with them; 1 is the same
    for all (arXiv:2106.08254)."""
    projection_lr_factor: float = Field(default=1.0, gt=0)
    """Factor on the learning rate of a pair's projections, which start from nothing where its towers are trained."""
    l2_sp: float = Field(default=0.0, ge=0)
    """Decay of the towers towards their starting weights instead of 0 (L2-SP, arXiv:1802.01483), decoupled as AdamW's
    is; 0 is none."""
    gradient_checkpointing: bool = False
    """Keep the inputs of blocks alone for the backward pass and compute the rest again: about a third slower, for much
    less memory. Gradients are the same."""
