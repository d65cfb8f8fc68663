from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.clip import clip_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

GROUPS = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5])


def l_out(rows: Tensor, columns: Tensor, is_positive: Tensor, is_left_out: Tensor, scale: float) -> float:
    """The mean over rows of L_out, entry by entry."""
    losses = []
    for i in range(len(rows)):
        scores = [scale * float(rows[i] @ column) for column in columns]
        total = math.log(sum(math.exp(s) for j, s in enumerate(scores) if not is_left_out[i, j]))
        terms = [total - s for j, s in enumerate(scores) if is_positive[i, j]]
        losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


def test_two_pairs_by_hand() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # At scale 2 the scores are [[2, 1.2], [0, 1.6]].
    rows = math.log(math.exp(2) + math.exp(1.2)) - 2 + math.log(1 + math.exp(1.6)) - 1.6
    cols = math.log(math.exp(2) + 1) - 2 + math.log(math.exp(1.2) + math.exp(1.6)) - 1.6
    assert float(clip_loss(images, texts, 2.0)) == pytest.approx((rows + cols) / 4, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_with_a_group_per_row_it_is_the_papers_pseudocode(scale: float) -> None:
    images, texts, labels = unit(9, 4, seed=0), unit(9, 4, seed=1), torch.arange(9)

    def pseudocode(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        logits = scale * images @ texts.T
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    inputs = (images, texts, torch.tensor(scale).double())
    for ids in (None, labels + 5):
        torch.testing.assert_close(
            gradients_of(lambda i, t, s, ids=ids: clip_loss(i, t, s, ids), inputs), gradients_of(pseudocode, inputs)
        )


def test_equals_open_clip_with_a_group_per_row() -> None:
    open_clip = pytest.importorskip("open_clip")
    images, texts = unit(8, 5, seed=2).float(), unit(8, 5, seed=3).float()
    scale = torch.tensor(14.0)
    torch.testing.assert_close(clip_loss(images, texts, scale), open_clip.ClipLoss()(images, texts, scale))


def test_groups_follow_l_out_in_both_directions() -> None:
    images, texts = unit(9, 4, seed=4), unit(9, 4, seed=5)
    same, none = GROUPS[:, None] == GROUPS, torch.zeros(9, 9, dtype=torch.bool)
    expected = (l_out(images, texts, same, none, 7.0) + l_out(texts, images, same, none, 7.0)) / 2
    assert float(clip_loss(images, texts, 7.0, GROUPS)) == pytest.approx(expected, rel=1e-9)
    assert float(clip_loss(images, texts, 7.0)) != pytest.approx(expected, rel=1e-2)


def test_memory_adds_negatives_but_not_those_of_a_rows_group() -> None:
    images, texts, past_images, past_texts = (unit(n, 4, seed=n + k) for k, n in enumerate((9, 9, 5, 5)))
    past_ids = torch.tensor([3, 20, 21, 0, 20])
    same = GROUPS[:, None] == GROUPS
    positive = torch.cat([same, torch.zeros(9, 5, dtype=torch.bool)], dim=1)
    left_out = torch.cat([torch.zeros_like(same), GROUPS[:, None] == past_ids], dim=1)
    to_texts = l_out(images, torch.cat([texts, past_texts]), positive, left_out, 7.0)
    to_images = l_out(texts, torch.cat([images, past_images]), positive, left_out, 7.0)
    loss = clip_loss(images, texts, 7.0, GROUPS, memory=(past_images, past_texts, past_ids))
    assert float(loss) == pytest.approx((to_texts + to_images) / 2, rel=1e-9)


def test_memory_takes_no_gradient() -> None:
    past = unit(5, 4, seed=0).requires_grad_()
    memory = (past, past, torch.arange(5))
    clip_loss(unit(9, 4, seed=1).requires_grad_(), unit(9, 4, seed=2), 7.0, GROUPS, memory=memory).backward()
    assert past.grad is None


def test_rows_of_one_group_are_pulled_together_and_never_apart() -> None:
    # Rows 0 and 1 are two drawings of one thing: the gradient on image 0 must not point away from text 1.
    images = F.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2], [-1.0, 0.5]], dtype=torch.float64), dim=1)
    texts = F.normalize(torch.tensor([[1.0, 0.0], [0.3, 1.0], [-1.0, 0.0]], dtype=torch.float64), dim=1)
    grads = {}
    for name, groups in {"own": None, "shared": torch.tensor([0, 0, 2])}.items():
        moved = images.clone().requires_grad_()
        clip_loss(moved, texts, 1.0, groups).backward()
        grads[name] = -float(moved.grad[0] @ texts[1])
    assert grads["own"] < 0 < grads["shared"]


