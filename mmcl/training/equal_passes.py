"""Two passes over one text differ by their dropout alone, as SimCSE's do: where there is none, they are the same."""

from __future__ import annotations

import torch

from mmcl.batch import TokenBatch
from mmcl.model import TwoTower
from mmcl.objectives.views import modality_of, num_passes
from mmcl.recipe import Recipe
from mmcl.towers.towers import in_evaluation_mode

_NUM_COPIES = 32
"""Of a short text. Even of the smallest model each is then sure to lose something else to dropout."""


def warn_of_equal_passes(recipe: Recipe, model: TwoTower) -> list[str]:
    """Return a warning for each objective that compares a text with itself where the text tower has no dropout.

    Args:
        recipe: the run.
        model: on the CPU.
    """
    views = [
        (config.type, view)
        for config in recipe.chosen_objectives
        for view, count in num_passes([config]).items()
        if count > 1 and modality_of(view) == "text"
    ]
    if not views or not model.has_text_tower or _has_dropout(model):
        return []
    return [
        f"{name} compares two passes over {view}, which differ by their dropout alone, and the text tower has none:"
        " they are the same, and nothing is learnt from them. Give a tower from model.text.config some (CLIP's"
        " attention_dropout: 0.1, BERT's hidden_dropout_prob: 0.1), take a text model that has some, or compare text.0"
        " with text.1"
        for name, view in views
    ]


@torch.no_grad()
def _has_dropout(model: TwoTower) -> bool:
    """Whether the text tower makes different things of equal texts in training.

    Tried, not looked up: attention drops by a number in a configuration, which every family calls by another name.
    """
    given = model.towers.probe_inputs["text"]
    assert isinstance(given, TokenBatch)
    copies = TokenBatch(given.input_ids.repeat(_NUM_COPIES, 1), given.attention_mask.repeat(_NUM_COPIES, 1))
    with in_evaluation_mode(model.towers), torch.random.fork_rng(devices=[]):
        model.towers.train()
        features, _ = model.towers.encode_text(copies)
    return not torch.allclose(features, features[:1].expand_as(features), rtol=1e-4, atol=1e-6)
