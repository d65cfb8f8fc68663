from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mmcl.losses.info_nce import info_nce_loss
from mmcl.objectives.configs.base import HeadConfig
from mmcl.objectives.configs.cross_modal import InfoNCEConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, only
from tests.tiny import without_some

VIEWS = ("image.0", "text.0")


def test_it_is_one_direction_of_info_nce_at_the_recipes_temperature(tokenizer: str) -> None:
    module, batch = module_of(InfoNCEConfig(temperature=0.2), tokenizer), batch_of()
    images, texts = embeddings_of(module, batch, VIEWS)
    expected = torch.nn.functional.cross_entropy(images @ texts.T / 0.2, torch.arange(8))
    output = module(batch)
    torch.testing.assert_close(output.loss, expected)
    assert output.chances["info_nce"] == pytest.approx(math.log(8))


def test_rows_of_equal_group_are_positives(tokenizer: str) -> None:
    module, batch = module_of(InfoNCEConfig(), tokenizer), batch_of(num_groups=5)
    images, texts = embeddings_of(module, batch, VIEWS)
    torch.testing.assert_close(module(batch).loss, info_nce_loss(images, texts, 1 / 0.07, batch.group_ids))


@pytest.mark.parametrize("similarity", ["dot", "neg_euclidean", "neg_sq_euclidean"])
def test_other_similarities_compare_what_is_not_normalised(tokenizer: str, similarity: Any) -> None:
    module, batch = module_of(InfoNCEConfig(similarity=similarity), tokenizer), batch_of()
    queries, keys = (module.encode(batch)[view, 0].projected for view in VIEWS)
    expected = info_nce_loss(queries, keys, 1 / 0.07, batch.group_ids, similarity=similarity)
    torch.testing.assert_close(module(batch).loss, expected)
    assert not torch.allclose(queries.norm(dim=1), torch.ones(8), rtol=1e-2)


def test_a_head_stands_between_the_towers_and_the_loss(tokenizer: str) -> None:
    views = ("image.0", "image.1")
    head = HeadConfig(num_layers=1, output_dim=4)
    module, batch = module_of(InfoNCEConfig(views=views, head=head), tokenizer), batch_of()
    linear = module.objectives["info_nce"].projector.head[0]
    queries, keys = (linear(module.encode(batch)[view, 0].features) for view in views)
    expected = info_nce_loss(
        torch.nn.functional.normalize(queries), torch.nn.functional.normalize(keys), 1 / 0.07, batch.group_ids
    )
    torch.testing.assert_close(module(batch).loss, expected)


def test_rows_without_a_picture_or_a_text_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(InfoNCEConfig(), tokenizer), batch_of()
    output = module(without_some(batch))
    paired = only(batch, [row for row in range(8) if row % 3 == 2])
    assert output.num_rows["info_nce"] == len(paired)
    torch.testing.assert_close(output.loss, module(paired).loss)
