"""Instance discrimination with a memory bank: one slot for each training sample (arXiv:1805.01978)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmcl.losses.instance_discrimination import estimate_normaliser, nce_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.memory import NO_GROUP
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress, Selected
from mmcl.schedules import value_at

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.momentum import MemoryBankConfig
    from mmcl.objectives.objective import DataFacts

_NUMBERS_AT_A_TIME = 2**24
"""Of noise slots that are looked up at a time; all of a batch would be gigabytes."""


class MemoryBankObjective(Objective):
    """Noise-contrastive estimation of which slot is a row's own, with K slots drawn uniformly for each row.

    The loss reads the bank as the steps before have left it; rows go in after the update. The bank, the group of each
    slot that was visited and the constant Z are buffers. Slots of a row's own group, its own slot included, are no
    noise for it. Draws are a function of (seed, step) for the rows of all processes together, so that they do not
    depend on how many processes there are.

    Args:
        config: of the objective.
        model: whose views they are.
        facts: with the number of training samples.
    """

    slots: Tensor
    slot_groups: Tensor
    normaliser: Tensor
    seed: Tensor

    def __init__(self, config: MemoryBankConfig, model: TwoTower, facts: DataFacts) -> None:
        super().__init__()
        assert facts.num_samples is not None
        self.views, self.temperature, self.momentum = config.views, config.temperature, config.momentum
        self.num_slots = facts.num_samples
        self.num_noise = min(config.num_noise, self.num_slots)
        self.projector = Projector(config.head, model, config.views)
        self.register_buffer("slots", F.normalize(torch.randn(self.num_slots, self.projector.output_dim), dim=-1))
        self.register_buffer("slot_groups", torch.full((self.num_slots,), NO_GROUP))
        # Z; 0 until a step has fixed it.
        self.register_buffer("normaliser", torch.zeros(()))
        self.register_buffer("seed", torch.tensor(facts.seed))
        self._staged: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        self._staged = None
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        embeddings = F.normalize(self.projector(rows.views[0]), dim=-1)
        noise = self.draw(rows, encoded.progress.step)
        own_scores = (embeddings * self.slots[rows.sample_ids]).sum(dim=-1)
        noise_scores = self._score(embeddings, noise)
        normaliser = self.normaliser
        if not bool(normaliser):
            normaliser = estimate_normaliser(noise_scores, self.num_slots, self.temperature, across=rows.across)
        loss = nce_loss(
            own_scores,
            noise_scores,
            self.num_slots,
            normaliser,
            self.temperature,
            excluded=self._of_own_group(rows, noise),
            across=rows.across,
        )
        gather = rows.across.gather
        self._staged = (gather(rows.sample_ids), gather(embeddings.detach()), gather(rows.group_ids), normaliser)
        # Every slot is as likely as any other: h = 1 / (1 + K).
        chance = math.log1p(self.num_noise) + self.num_noise * math.log1p(1 / self.num_noise)
        return ObjectiveOutput(loss, chance, rows.across.total)

    def draw(self, rows: Selected, step: int) -> Tensor:
        """Return ``(n, K)`` int64 noise slots for these rows, drawn with replacement from (seed, step)."""
        # The generator takes 32 bits.
        generator = torch.Generator().manual_seed((int(self.seed) * 1_000_003 + step) % 2**32)
        drawn = torch.randint(self.num_slots, (rows.across.total, self.num_noise), generator=generator)
        mine = drawn[rows.across.offset : rows.across.offset + len(rows.sample_ids)]
        return mine.to(rows.sample_ids.device)

    def _score(self, embeddings: Tensor, noise: Tensor) -> Tensor:
        """Return ``(n, K)`` products of each row with its noise slots; the backward looks them up once more."""
        size = max(1, _NUMBERS_AT_A_TIME // (noise.shape[1] * embeddings.shape[1]))
        parts = zip(torch.split(embeddings, size), torch.split(noise, size), strict=True)
        # The generators are not touched, and need not be put back.
        scored = [
            checkpoint(_products, part, self.slots, drawn, use_reentrant=False, preserve_rng_state=False)
            for part, drawn in parts
        ]
        return torch.cat(scored)

    def _of_own_group(self, rows: Selected, noise: Tensor) -> Tensor:
        is_own_slot = noise == rows.sample_ids[:, None]
        return is_own_slot | (self.slot_groups[noise] == rows.group_ids[:, None])

    @torch.no_grad()
    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        """``slot <- normalise(m slot + (1 - m) z)`` for the rows of all processes."""
        if self._staged is None:
            return
        sample_ids, embeddings, group_ids, normaliser = self._staged
        self._staged = None
        # Of a sample that a batch holds twice the last row counts, on every device.
        sample_ids, place = torch.unique(sample_ids, return_inverse=True)
        order = torch.arange(len(place), device=place.device)
        last = torch.zeros_like(sample_ids).scatter_reduce(0, place, order, "amax")
        momentum = value_at(self.momentum, progress.step, progress.num_steps)
        moved = momentum * self.slots[sample_ids] + (1 - momentum) * embeddings[last]
        self.slots[sample_ids] = F.normalize(moved, dim=-1).to(self.slots.dtype)
        self.slot_groups[sample_ids] = group_ids[last]
        self.normaliser.copy_(normaliser)


def _products(embeddings: Tensor, slots: Tensor, noise: Tensor) -> Tensor:
    products: Tensor = torch.einsum("nd,nkd->nk", embeddings, slots[noise])
    return products
