"""The one module that is wrapped for training: towers in, the weighted sum of the objectives out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import PairBatch
from mmcl.distributed import RowSizes, gather_rows
from mmcl.model import TwoTower
from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.objective import EncodedBatch, Needs, Objective


class StepOutput(NamedTuple):
    """One step's loss; a tuple, so that DistributedDataParallel finds the tensors in it.

    Attributes:
        loss: scalar with a gradient; this process's share of the weighted sum.
        losses: each objective's share by name, without its weight and without a gradient.
        chance: the weighted sum for a model that knows nothing.
        sample_ids: ``(N,)`` int64 of all processes, in rank order.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    chance: float
    sample_ids: Tensor


class ContrastiveModule(nn.Module):
    """Encodes each view once and adds up the weighted objectives.

    Args:
        model: the towers.
        configs: the recipe's objectives, in order. Of two of one type, the second is called ``type-2`` in the log.
    """

    def __init__(self, model: TwoTower, configs: Sequence[AnyObjective]) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict()
        self.weights: dict[str, float] = {}
        for config in configs:
            earlier = sum(name.split("-")[0] == config.type for name in self.objectives)
            name = config.type if earlier == 0 else f"{config.type}-{earlier + 1}"
            self.objectives[name] = config.build()
            self.weights[name] = config.weight

    @property
    def needs(self) -> Needs:
        """The most that any objective asks for."""
        every = [objective.needs for objective in self._objectives().values()]
        return Needs(max(need.image_views for need in every), max(need.text_views for need in every))

    def forward(self, batch: PairBatch, sizes: RowSizes | None = None) -> StepOutput:
        """Compute this process's share of the loss.

        Args:
            batch: its rows.
            sizes: the rows of every process, where they have been exchanged already.
        """
        images = tuple(self.model.encode_image(view) for view in batch.images[: self.needs.image_views])
        texts = tuple(self.model.encode_text(view) for view in batch.texts[: self.needs.text_views])
        # Half precision is for the towers; a loss at scale 100 loses its gradient in it.
        with torch.autocast(batch.sample_ids.device.type, enabled=False):
            sizes = sizes or RowSizes.of(len(batch), batch.sample_ids.device)
            encoded = EncodedBatch(
                images,
                texts,
                self.model.logit_scale(),
                batch.group_ids,
                gather_rows(batch.group_ids, sizes),
                sizes,
            )
            outputs = {name: objective(encoded) for name, objective in self._objectives().items()}
        loss = torch.stack([self.weights[name] * output.loss for name, output in outputs.items()]).sum()
        return StepOutput(
            loss=loss,
            losses={name: output.loss.detach() for name, output in outputs.items()},
            chance=sum(self.weights[name] * output.chance for name, output in outputs.items()),
            sample_ids=gather_rows(batch.sample_ids, sizes),
        )

    def after_optimizer_step(self) -> None:
        """Let every objective do what it does between steps."""
        for objective in self._objectives().values():
            objective.after_optimizer_step(self.model)

    def _objectives(self) -> dict[str, Objective]:
        return {name: child for name, child in self.objectives.items() if isinstance(child, Objective)}
