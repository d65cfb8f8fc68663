from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcl.losses.triplet import batch_triplet_loss
from mmcl.objectives.configs.labels import TripletConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of


@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
@pytest.mark.parametrize("distance", ["euclidean", "sq_euclidean", "cosine"])
def test_margin_distance_and_mining_are_the_recipes(tokenizer: str, distance: Any, mining: Any) -> None:
    module = module_of(TripletConfig(margin=0.7, distance=distance, mining=mining), tokenizer)
    batch = batch_of()
    every = torch.cat(embeddings_of(module, batch, ("image.0", "image.1")))
    output = module(batch)
    expected = batch_triplet_loss(every, batch.group_ids.repeat(2), margin=0.7, distance=distance, mining=mining)
    torch.testing.assert_close(output.loss, expected)
    assert output.chances["triplet"] == (None if mining == "semi_hard" else 0.7)


def test_random_triplets_are_those_of_the_steps_seed(tokenizer: str) -> None:
    module, batch = module_of(TripletConfig(mining="random"), tokenizer), batch_of()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(float(module(batch).loss.detach()))
    assert losses[0] == losses[1] != losses[2]


def test_chance_is_the_loss_of_a_model_that_has_collapsed(tokenizer: str) -> None:
    equal = torch.ones(8, 4)
    assert batch_triplet_loss(equal, torch.arange(4).repeat(2), margin=0.3) == pytest.approx(0.3)
