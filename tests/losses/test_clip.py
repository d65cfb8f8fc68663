from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.clip import clip_loss


def unit_rows(n: int, d: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def test_with_a_group_per_row_it_is_the_papers_pseudocode() -> None:
    images, texts = unit_rows(6, 4, 0), unit_rows(6, 4, 1)
    logits = 10 * images @ texts.T
    labels = torch.arange(6)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(clip_loss(images, texts, 10.0, torch.arange(6)), expected)


def test_equals_open_clip_with_a_group_per_row() -> None:
    open_clip = pytest.importorskip("open_clip")
    images, texts = unit_rows(8, 5, 2).float(), unit_rows(8, 5, 3).float()
    scale = torch.tensor(14.0)
    torch.testing.assert_close(
        clip_loss(images, texts, scale, torch.arange(8)), open_clip.ClipLoss()(images, texts, scale)
    )


def test_rows_of_one_group_are_pulled_together_and_never_apart() -> None:
    # Rows 0 and 1 are two drawings of one thing: the gradient on image 0 must not point away from text 1.
    images = F.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2], [-1.0, 0.5]], dtype=torch.float64), dim=1)
    texts = F.normalize(torch.tensor([[1.0, 0.0], [0.3, 1.0], [-1.0, 0.0]], dtype=torch.float64), dim=1)
    grads = {}
    for name, groups in {"own": torch.tensor([0, 1, 2]), "shared": torch.tensor([0, 0, 2])}.items():
        moved = images.clone().requires_grad_()
        clip_loss(moved, texts, 1.0, groups).backward()
        grads[name] = -float(moved.grad[0] @ texts[1])
    assert grads["own"] < 0 < grads["shared"]


def test_invariant_to_a_joint_permutation_of_the_rows() -> None:
    images, texts, groups = unit_rows(9, 4, 4), unit_rows(9, 4, 5), torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        clip_loss(images, texts, 7.0, groups), clip_loss(images[order], texts[order], 7.0, groups[order])
    )


def test_symmetric_in_the_two_modalities() -> None:
    images, texts, groups = unit_rows(6, 4, 6), unit_rows(6, 4, 7), torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(clip_loss(images, texts, 5.0, groups), clip_loss(texts, images, 5.0, groups))


def test_shares_of_parts_add_up_to_the_whole() -> None:
    images, texts, groups = unit_rows(10, 4, 8), unit_rows(10, 4, 9), torch.tensor([0, 1, 0, 2, 3, 4, 1, 5, 6, 6])
    whole = clip_loss(images, texts, 5.0, groups)
    parts = [slice(0, 3), slice(3, 10)]
    shares = [clip_loss(images[p], texts[p], 5.0, groups[p], images, texts, groups) for p in parts]
    torch.testing.assert_close(torch.stack(shares).sum(), whole)


def test_gradient_matches_finite_differences() -> None:
    images, texts = unit_rows(4, 3, 10).requires_grad_(), unit_rows(4, 3, 11).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([0, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda i, t, s: clip_loss(i, t, s, groups), (images, texts, scale))
