"""The one module that is wrapped for training: towers in, the weighted sum of the objectives out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import PairBatch
from mmcl.batch_norm import has_batch_norm
from mmcl.distributed import RowSizes, gather_rows, is_distributed
from mmcl.model import Encoded, TwoTower
from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.matryoshka import check_dims, output_at_widths
from mmcl.objectives.objective import DataFacts, EncodedBatch, Objective, Progress, ViewPass
from mmcl.objectives.views import Modality, modality_of, num_passes, number_of
from mmcl.schedules import value_at
from mmcl.towers.towers import in_evaluation_mode

Views = dict[ViewPass, Encoded]
Keys = dict[str, tuple[Tensor, ...]]


class StepOutput(NamedTuple):
    """One step's loss; a tuple, so that DistributedDataParallel finds the tensors in it.

    Attributes:
        loss: scalar with a gradient; this process's share of the weighted sum.
        losses: each objective's share by name, without its weight and without a gradient.
        chances: each objective's loss for a model that knows nothing; None where there is no such number.
        num_rows: how many rows of all processes fed each objective.
        weights: each objective's weight at this step.
        views: unit-norm embeddings of this process's first pass over each view, by name, without a gradient.
        second_views: the same of the second pass over each view that is encoded twice.
        sample_ids: ``(N,)`` int64 of all processes, in rank order.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    chances: dict[str, float | None]
    num_rows: dict[str, int]
    weights: dict[str, float]
    views: dict[str, Tensor]
    second_views: dict[str, Tensor]
    sample_ids: Tensor

    @property
    def chance(self) -> float | None:
        """The weighted sum for a model that knows nothing; None where an objective has no such number."""
        known = [self.weights[name] * chance for name, chance in self.chances.items() if chance is not None]
        return sum(known) if len(known) == len(self.chances) else None


