from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmcl.losses.across import Across
from mmcl.losses.clip import clip_loss
from mmcl.losses.distillation import distillation_loss, feature_distillation_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

Rows = tuple[Tensor, Tensor, Tensor, Tensor]


def rows(num_rows: int = 9) -> Rows:
    """A student of 4 dimensions and a teacher of 6."""
    student, teacher = (unit(num_rows, 4, seed=seed) for seed in (0, 1)), (unit(num_rows, 6, seed=s) for s in (2, 3))
    return (*student, *teacher)  # type: ignore[return-value]


def loss_of(
    images: Tensor,
    texts: Tensor,
    its_images: Tensor,
    its_texts: Tensor,
    scale: Tensor | float = 7.0,
    its_scale: float = 3.0,
    across: Across | None = None,
) -> Tensor:
    return distillation_loss((images, texts), (its_images, its_texts), scale, its_scale, across=across)


def dense(images: Tensor, texts: Tensor, its_images: Tensor, its_texts: Tensor, scale: Tensor | float = 7.0) -> Tensor:
    """Both matrices whole, as a paper writes it."""
    logits, its_logits = scale * images @ texts.T, 3.0 * its_images @ its_texts.T
    directions = [
        -(theirs.softmax(dim=1) * mine.log_softmax(dim=1)).sum(dim=1).mean()
        for mine, theirs in ((logits, its_logits), (logits.T, its_logits.T))
    ]
    return torch.stack(directions).mean()


def test_two_pairs_by_hand() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # At scale 2 the student's scores are [[2, 1.2], [0, 1.6]]; at ln 3 the teacher finds 3 to 1 for the own one.
    to_texts = math.log(math.exp(2) + math.exp(1.2)) - 0.75 * 2 - 0.25 * 1.2
    to_texts += math.log(1 + math.exp(1.6)) - 0.75 * 1.6
    to_images = math.log(math.exp(2) + 1) - 0.75 * 2
    to_images += math.log(math.exp(1.2) + math.exp(1.6)) - 0.75 * 1.6 - 0.25 * 1.2
    found = distillation_loss(student, teacher, 2.0, math.log(3))
    assert float(found) == pytest.approx((to_texts + to_images) / 4, rel=1e-6)


def test_value_and_gradients_are_those_of_the_whole_matrices() -> None:
    given = rows()
    scale = torch.tensor(7.0, dtype=torch.float64)
    found, expected = gradients_of(loss_of, (*given, scale)), gradients_of(dense, (*given, scale))
    torch.testing.assert_close(found[0], expected[0])
    for position in (0, 1, 4):
        torch.testing.assert_close(found[1][position], expected[1][position])


def test_equals_open_clip() -> None:
    open_clip = pytest.importorskip("open_clip")
    images, texts, its_images, its_texts = (given.float() for given in rows())
    scale, its_scale = torch.tensor(14.0), torch.tensor(20.0)
    _, expected = open_clip.DistillClipLoss()(images, texts, scale, its_images, its_texts, its_scale)
    torch.testing.assert_close(loss_of(images, texts, its_images, its_texts, scale, 20.0), expected)


def test_the_teacher_takes_no_gradient() -> None:
    _, gradients = gradients_of(loss_of, rows())
    assert not gradients[2].any()
    assert not gradients[3].any()


def test_a_teacher_that_is_sure_of_each_pair_makes_it_the_clip_loss() -> None:
    images, texts, _, _ = rows()
    sure = torch.eye(9, dtype=torch.float64)
    torch.testing.assert_close(loss_of(images, texts, sure, sure, its_scale=1000.0), clip_loss(images, texts, 7.0))


def test_nothing_is_left_to_learn_for_a_student_that_agrees() -> None:
    images, texts, _, _ = rows()
    _, gradients = gradients_of(lambda x, t: distillation_loss((x, t), (images, texts), 3.0, 3.0), (images, texts))
    assert all(float(gradient.abs().max()) < 1e-12 for gradient in gradients)


def test_invariant_to_a_joint_permutation_of_the_rows() -> None:
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss_of(*rows()), loss_of(*(given[order] for given in rows())))


def test_symmetric_in_the_two_modalities() -> None:
    images, texts, its_images, its_texts = rows()
    torch.testing.assert_close(
        loss_of(images, texts, its_images, its_texts), loss_of(texts, images, its_texts, its_images)
    )


def test_shares_of_processes_add_up_with_their_gradients() -> None:
    assert_shares_add_up(loss_of, *rows())


@pytest.mark.parametrize("scale", [14.0, 100.0])
def test_low_precision_inputs_and_autocast_lose_nothing(scale: float) -> None:
    assert_precision_is_kept(lambda *given: loss_of(*given, scale=scale, its_scale=scale), *rows())


def test_gradient_matches_finite_differences() -> None:
    _, _, its_images, its_texts = rows(7)
    assert_gradient_is_right(
        lambda images, texts, scale: loss_of(images, texts, its_images, its_texts, scale),
        unit(7, 3, seed=12),
        unit(7, 3, seed=13),
        torch.tensor(3.0, dtype=torch.float64),
    )


def test_without_a_gradient_the_value_is_the_same() -> None:
    with torch.no_grad():
        found = loss_of(*rows())
    torch.testing.assert_close(found, dense(*rows()))


def test_rows_of_another_number_are_refused() -> None:
    images, texts, its_images, its_texts = rows()
    with pytest.raises(ValueError, match="student and teacher must have the same rows, got 9 and 8"):
        loss_of(images, texts, its_images[:8], its_texts[:8])


def test_features_by_hand() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    # One picture is 2 from the teacher's, one text the root of 2.
    assert float(feature_distillation_loss(student, teacher)) == pytest.approx((4 + 2) / 2)


def test_shares_of_features_add_up_with_their_gradients() -> None:
    def loss(*given: Tensor, across: Across | None) -> Tensor:
        return feature_distillation_loss(given[:2], given[2:], across=across)  # type: ignore[arg-type]

    assert_shares_add_up(loss, *(unit(9, 4, seed=seed) for seed in range(4)))


def test_gradient_of_features_matches_finite_differences() -> None:
    teacher = unit(5, 3, seed=0), unit(5, 3, seed=1)
    assert_gradient_is_right(
        lambda images, texts: feature_distillation_loss((images, texts), teacher),
        unit(5, 3, seed=2),
        unit(5, 3, seed=3),
    )
