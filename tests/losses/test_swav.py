from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmcl.losses.across import Across
from mmcl.losses.sinkhorn import sinkhorn
from mmcl.losses.swav import swav_loss
from tests.losses.checks import assert_gradient_is_right, assert_precision_is_kept, assert_shares_add_up, unit


def crops(num_crops: int, n: int = 7, k: int = 4) -> list[Tensor]:
    prototypes = unit(k, 6, seed=99)
    return [unit(n, 6, seed=seed) @ prototypes.T for seed in range(num_crops)]


def by_loops(scores: list[Tensor], codes: list[Tensor], temperature: float) -> float:
    total = 0.0
    for i, code in enumerate(codes):
        for v, crop in enumerate(scores):
            if v == i:
                continue
            for row in range(len(crop)):
                logits = [float(score) / temperature for score in crop[row]]
                log_sum = math.log(sum(math.exp(logit) for logit in logits))
                terms = [float(q) * (log_sum - logit) for q, logit in zip(code[row], logits, strict=True)]
                total += sum(terms) / len(crop) / (len(scores) - 1) / len(codes)
    return total


def test_two_crops_by_hand() -> None:
    # At T = 0.5 crop 0 has logits (2, 0) and crop 1 (0, 1); the codes are (1, 0) and (1/4, 3/4).
    scores = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]])]
    codes = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.25, 0.75]])]
    code_0_by_crop_1 = math.log(1 + math.e)
    code_1_by_crop_0 = 0.25 * math.log(1 + math.exp(-2)) + 0.75 * math.log(1 + math.exp(2))
    loss = swav_loss(scores, codes, 0.5)
    assert float(loss) == pytest.approx((code_0_by_crop_1 + code_1_by_crop_0) / 2, rel=1e-6)


@pytest.mark.parametrize(("num_crops", "num_codes"), [(2, 1), (2, 2), (5, 1), (5, 2), (8, 2), (3, 3)])
def test_each_code_is_predicted_by_every_other_crop(num_crops: int, num_codes: int) -> None:
    scores = crops(num_crops)
    codes = [sinkhorn(crop) for crop in scores[:num_codes]]
    assert float(swav_loss(scores, codes)) == pytest.approx(by_loops(scores, codes, 0.1), rel=1e-10)


def test_equals_lightlys_loss_with_local_crops() -> None:
    theirs = pytest.importorskip("lightly.loss").SwaVLoss()
    scores = [crop.float() for crop in crops(6)]
    expected = theirs(scores[:2], scores[2:]).squeeze()
    torch.testing.assert_close(swav_loss(scores, [sinkhorn(crop) for crop in scores[:2]]), expected)


def test_is_not_the_reading_in_which_a_crop_predicts_itself() -> None:
    scores = crops(5)
    codes = [sinkhorn(crop) for crop in scores[:2]]
    every = sum(-(code * (crop / 0.1).log_softmax(1)).sum(1).mean() for code in codes for crop in scores) / 10
    assert abs(float(every - swav_loss(scores, codes))) > 0.05


def test_scores_all_equal_give_ln_k() -> None:
    scores = [torch.zeros(6, 30)] * 4
    assert float(swav_loss(scores, [sinkhorn(scores[0])] * 2)) == pytest.approx(math.log(30), rel=1e-6)


def test_invariant_to_renaming_the_prototypes_and_to_the_order_of_rows_and_local_crops() -> None:
    scores = crops(5)
    codes = [sinkhorn(crop) for crop in scores[:2]]
    expected = swav_loss(scores, codes)
    names, rows = torch.tensor([2, 0, 3, 1]), torch.tensor([6, 1, 0, 5, 3, 4, 2])
    renamed = [crop[rows][:, names] for crop in [*scores[:2], scores[4], scores[2], scores[3]]]
    torch.testing.assert_close(swav_loss(renamed, [code[rows][:, names] for code in codes]), expected)


def test_codes_take_no_gradient() -> None:
    scores = [crop.requires_grad_() for crop in crops(3)]
    codes = [crop.detach().softmax(1).requires_grad_() for crop in scores[:2]]
    swav_loss(scores, codes).backward()
    assert all(crop.grad is not None for crop in scores)
    assert all(code.grad is None for code in codes)


def test_refuses_too_few_crops_and_too_many_codes() -> None:
    scores = crops(2)
    with pytest.raises(ValueError, match="two crops at least, got 1"):
        swav_loss(scores[:1], scores[:1])
    with pytest.raises(ValueError, match="of 1 to 2 crops, got 3"):
        swav_loss(scores, [*scores, scores[0]])
    with pytest.raises(ValueError, match="of 1 to 2 crops, got 0"):
        swav_loss(scores, [])


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    scores = crops(4, n=8)

    def with_own_codes(*scores: Tensor, across: Across | None = None) -> Tensor:
        codes = [sinkhorn(crop, across=across) for crop in scores[:2]]
        return swav_loss(scores, codes, across=across)

    assert_shares_add_up(with_own_codes, *scores)
    codes = [sinkhorn(crop) for crop in scores[:2]]
    assert_gradient_is_right(lambda *scores: swav_loss(scores, codes), *scores)
    assert_precision_is_kept(with_own_codes, *crops(4, n=8, k=50))