def test_invariant_to_a_joint_permutation_of_the_rows() -> None:
    images, texts = unit(9, 4, seed=4), unit(9, 4, seed=5)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        clip_loss(images, texts, 7.0, GROUPS), clip_loss(images[order], texts[order], 7.0, GROUPS[order])
    )


def test_symmetric_in_the_two_modalities() -> None:
    images, texts = unit(9, 4, seed=6), unit(9, 4, seed=7)
    torch.testing.assert_close(clip_loss(images, texts, 5.0, GROUPS), clip_loss(texts, images, 5.0, GROUPS))


@pytest.mark.parametrize("has_groups", [False, True])
@pytest.mark.parametrize("has_memory", [False, True])
def test_shares_of_processes_add_up_with_their_gradients(has_groups: bool, has_memory: bool) -> None:
    memory = (unit(3, 4, seed=1), unit(3, 4, seed=2), torch.tensor([3, 20, 0])) if has_memory else None

    def loss(images: Tensor, texts: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        return clip_loss(images, texts, 5.0, ids if has_groups else None, across=across, memory=memory)

    assert_shares_add_up(loss, unit(9, 4, seed=8), unit(9, 4, seed=9), GROUPS)


@pytest.mark.parametrize("scale", [14.0, 100.0])
def test_low_precision_inputs_and_autocast_lose_nothing(scale: float) -> None:
    assert_precision_is_kept(
        lambda images, texts, ids: clip_loss(images, texts, scale, ids),
        unit(9, 16, seed=10),
        unit(9, 16, seed=11),
        GROUPS,
    )


def test_gradient_matches_finite_differences() -> None:
    assert_gradient_is_right(
        lambda images, texts, scale: clip_loss(images, texts, scale, GROUPS[:7]),
        unit(7, 3, seed=12),
        unit(7, 3, seed=13),
        torch.tensor(3.0, dtype=torch.float64),
    )


def test_a_scale_of_1000_is_safe() -> None:
    images = unit(9, 4, seed=14).float().requires_grad_()
    loss = clip_loss(images, images.detach(), 1000.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-3)
    assert images.grad.isfinite().all()


def test_hard_negatives_are_compared_with_images_but_those_of_their_group() -> None:
    images, texts, negatives = unit(9, 4, seed=4), unit(9, 4, seed=5), unit(4, 4, seed=6)
    ids = torch.tensor([-1, 3, 20, 0])
    same = GROUPS[:, None] == GROUPS
    positive = torch.cat([same, torch.zeros(9, 4, dtype=torch.bool)], dim=1)
    left_out = torch.cat([torch.zeros_like(same), GROUPS[:, None] == ids], dim=1)
    to_texts = l_out(images, torch.cat([texts, negatives]), positive, left_out, 7.0)
    to_images = l_out(texts, images, same, torch.zeros_like(same), 7.0)
    loss = clip_loss(images, texts, 7.0, GROUPS, negatives=(negatives, ids, None))
    assert float(loss) == pytest.approx((to_texts + to_images) / 2, rel=1e-9)


def test_shares_with_hard_negatives_add_up_with_their_gradients() -> None:
    def loss(images: Tensor, texts: Tensor, negatives: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        every, names = (negatives, ids) if across is None else (across.gather(negatives), across.gather(ids))
        return clip_loss(images, texts, 5.0, ids, across=across, negatives=(every, names - 1, None))

    assert_shares_add_up(loss, unit(9, 4, seed=8), unit(9, 4, seed=9), unit(9, 4, seed=10), GROUPS)


def test_hard_negatives_take_a_gradient_and_may_be_none() -> None:
    images, texts, negatives = unit(9, 4, seed=4), unit(9, 4, seed=5), unit(4, 4, seed=6).requires_grad_()
    clip_loss(images, texts, 7.0, GROUPS, negatives=(negatives, torch.full((4,), -1), None)).backward()
    assert negatives.grad is not None
    assert bool((negatives.grad != 0).all())
    none = (negatives.detach()[:0], torch.zeros(0, dtype=torch.int64), None)
    torch.testing.assert_close(
        clip_loss(images, texts, 7.0, GROUPS, negatives=none), clip_loss(images, texts, 7.0, GROUPS)
    )
