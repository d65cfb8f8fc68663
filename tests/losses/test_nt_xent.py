from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmcl.losses.across import Across
from mmcl.losses.nt_xent import nt_xent_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

GROUPS = torch.tensor([0, 1, 1, 2, 3, 3, 0, 4])
MEMORY = (unit(4, 3, seed=90), torch.tensor([3, 20, 0, 21]))


def by_definition(
    views: list[Tensor],
    temperature: float,
    groups: Tensor | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
) -> float:
    """Anchor by anchor, term by term."""
    n, losses = len(views[0]), []
    ids = torch.arange(n) if groups is None else groups
    rows = [(v, i) for v in range(len(views)) for i in range(n)]
    for v, i in rows:
        anchor, denominator, positives = views[v][i], 0.0, []
        for u, k in rows:
            score = float(anchor @ views[u][k]) / temperature
            if (u, k) == (v, i) or (k != i and ids[k] == ids[i]):
                continue
            denominator += math.exp(score)
            if k == i:
                positives.append(score)
        for past, past_id in zip(*memory, strict=True) if memory else []:
            if groups is None or past_id != ids[i]:
                denominator += math.exp(float(anchor @ past) / temperature)
        losses.append(math.log(denominator) - sum(positives) / len(positives))
    return sum(losses) / len(losses)


def test_two_samples_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    # At T = 0.5 each anchor's sum has three terms, its positive among them.
    losses = [
        math.log(1 + math.exp(1.2) + 1) - 1.2,
        math.log(1 + math.exp(1.6) + math.exp(2)) - 2,
        math.log(math.exp(1.2) + 2 * math.exp(1.6)) - 1.2,
        math.log(1 + math.exp(2) + math.exp(1.6)) - 2,
    ]
    assert float(nt_xent_loss((first, second), 0.5)) == pytest.approx(sum(losses) / 4, rel=1e-6)


def test_equal_embeddings_count_2n_minus_1_terms() -> None:
    # All scores are equal, so the loss is the logarithm of the number of terms: not N, not 2N, not 2N - 2.
    for n in (2, 5, 8):
        views = [torch.eye(3)[:1].expand(n, 3)] * 2
        assert float(nt_xent_loss(views)) == pytest.approx(math.log(2 * n - 1), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.01])
def test_equals_lightly(temperature: float) -> None:
    lightly = pytest.importorskip("lightly.loss")
    views = [unit(8, 5, seed=0), unit(8, 5, seed=1)]
    reference = lightly.NTXentLoss(temperature=temperature)
    torch.testing.assert_close(nt_xent_loss(views, temperature), reference(*views))


def test_equals_pytorch_metric_learning() -> None:
    metric_learning = pytest.importorskip("pytorch_metric_learning.losses")
    views, labels = [unit(8, 5, seed=0), unit(8, 5, seed=1)], torch.arange(8)
    # With one positive per anchor its NT-Xent is the paper's.
    expected = metric_learning.NTXentLoss(temperature=0.1)(torch.cat(views), labels.repeat(2))
    torch.testing.assert_close(nt_xent_loss(views, 0.1), expected)


def test_is_half_of_the_tensorflow_2_code() -> None:
    # tf2/objective.py adds the mean cross-entropy of both directions up: two means over N instead of one over 2N.
    views, eye = [unit(8, 5, seed=2), unit(8, 5, seed=3)], torch.eye(8).double() * 1e9
    a, b = views
    labels = torch.arange(8)
    loss_a = torch.nn.functional.cross_entropy(torch.cat([a @ b.T, a @ a.T - eye], dim=1) / 0.1, labels)
    loss_b = torch.nn.functional.cross_entropy(torch.cat([b @ a.T, b @ b.T - eye], dim=1) / 0.1, labels)
    torch.testing.assert_close(nt_xent_loss(views, 0.1), (loss_a + loss_b) / 2)


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("memory", [None, MEMORY])
def test_follows_the_definition(num_views: int, groups: Tensor | None, memory: tuple[Tensor, Tensor] | None) -> None:
    views = [unit(8, 3, seed=4 + v) for v in range(num_views)]
    expected = by_definition(views, 0.2, groups, memory)
    assert float(nt_xent_loss(views, 0.2, groups, memory=memory)) == pytest.approx(expected, rel=1e-9)


def test_one_group_alone_leaves_only_the_positive() -> None:
    views = [unit(4, 3, seed=5).requires_grad_(), unit(4, 3, seed=6)]
    loss = nt_xent_loss(views, 0.1, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(views[0].grad, torch.zeros(4, 3).double(), rtol=0, atol=1e-9)


def test_invariant_to_the_order_of_samples_and_of_views() -> None:
    first, second, order = unit(8, 3, seed=7), unit(8, 3, seed=8), torch.tensor([3, 1, 0, 7, 6, 2, 5, 4])
    loss = nt_xent_loss((first, second), 0.1, GROUPS)
    torch.testing.assert_close(nt_xent_loss((first[order], second[order]), 0.1, GROUPS[order]), loss)
    torch.testing.assert_close(nt_xent_loss((second, first), 0.1, GROUPS), loss)


@pytest.mark.parametrize("has_groups", [False, True])
@pytest.mark.parametrize("memory", [None, MEMORY])
def test_shares_of_processes_add_up_with_their_gradients(
    has_groups: bool, memory: tuple[Tensor, Tensor] | None
) -> None:
    def loss(first: Tensor, second: Tensor, third: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        groups = ids if has_groups else None
        return nt_xent_loss((first, second, third), 0.2, groups, across=across, memory=memory)

    assert_shares_add_up(loss, *(unit(8, 3, seed=9 + v) for v in range(3)), GROUPS)


@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_low_precision_inputs_and_autocast_lose_nothing(temperature: float) -> None:
    assert_precision_is_kept(
        lambda first, second, ids: nt_xent_loss((first, second), temperature, ids),
        unit(8, 16, seed=12),
        unit(8, 16, seed=13),
        GROUPS,
    )


def test_gradient_matches_finite_differences() -> None:
    assert_gradient_is_right(
        lambda *views: nt_xent_loss(views, 0.5, GROUPS[:5], memory=MEMORY), *(unit(5, 3, seed=14 + v) for v in range(3))
    )


def test_gradient_equals_that_of_the_whole_matrix() -> None:
    def dense(first: Tensor, second: Tensor) -> Tensor:
        rows = torch.cat([first, second])
        scores = (rows @ rows.T / 0.01).masked_fill(torch.eye(16, dtype=torch.bool), -torch.inf)
        return torch.nn.functional.cross_entropy(scores, (torch.arange(16) + 8) % 16)

    inputs = (unit(8, 3, seed=15), unit(8, 3, seed=16))
    torch.testing.assert_close(
        gradients_of(lambda *views: nt_xent_loss(views, 0.01), inputs), gradients_of(dense, inputs)
    )


def test_one_view_is_an_error() -> None:
    with pytest.raises(ValueError, match="views must be two or more, got 1"):
        nt_xent_loss([torch.eye(2)])
