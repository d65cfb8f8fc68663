from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.siglip import siglip_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    normal,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

GROUPS = torch.tensor([0, 1, 1, 2, 3, 3, 0, 4, 5])
MEMORY = (unit(4, 3, seed=90), unit(4, 3, seed=91), torch.tensor([3, 20, 0, 21]))


def dense(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, groups: Tensor | None = None) -> Tensor:
    ids = torch.arange(len(images)) if groups is None else groups
    signs = 2.0 * (ids[:, None] == ids) - 1.0
    return -F.logsigmoid(signs * (scale * images @ texts.T + bias)).sum() / len(images)


def scalars(scale: float, bias: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(scale, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64)


def test_two_pairs_by_hand() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # With t = 10, b = -5 the logits are [[5, 1], [-5, 3]].
    terms = [math.log1p(math.exp(x)) for x in (-5, 1, -5, -3)]
    assert float(siglip_loss(images, texts, 10.0, -5.0)) == pytest.approx(sum(terms) / 2, rel=1e-6)


def test_it_is_summed_over_texts_and_not_their_mean() -> None:
    # All scores and the bias are 0, so each of the N x N terms is ln 2: N ln 2 per image.
    zeros = torch.zeros(6, 3)
    assert float(siglip_loss(zeros, zeros, 10.0, 0.0)) == pytest.approx(6 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (1.0, 0.0), (100.0, -12.0), (1000.0, 30.0), (5.0, -25.0)])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_loss_and_gradients_are_those_of_the_whole_matrix(scale: float, bias: float, groups: Tensor | None) -> None:
    inputs = (unit(9, 4, seed=0), unit(9, 4, seed=1), *scalars(scale, bias))
    torch.testing.assert_close(
        gradients_of(lambda *leaves: siglip_loss(*leaves, groups), inputs),
        gradients_of(lambda *leaves: dense(*leaves, groups), inputs),
    )


def test_equals_open_clip() -> None:
    loss = pytest.importorskip("open_clip.loss")
    images, texts = unit(8, 5, seed=2).float(), unit(8, 5, seed=3).float()
    expected = loss.SigLipLoss()(images, texts, torch.tensor(10.0), torch.tensor(-10.0))
    torch.testing.assert_close(siglip_loss(images, texts, 10.0, -10.0), expected)


def test_memory_pairs_both_modalities_with_the_past_and_leaves_groups_out() -> None:
    images, texts = unit(9, 3, seed=4), unit(9, 3, seed=5)
    expected = float(dense(images, texts, *scalars(7.0, -2.0), GROUPS)) * 9
    for rows, past in ((images, MEMORY[1]), (texts, MEMORY[0])):
        for row, group in zip(rows, GROUPS, strict=True):
            for other, other_id in zip(past, MEMORY[2], strict=True):
                expected += math.log1p(math.exp(7 * float(row @ other) - 2)) if group != other_id else 0.0
    loss = siglip_loss(images, texts, 7.0, -2.0, GROUPS, memory=MEMORY)
    assert float(loss) == pytest.approx(expected / 9, rel=1e-9)


def test_invariant_to_a_joint_permutation_and_symmetric_in_the_modalities() -> None:
    images, texts, order = unit(9, 3, seed=6), unit(9, 3, seed=7), torch.tensor([3, 8, 1, 0, 7, 6, 2, 5, 4])
    loss = siglip_loss(images, texts, 10.0, -5.0, GROUPS)
    torch.testing.assert_close(siglip_loss(images[order], texts[order], 10.0, -5.0, GROUPS[order]), loss)
    torch.testing.assert_close(siglip_loss(texts, images, 10.0, -5.0, GROUPS), loss)


@pytest.mark.parametrize("has_groups", [False, True])
@pytest.mark.parametrize("memory", [None, MEMORY])
def test_shares_of_processes_add_up_with_their_gradients(
    has_groups: bool, memory: tuple[Tensor, Tensor, Tensor] | None
) -> None:
    def loss(images: Tensor, texts: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        return siglip_loss(images, texts, 10.0, -5.0, ids if has_groups else None, across=across, memory=memory)

    assert_shares_add_up(loss, unit(9, 3, seed=8), unit(9, 3, seed=9), GROUPS)


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (100.0, -10.0)])
def test_low_precision_inputs_and_autocast_lose_nothing(scale: float, bias: float) -> None:
    assert_precision_is_kept(
        lambda images, texts, ids: siglip_loss(images, texts, scale, bias, ids),
        unit(9, 16, seed=10),
        unit(9, 16, seed=11),
        GROUPS,
    )


def test_gradient_matches_finite_differences() -> None:
    assert_gradient_is_right(
        lambda *leaves: siglip_loss(*leaves, GROUPS[:6], memory=MEMORY),
        normal(6, 3, seed=12),
        normal(6, 3, seed=13),
        *scalars(2.0, -1.0),
    )


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    images, texts = unit(9, 3, seed=14).requires_grad_(), unit(9, 3, seed=15)
    with torch.no_grad():
        silent = siglip_loss(images, texts, 10.0, -5.0)
    assert not silent.requires_grad
    loss = siglip_loss(images, texts, 10.0, -5.0)
    torch.testing.assert_close(loss.detach(), silent)
    loss.backward()
    assert texts.grad is None
