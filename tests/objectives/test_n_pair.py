from __future__ import annotations

import math

import pytest
import torch

from mmcl.losses.n_pair import n_pair_loss
from mmcl.objectives.configs.views import NPairConfig
from tests.objectives.small_modules import batch_of, module_of, only
from tests.tiny import without_some

VIEWS = ("image.0", "image.1")


def test_it_is_the_n_pair_loss_of_what_is_not_normalised(tokenizer: str) -> None:
    module, batch = module_of(NPairConfig(l2=0.1), tokenizer), batch_of(num_groups=6)
    anchors, positives = (module.encode(batch)[view, 0].projected for view in VIEWS)
    output = module(batch)
    torch.testing.assert_close(output.loss, n_pair_loss(anchors, positives, 0.1, batch.group_ids))
    assert not torch.allclose(anchors.norm(dim=1), torch.ones(8), rtol=1e-2)
    assert output.chances["n_pair"] == pytest.approx(math.log(8))


def test_its_products_are_of_anchors_with_positives_of_other_rows(tokenizer: str) -> None:
    module, batch = module_of(NPairConfig(), tokenizer), batch_of()
    anchors, positives = (module.encode(batch)[view, 0].projected for view in VIEWS)
    expected = torch.nn.functional.cross_entropy(anchors @ positives.T, torch.arange(8))
    torch.testing.assert_close(module(batch).loss, expected)


def test_rows_without_a_picture_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(NPairConfig(), tokenizer), batch_of()
    output = module(without_some(batch))
    assert output.num_rows["n_pair"] == 5
    torch.testing.assert_close(output.loss, module(only(batch, [1, 2, 4, 5, 7])).loss)
