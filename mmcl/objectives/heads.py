"""Projection heads and predictors: trained with an objective, and dropped when the model is exported."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmcl.objectives.views import modality_of

if TYPE_CHECKING:
    from mmcl.model import Encoded, TwoTower
    from mmcl.objectives.configs.base import HeadConfig

_log = logging.getLogger(__name__)


class Projector(nn.Module):
    """What an objective makes of an encoded view before it compares: its head's output, or the model's embedding.

    A head on views of one modality takes the tower's features; on views of two it takes the shared space.

    Args:
        config: of the head; None takes the model's embedding as it is, before it is normalised.
        model: whose views they are.
        views: that it is for.
    """

    def __init__(self, config: HeadConfig | None, model: TwoTower, views: Sequence[str]) -> None:
        super().__init__()
        modalities = {modality_of(view) for view in views}
        self.takes_features = config is not None and len(modalities) == 1
        width = model.embedding_dim
        if self.takes_features:
            width = model.towers.image_dim if modalities == {"image"} else model.towers.text_dim
            if getattr(model.towers, "head", None) is not None:
                _log.warning(
                    "the model has Dense layers that it keeps, and an objective with a head of its own learns from what"
                    " goes into them: they stay as they are; with head: null it learns from what comes out of them"
                )
        self.input_dim = width
        self.output_dim = width if config is None else config.output_dim or width
        self.head = nn.Identity() if config is None else build_head(config, width)

    def forward(self, encoded: Encoded) -> Tensor:
        """Return ``(n, D)``, not normalised."""
        projected: Tensor = self.head(self.input_of(encoded))
        return projected

    def input_of(self, encoded: Encoded) -> Tensor:
        """Return what of an encoded view goes into the head, ``(n, W)`` in float32 (float64 stays what it is)."""
        if not self.takes_features:
            return encoded.projected
        return encoded.features.to(encoded.projected.dtype)


def build_head(config: HeadConfig, input_dim: int) -> nn.Sequential:
    """Return an MLP: linear layers with batch norm and ReLU between them.

    Args:
        config: its sizes.
        input_dim: width of what it is given.
    """
    layers: list[nn.Module] = []
    width, hidden_dim = input_dim, config.hidden_dim or input_dim
    for _ in range(config.num_layers - 1):
        # A bias before a batch norm would be taken out again by it.
        layers += [nn.Linear(width, hidden_dim, bias=not config.batch_norm)]
        layers += [nn.BatchNorm1d(hidden_dim)] if config.batch_norm else []
        layers += [nn.ReLU()]
        width = hidden_dim
    output_dim = config.output_dim or input_dim
    layers.append(nn.Linear(width, output_dim, bias=config.last_bias))
    if config.last_batch_norm:
        # Without scale and shift, as the papers that end in one have it.
        layers.append(nn.BatchNorm1d(output_dim, affine=False))
    if config.tanh:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers)
