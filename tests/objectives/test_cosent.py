from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mmcl.losses.cosent import cosent_loss
from mmcl.objectives.configs import CoSENTConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, only
from tests.tiny import without_some

VIEWS = ("text.0", "text.1")


def test_it_compares_the_cosines_of_pairs_by_the_rows_scores(tokenizer: str) -> None:
    module, batch = module_of(CoSENTConfig(), tokenizer), batch_of(6)
    first, second = embeddings_of(module, batch, VIEWS)
    assert batch.scores is not None
    output = module(batch)
    torch.testing.assert_close(output.loss, cosent_loss(first, second, batch.scores))
    # Scores 0, 0.5, 1, 1.5, 2 and 0 again: of 15 comparisons the two zeros are none.
    assert output.chances["cosent"] == pytest.approx(math.log(1 + 14))


def test_its_head_takes_the_features(tokenizer: str) -> None:
    config = CoSENTConfig(head={"num_layers": 1, "output_dim": 4, "batch_norm": False})
    module, batch = module_of(config, tokenizer), batch_of(6)
    projector = module.objectives["cosent"].projector
    first, second = (F.normalize(projector(module.encode(batch)[view, 0])) for view in VIEWS)
    assert first.shape == (6, 4)
    torch.testing.assert_close(module(batch).loss, cosent_loss(first, second, batch.scores))


def test_rows_without_a_score_or_a_text_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(CoSENTConfig(), tokenizer), batch_of(8)
    output = module(batch)
    assert output.num_rows["cosent"] == 7  # row 6 has no score
    torch.testing.assert_close(output.loss, module(only(batch, [0, 1, 2, 3, 4, 5, 7])).loss)
    torch.testing.assert_close(module(without_some(batch)).loss, module(only(batch, [0, 2, 3, 5])).loss)


def test_a_batch_without_scores_gives_zero(tokenizer: str) -> None:
    module = module_of(CoSENTConfig(), tokenizer)
    output = module(replace(batch_of(), scores=None))
    assert (output.loss.item(), output.num_rows["cosent"]) == (0.0, 0)


def test_it_needs_scores() -> None:
    assert CoSENTConfig().needs_scores
