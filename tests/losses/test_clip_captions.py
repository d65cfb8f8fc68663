from __future__ import annotations

import math

import pytest
import torch

from mmcl.losses.clip import clip_loss
from mmcl.losses.clip_captions import clip_captions_loss
from tests.losses.checks import assert_gradient_is_right, assert_precision_is_kept, gradients_of, unit
from tests.losses.test_clip import GROUPS, l_out

pytestmark = pytest.mark.usefixtures("engine")

# Rows 0 and 2 have two captions, row 5 three; rows 1 and 2 are one group, and so are 4, 5 and 6.
OWNERS = torch.tensor([0, 0, 1, 2, 2, 3, 4, 5, 5, 5, 6, 7, 8])


def test_two_images_with_three_captions_by_hand() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    captions = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    # At scale 2 the scores are [[2, 1.2, 0], [0, 1.6, 2]]; the first two captions are of the first image.
    rows = [math.log(math.exp(2) + math.exp(1.2) + 1) - 1.6, math.log(1 + math.exp(1.6) + math.exp(2)) - 2]
    cols = [math.log(math.exp(2) + 1) - 2, math.log(math.exp(1.2) + math.exp(1.6)) - 1.2, math.log(1 + math.exp(2)) - 2]
    loss = clip_captions_loss(images, captions, 2.0, torch.tensor([0, 1]), torch.tensor([0, 0, 1]))
    assert float(loss) == pytest.approx((sum(rows) / 2 + sum(cols) / 3) / 2, rel=1e-6)


def test_it_is_l_out_in_both_directions_with_memory_and_hard_negatives() -> None:
    images, captions, ids = unit(9, 4, seed=4), unit(13, 4, seed=5), GROUPS[OWNERS]
    past_images, past_captions, negatives = (unit(5, 4, seed=seed) for seed in (6, 7, 8))
    past_ids = torch.tensor([3, 20, 21, 0, 20])
    own = GROUPS[:, None] == ids
    past = GROUPS[:, None] == past_ids
    of_past = ids[:, None] == past_ids
    loss = clip_captions_loss(
        images,
        captions,
        7.0,
        GROUPS,
        ids,
        memory=(past_images, past_captions, past_ids),
        negatives=(negatives, past_ids, None),
    )
    to_captions = l_out(
        images,
        torch.cat([captions, negatives, past_captions]),
        torch.cat([own, torch.zeros_like(past), torch.zeros_like(past)], dim=1),
        torch.cat([torch.zeros_like(own), past, past], dim=1),
        7.0,
    )
    to_images = l_out(
        captions,
        torch.cat([images, past_images]),
        torch.cat([own.T, torch.zeros_like(of_past)], dim=1),
        torch.cat([torch.zeros_like(own.T), of_past], dim=1),
        7.0,
    )
    assert float(loss) == pytest.approx((to_captions + to_images) / 2, rel=1e-9)


def test_with_one_caption_of_each_image_it_is_the_clip_loss() -> None:
    rows = (unit(9, 4, seed=1), unit(9, 4, seed=2), torch.tensor(5.0).double())
    torch.testing.assert_close(
        gradients_of(lambda images, texts, scale: clip_captions_loss(images, texts, scale, GROUPS, GROUPS), rows),
        gradients_of(lambda images, texts, scale: clip_loss(images, texts, scale, GROUPS), rows),
    )


def test_gradient_matches_finite_differences() -> None:
    assert_gradient_is_right(
        lambda images, captions, scale: clip_captions_loss(images, captions, scale, GROUPS, GROUPS[OWNERS]),
        unit(9, 3, seed=12),
        unit(13, 3, seed=13),
        torch.tensor(3.0, dtype=torch.float64),
    )


def test_low_precision_inputs_and_autocast_lose_nothing() -> None:
    assert_precision_is_kept(
        lambda images, captions: clip_captions_loss(images, captions, 14.0, GROUPS, GROUPS[OWNERS]),
        unit(9, 16, seed=10),
        unit(13, 16, seed=11),
    )


def test_ids_are_one_of_each_row() -> None:
    with pytest.raises(ValueError, match="caption_ids"):
        clip_captions_loss(unit(9, 4, seed=0), unit(13, 4, seed=1), 1.0, GROUPS, GROUPS)
