"""Every objective of the registry in a size for tests, a module of one over the smallest towers, batches for it."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import AnyObjective, DistillationConfig
from mmcl.objectives.objective import DataFacts
from mmcl.recipe_model import ModelConfig
from tests.tiny import SPECIAL, WORDS, bert_alone, random_batch, vit_bert_pair

FACTS = DataFacts(num_samples=24, class_names=("a", "b", "c"), batch_size=8, seed=5)


CONFIGS: list[Any] = list(typing.get_args(typing.get_args(AnyObjective)[0]))


def count_tokens() -> Tensor:
    """As if one token alone were ever seen, so that nothing is left to chance in drawing noise."""
    return torch.zeros(len(SPECIAL + WORDS), dtype=torch.int64).index_fill(0, torch.tensor(10), 1)


REGISTRY_FACTS = DataFacts(24, ("a", "b", "c"), batch_size=12, seed=5, count_tokens=count_tokens)
SMALL: dict[str, Any] = {
    "head": {"hidden_dim": 12, "output_dim": 8},
    "predictor": {"hidden_dim": 12, "output_dim": 8},
    "queue_size": 20,
    "num_prototypes": 6,
    "num_noise": 8,
    "window": 1,
    "subsample": 0,
}
"""Sizes at which a test is quick, for the fields that an objective has."""


def small(config_class: Any, **fields: Any) -> Any:
    """An objective with everything at its default but its sizes."""
    if config_class is DistillationConfig:
        # At its own temperature, a teacher that is the model itself teaches nothing yet.
        fields = {"temperature": 0.5, "feature_weight": 0.5, **fields}
    default = config_class()
    for name, value in SMALL.items():
        if getattr(default, name, None) is not None:
            own = getattr(default, name)
            fields[name] = {**own.model_dump(), **value} if hasattr(own, "model_dump") else value
    return config_class.model_validate({**fields})


def model_for(config: Any, tokenizer: str, dropout: float = 0.0) -> ModelConfig:
    """Two towers, or the one that an objective can do with: a text tower that may keep a head, a table of tokens."""
    if config.type == "skip_gram":
        return ModelConfig.model_validate(
            {"text": {"config": {"model_type": "static", "embedding_dim": 8}, "tokenizer": tokenizer}}
        )
    return bert_alone(tokenizer, dropout) if getattr(config, "keep_head", False) else vit_bert_pair(tokenizer, dropout)


def module_of(config: Any, tokenizer: str, **model_fields: Any) -> ContrastiveModule:
    """A module without dropout, in evaluation mode, so that batch norms take no part."""
    return ContrastiveModule(build_model(vit_bert_pair(tokenizer, **model_fields)), [config], FACTS).eval()


def batch_of(num_rows: int = 8, seed: int = 0, num_groups: int | None = None) -> PairBatch:
    """Two pictures and three texts in each row; labels 0, 1, 2 and at each fourth row none; scores 0, 0.5, 1, 1.5, 2
    over and over, and at each seventh row none."""
    batch = random_batch(num_rows, 16, seed, num_groups, image_views=2, text_views=3, num_classes=3)
    scores = torch.arange(num_rows) % 5 / 2
    scores[6::7] = torch.nan
    return replace(batch, scores=scores)


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
        scores=None if batch.scores is None else batch.scores[index],
    )


def step(module: ContrastiveModule, batch: PairBatch) -> Tensor:
    """The loss of a batch, and what comes after an update that changes nothing."""
    loss = module(batch).loss
    module.after_optimizer_step()
    return loss.detach()
