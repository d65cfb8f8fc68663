from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.losses.sup_con import sup_con_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

LABELS = torch.tensor([0, 1, -1, 1, 0, 5, -1, 1])
GROUPS = torch.tensor([0, 1, 1, 2, 3, 3, 0, 4])
MEMORY = (unit(4, 3, seed=90), torch.tensor([1, -1, 0, 7]))
PAST_GROUPS = torch.tensor([1, 3, 0, 0])
FORMS = ("out", "in")


def by_definition(
    views: list[Tensor],
    labels: Tensor,
    temperature: float,
    groups: Tensor | None = None,
    form: str = "out",
    memory: tuple[Tensor, Tensor] | None = None,
    past_groups: Tensor | None = None,
) -> float:
    """Equations 2 and 3, anchor by anchor, term by term."""
    n, losses = len(labels), []
    rows = [(v, i) for v in range(len(views)) for i in range(n)]
    for v, i in rows:
        denominator, positives = 0.0, []
        for u, k in rows:
            if (u, k) == (v, i):
                continue
            score = float(views[v][i] @ views[u][k]) / temperature
            is_positive = k == i or (labels[i] >= 0 and labels[k] == labels[i])
            if is_positive:
                positives.append(score)
            if is_positive or groups is None or groups[k] != groups[i]:
                denominator += math.exp(score)
        for place, (past, label) in enumerate(zip(*memory, strict=True) if memory else []):
            score = float(views[v][i] @ past) / temperature
            is_positive = labels[i] >= 0 and label == labels[i]
            if is_positive:
                positives.append(score)
            if is_positive or groups is None or past_groups is None or past_groups[place] != groups[i]:
                denominator += math.exp(score)
        if not positives:
            losses.append(0.0)
        elif form == "out":
            losses.append(math.log(denominator) - sum(positives) / len(positives))
        else:
            losses.append(math.log(denominator) - math.log(sum(map(math.exp, positives)) / len(positives)))
    return sum(losses) / len(losses)


def test_three_samples_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    # Samples 0 and 1 are of one class. At T = 0.5 s_01 = 1.2, s_02 = 0, s_12 = 1.6; sample 2 has no positive.
    anchors = [math.log(math.exp(1.2) + 1) - 1.2, math.log(math.exp(1.2) + math.exp(1.6)) - 1.2, 0.0]
    for form in FORMS:
        loss = sup_con_loss([rows], torch.tensor([4, 4, 6]), 0.5, form=form)
        assert float(loss) == pytest.approx(sum(anchors) / 3, rel=1e-6)


def test_with_every_label_unknown_or_different_it_is_nt_xent() -> None:
    views = [unit(8, 4, seed=0), unit(8, 4, seed=1)]
    for labels in (torch.full((8,), -1), torch.arange(8)):
        torch.testing.assert_close(sup_con_loss(views, labels, 0.1), nt_xent_loss(views, 0.1))


def test_equals_pytorch_metric_learning() -> None:
    metric_learning = pytest.importorskip("pytorch_metric_learning.losses")
    views, labels = [unit(8, 5, seed=2), unit(8, 5, seed=3)], torch.tensor([0, 1, 2, 1, 0, 5, 2, 1])
    expected = metric_learning.SupConLoss(temperature=0.1)(torch.cat(views), labels.repeat(2))
    torch.testing.assert_close(sup_con_loss(views, labels, 0.1), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_views", [1, 2, 3])
@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize(("memory", "past_groups"), [(None, None), (MEMORY, None), (MEMORY, PAST_GROUPS)])
def test_follows_the_definition(
    form: str,
    num_views: int,
    groups: Tensor | None,
    memory: tuple[Tensor, Tensor] | None,
    past_groups: Tensor | None,
) -> None:
    views = [unit(8, 3, seed=4 + v) for v in range(num_views)]
    expected = by_definition(views, LABELS, 0.3, groups, form, memory, past_groups)
    loss = sup_con_loss(views, LABELS, 0.3, groups, form=form, memory=memory, memory_group_ids=past_groups)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_past_rows_of_an_anchors_group_by_hand() -> None:
    # One class, two groups; the past row is of another class and of the first one's group. At T = 0.5 s_01 = 1.2, and
    # the past row is at 0 and 1.6.
    rows, past = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), (torch.tensor([[0.0, 1.0]]), torch.tensor([6]))
    labels, groups = torch.tensor([4, 4]), torch.tensor([0, 1])
    loss = sup_con_loss([rows], labels, 0.5, groups, memory=past, memory_group_ids=torch.tensor([0]))
    anchors = [0.0, math.log(math.exp(1.2) + math.exp(1.6)) - 1.2]
    assert float(loss) == pytest.approx(sum(anchors) / 2, rel=1e-6)


