"""A module of one objective over the smallest towers, and batches for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.objective import DataFacts
from tests.tiny import random_batch, vit_bert_pair

FACTS = DataFacts(num_samples=24, class_names=("a", "b", "c"), batch_size=8, seed=5)


def module_of(config: Any, tokenizer: str, **model_fields: Any) -> ContrastiveModule:
    """A module without dropout, in evaluation mode, so that batch norms take no part."""
    return ContrastiveModule(build_model(vit_bert_pair(tokenizer, **model_fields)), [config], FACTS).eval()


def batch_of(num_rows: int = 8, seed: int = 0, num_groups: int | None = None) -> PairBatch:
    """Two pictures and three texts in each row; labels 0, 1, 2 and at each fourth row none."""
    return random_batch(num_rows, 16, seed, num_groups, image_views=2, text_views=3, num_classes=3)


def embeddings_of(module: ContrastiveModule, batch: PairBatch, views: tuple[str, ...]) -> list[Tensor]:
    """Unit-norm embeddings of the batch's views, in order."""
    encoded = module.encode(batch)
    return [encoded[view, views[:position].count(view)].embeddings for position, view in enumerate(views)]


def only(batch: PairBatch, rows: list[int]) -> PairBatch:
    """The fully paired batch of some rows."""
    index = torch.tensor(rows)
    return replace(
        batch,
        images=tuple(view[index] for view in batch.images),
        texts=tuple(
            replace(t, input_ids=t.input_ids[index], attention_mask=t.attention_mask[index]) for t in batch.texts
        ),
        group_ids=batch.group_ids[index],
        sample_ids=batch.sample_ids[index],
        labels=None if batch.labels is None else batch.labels[index],
    )


def step(module: ContrastiveModule, batch: PairBatch) -> Tensor:
    """The loss of a batch, and what comes after an update that changes nothing."""
    loss = module(batch).loss
    module.after_optimizer_step()
    return loss.detach()
