"""SigLIP: a logistic loss on every pair of the batch (arXiv:2303.15343)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmcl.errors import UserError
from mmcl.losses.siglip import siglip_loss
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.cross_modal import SigLIPConfig

DEFAULT_TEMPERATURE = 0.1
DEFAULT_BIAS = -10.0


class SigLIPObjective(ObjectiveWithMemory):
    """For each picture, is it this text's? asked of all pairs of all processes, with the model's temperature and bias.

    The chance level is the loss of a model whose cosines are all 0, at the bias that it starts from: with b that bias,
    ``log(1 + e^-b)`` for the own text and ``log(1 + e^b)`` for each other.

    Args:
        config: its fields.
        model: given a bias, and SigLIP's temperature, where its checkpoint has no bias.

    Raises:
        UserError: a temperature below what the model's clamp allows.
    """

    def __init__(self, config: SigLIPConfig, model: TwoTower) -> None:
        super().__init__(config.memory, model.embedding_dim, config.views, num_sets=2)
        self.views = config.views
        self.start_bias = _set_start(config, model)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        assert encoded.bias is not None  # the model was given one
        rows = encoded.select(self.views)
        first, second = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, first, second, encoded.scale, encoded.bias)
        text_ids = encoded.text_ids(self.views, rows)
        loss = siglip_loss(
            first,
            second,
            encoded.scale,
            encoded.bias,
            rows.group_ids,
            text_ids=text_ids,
            across=rows.across,
            memory=self.past_pairs(),
            memory_text_ids=self.past_text_ids(),
        )
        self.remember((first, second), rows.group_ids, rows.across, text_ids=text_ids)
        # Past texts are negatives of each picture, and past pictures of each text.
        num_negatives = rows.across.total - 1 + 2 * self.num_past
        return ObjectiveOutput(loss, self._chance(num_negatives), rows.across.total)

    def _chance(self, num_negatives: int) -> float:
        return _softplus(-self.start_bias) + num_negatives * _softplus(self.start_bias)


def _softplus(value: float) -> float:
    """``log(1 + exp(value))``, whatever its size."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@torch.no_grad()
def _set_start(config: SigLIPConfig, model: TwoTower) -> float:
    """Set where the model's temperature and bias start, and return the bias."""
    log_scale, temperature = model.logit_scale.log_scale, config.temperature
    if model.logit_bias is None:
        model.logit_bias = nn.Parameter(torch.full_like(log_scale, DEFAULT_BIAS))
        temperature = temperature or DEFAULT_TEMPERATURE
    if temperature is not None:
        if -math.log(temperature) > model.logit_scale.max_log_scale:
            least = math.exp(-model.logit_scale.max_log_scale)
            raise UserError(
                f"siglip.temperature must be >= {least:.4g}, which is 1 / model.max_logit_scale, got {temperature}"
            )
        log_scale.fill_(-math.log(temperature))
    if config.bias is not None:
        model.logit_bias.fill_(config.bias)
    return float(model.logit_bias)