def test_denominators_keep_the_positives() -> None:
    # solo-learn's takes them out: with one class alone its sum is empty. By the definition it has 2N - 1 equal terms.
    views = [torch.eye(3)[:1].expand(4, 3)] * 2
    assert float(sup_con_loss(views, torch.zeros(4, dtype=torch.long))) == pytest.approx(math.log(7), rel=1e-6)


def test_in_is_never_above_out() -> None:
    views = [unit(8, 3, seed=7), unit(8, 3, seed=8)]
    out, inside = (float(sup_con_loss(views, LABELS, 0.1, form=form)) for form in FORMS)  # type: ignore[arg-type]
    assert inside < out - 1e-3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_memory", [False, True])
def test_anchors_without_a_positive_take_no_part_and_give_no_nan(form: str, has_memory: bool) -> None:
    rows, groups = unit(6, 3, seed=9).requires_grad_(), torch.zeros(6).long()
    memory, past_groups = (MEMORY, groups[:4]) if has_memory else (None, None)
    loss = sup_con_loss(
        [rows],
        torch.full((6,), -1),
        group_ids=groups,
        form=form,  # type: ignore[arg-type]
        memory=memory,
        memory_group_ids=past_groups,
    )
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(rows.grad, torch.zeros(6, 3, dtype=torch.float64))


@pytest.mark.parametrize("form", FORMS)
def test_invariant_to_the_order_of_samples_and_to_the_names_of_labels(form: str) -> None:
    first, second, order = unit(8, 3, seed=10), unit(8, 3, seed=11), torch.tensor([3, 1, 0, 7, 6, 2, 5, 4])
    loss = sup_con_loss((first, second), LABELS, 0.1, GROUPS, form=form)  # type: ignore[arg-type]
    renamed = torch.where(LABELS >= 0, 9 - LABELS, -1)[order]
    moved = sup_con_loss((second[order], first[order]), renamed, 0.1, GROUPS[order], form=form)  # type: ignore[arg-type]
    torch.testing.assert_close(moved, loss)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_groups", [False, True])
@pytest.mark.parametrize("memory", [None, MEMORY])
def test_shares_of_processes_add_up_with_their_gradients(
    form: str, has_groups: bool, memory: tuple[Tensor, Tensor] | None
) -> None:
    def loss(first: Tensor, second: Tensor, labels: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        groups = ids if has_groups else None
        past_groups = PAST_GROUPS if has_groups else None
        return sup_con_loss(
            (first, second),
            labels,
            0.2,
            groups,
            form=form,  # type: ignore[arg-type]
            across=across,
            memory=memory,
            memory_group_ids=past_groups,
        )

    assert_shares_add_up(loss, unit(8, 3, seed=12), unit(8, 3, seed=13), LABELS, GROUPS)


@pytest.mark.parametrize("form", FORMS)
def test_low_precision_inputs_and_autocast_lose_nothing(form: str) -> None:
    assert_precision_is_kept(
        lambda first, second, labels, ids: sup_con_loss((first, second), labels, 0.1, ids, form=form),  # type: ignore[arg-type]
        unit(8, 16, seed=14),
        unit(8, 16, seed=15),
        LABELS,
        GROUPS,
    )


@pytest.mark.parametrize("form", FORMS)
def test_gradient_matches_finite_differences(form: str) -> None:
    assert_gradient_is_right(
        lambda *views: sup_con_loss(views, LABELS[:5], 0.5, GROUPS[:5], form=form, memory=MEMORY),  # type: ignore[arg-type]
        unit(5, 3, seed=16),
        unit(5, 3, seed=17),
    )


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="form 'out' or 'in', got 1 views and 'mean'"):
        sup_con_loss([torch.eye(2)], torch.zeros(2).long(), form="mean")  # type: ignore[arg-type]


def test_every_negative_label_is_that_of_an_unlabelled_row() -> None:
    torch.manual_seed(6)
    views = [F.normalize(torch.randn(3, 8), dim=1) for _ in range(2)]
    past = F.normalize(torch.randn(2, 8), dim=1)
    one, other = torch.tensor([-1, -1, 5]), torch.tensor([-1, -2, 5])
    torch.testing.assert_close(sup_con_loss(views, other), sup_con_loss(views, one))
    assert not torch.equal(sup_con_loss(views, other), sup_con_loss(views, torch.tensor([0, 0, 5])))
    memories = [(past, torch.tensor(labels)) for labels in ([-2, -3], [-1, -1])]
    losses = [sup_con_loss(views, one, memory=memory) for memory in memories]
    torch.testing.assert_close(losses[0], losses[1])
