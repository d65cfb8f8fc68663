from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcl.losses.margin import batch_margin_loss
from mmcl.objectives.configs.labels import MarginConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of


@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
@pytest.mark.parametrize("distance", ["euclidean", "sq_euclidean", "cosine"])
def test_margin_distance_and_mining_are_the_recipes(tokenizer: str, distance: Any, mining: Any) -> None:
    module = module_of(MarginConfig(margin=0.7, distance=distance, mining=mining), tokenizer)
    batch = batch_of()
    every = torch.cat(embeddings_of(module, batch, ("image.0", "image.1")))
    output = module(batch)
    expected = batch_margin_loss(every, batch.group_ids.repeat(2), margin=0.7, distance=distance, mining=mining)
    torch.testing.assert_close(output.loss, expected)
    assert output.chances["margin"] is None


def test_pairs_are_similar_where_group_or_row_is_the_same(tokenizer: str) -> None:
    module, batch = module_of(MarginConfig(), tokenizer), batch_of(4, num_groups=3)
    every = torch.cat(embeddings_of(module, batch, ("image.0", "image.1")))
    groups, losses = [0, 1, 2, 0, 0, 1, 2, 0], []
    for one in range(8):
        for other in set(range(8)) - {one}:
            distance = (every[one] - every[other]).norm()
            is_similar = groups[one] == groups[other]
            losses.append(0.5 * (distance**2 if is_similar else (1 - distance).clamp(min=0) ** 2))
    torch.testing.assert_close(module(batch).loss, torch.stack(losses).mean())