class ContrastiveModule(nn.Module):
    """Encodes each view once and adds up the weighted objectives.

    Args:
        model: the towers.
        configs: the recipe's objectives, in order. Of two of one type, the second is called ``type-2`` in the log.
        facts: of the data.

    Raises:
        UserError: an objective compares pictures or texts, and the model has no tower for them.
    """

    def __init__(self, model: TwoTower, configs: Sequence[AnyObjective], facts: DataFacts | None = None) -> None:
        super().__init__()
        facts = facts or DataFacts()
        self.model = model
        self.objectives = nn.ModuleDict()
        self.configs: dict[str, AnyObjective] = {}
        self.num_passes = num_passes(configs)
        for view in self.num_passes:
            model.towers.require(modality_of(view))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(facts.seed)
            for config in configs:
                # Before any is built: a momentum encoder is a copy of the model as it will be.
                config.add_to(model)
            for config in configs:
                earlier = sum(name.split("-")[0] == config.type for name in self.objectives)
                name = config.type if earlier == 0 else f"{config.type}-{earlier + 1}"
                objective = config.build(model, facts)
                check_dims(config.widths, model.embedding_dim, name)
                objective.name = name
                self.objectives[name] = objective
                self.configs[name] = config

    def forward(self, batch: PairBatch, sizes: RowSizes | None = None, progress: Progress | None = None) -> StepOutput:
        """Compute this process's share of the loss.

        Args:
            batch: its rows.
            sizes: the rows of every process, where they have been exchanged already.
            progress: where in the run this is; by default at its start.
        """
        return self.losses_of(batch, self.encode(batch), self.encode_keys(batch), sizes, progress)

    def encode(self, batch: PairBatch) -> Views:
        """Encode every view as often as the objectives together need."""
        return {
            (view, number): encoded
            for view, count in self.num_passes.items()
            for number, encoded in enumerate(self._encode_view(batch, view, count))
        }

    def encode_keys(self, batch: PairBatch) -> Keys:
        """Let the momentum encoders and teachers encode their views, without a gradient."""
        with torch.no_grad():
            keys = {name: objective.encode_keys(self.model, batch) for name, objective in self.named_objectives()}
        return {name: tensors for name, tensors in keys.items() if tensors}

    def losses_of(
        self,
        batch: PairBatch,
        views: Views,
        keys: Keys,
        sizes: RowSizes | None = None,
        progress: Progress | None = None,
    ) -> StepOutput:
        """Compute this process's share of the loss from what the towers made of its rows.

        Args:
            batch: its rows.
            views: as `encode` returned them.
            keys: as `encode_keys` returned them.
            sizes: the rows of every process, where they have been exchanged already.
            progress: where in the run this is; by default at its start.
        """
        progress = progress or Progress()
        sizes = sizes or RowSizes.of(len(batch), batch.sample_ids.device)
        device = batch.sample_ids.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        # Half precision is for the towers; a loss at scale 100 loses its gradient in it.
        with torch.autocast(device, enabled=False):
            bias = self.model.logit_bias
            encoded = EncodedBatch(batch, views, keys, self.model.logit_scale(), bias, sizes, progress, dtype)
            outputs = {
                name: output_at_widths(objective, encoded, self.configs[name].widths)
                for name, objective in self.named_objectives()
            }
        weights = {
            name: value_at(config.weight, progress.step, progress.num_steps) for name, config in self.configs.items()
        }
        return StepOutput(
            loss=torch.stack([weights[name] * output.loss for name, output in outputs.items()]).sum(),
            losses={name: output.loss.detach() for name, output in outputs.items()},
            chances={name: output.chance for name, output in outputs.items()},
            num_rows={name: output.num_rows for name, output in outputs.items()},
            weights=weights,
            views=_of_pass(views, 0),
            second_views=_of_pass(views, 1),
            sample_ids=gather_rows(batch.sample_ids, sizes),
        )

    def after_optimizer_step(self, progress: Progress | None = None) -> None:
        """Bring the temperature back under its clamp, and let every objective do what it does between steps."""
        self.model.logit_scale.clamp_()
        for _, objective in self.named_objectives():
            objective.after_optimizer_step(self.model, progress or Progress())

    def named_objectives(self) -> list[tuple[str, Objective]]:
        """Return the objectives with their names in the log, in order."""
        return [(name, child) for name, child in self.objectives.items() if isinstance(child, Objective)]

    def _encode_view(self, batch: PairBatch, view: str, count: int) -> tuple[Encoded, ...]:
        """Return what each of ``count`` passes over a view makes of it."""
        modality = modality_of(view)
        part = batch.images[number_of(view)] if modality == "image" else batch.texts[number_of(view)]
        # Batch norm of several processes needs this one's part even when that is nothing, and convolutions take it.
        if len(part) == 0 and not (is_distributed() and has_batch_norm(self.model.towers)):
            return tuple(self._encode_nothing(modality) for _ in range(count))
        if isinstance(part, Tensor):
            return tuple(self.model.encode_image(part) for _ in range(count))
        # Every row has dropout of its own, so that one forward of all passes' rows will do: fewer parts, less padding.
        return self.model.encode_text(part.repeated(count)).split(count)

    def _encode_nothing(self, modality: Modality) -> Encoded:
        """Return no rows, with a graph to the tower's parameters, which are thus given a gradient, of 0.

        Attention does not take a batch of no rows, so one row goes through, and is dropped. In evaluation mode, for it
        is none of batch norm's business.
        """
        towers = self.model.towers
        example = towers.probe_inputs[modality]
        device = self.model.logit_scale.log_scale.device
        with in_evaluation_mode(towers):
            output = (
                towers.encode_image(example.to(self.model.pixel_mean))
                if isinstance(example, Tensor)
                else towers.encode_text(example.to(device))
            )
        encoded = Encoded.of(*output)
        return encoded.rows(torch.empty(0, dtype=torch.int64, device=device))


def _of_pass(views: Views, number: int) -> dict[str, Tensor]:
    return {view: encoded.embeddings.detach() for (view, this), encoded in views.items() if this == number}
