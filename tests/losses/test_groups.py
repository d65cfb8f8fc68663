"""Rows that share a text are no negatives of each other, in every loss that has negatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.clip import clip_loss
from mmcl.losses.clip_captions import clip_captions_loss
from mmcl.losses.info_nce import SIMILARITIES, info_nce_loss
from mmcl.losses.margin import batch_margin_loss
from mmcl.losses.moco import moco_loss
from mmcl.losses.n_pair import n_pair_loss
from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.losses.siglip import siglip_loss
from mmcl.losses.simcse import simcse_loss
from mmcl.losses.sup_con import sup_con_loss
from mmcl.losses.triplet import batch_triplet_loss
from tests.losses.checks import assert_gradient_is_right, assert_shares_add_up, gradients_of, normal, unit

pytestmark = pytest.mark.usefixtures("engine")

N, PAST = 9, 4
GROUPS = torch.tensor([0, 1, 2, 1, 3, 4, 5, 6, 7])
# Anchors and positives: 0 and 2 have an anchor in common, 1 and 4 a positive, the anchor of 6 is the positive of 5, row
# 3 is twice the same text, 7 and 8 have no positive that could be equal.
TEXTS = torch.tensor([[10, 20], [11, 21], [10, 22], [12, 12], [13, 21], [14, 24], [24, 26], [15, -1], [16, -1]])
PAST_GROUPS, PAST_TEXTS = torch.tensor([3, 30, -1, 31]), torch.tensor([[40, 41], [20, 42], [14, 43], [-1, -1]])
MEMORY, SECOND_MEMORY = unit(PAST, 3, seed=90), unit(PAST, 3, seed=91)


def shares(row: Tensor, other: Tensor) -> bool:
    return bool({number for number in row.tolist() if number >= 0} & set(other.tolist()))


def shared(rows: Tensor, columns: Tensor) -> Tensor:
    """``(n, m)``: which of them share a text."""
    return torch.tensor([[shares(row, column) for column in columns] for row in rows])


SHARED, SHARED_WITH_PAST = shared(TEXTS, TEXTS), shared(TEXTS, PAST_TEXTS)
ONE_GROUP = GROUPS[:, None] == GROUPS
LEFT_OUT_OF_PAST = SHARED_WITH_PAST | (GROUPS[:, None] == PAST_GROUPS)
OTHERS = SHARED & ~ONE_GROUP
"""Shared by rows of different groups."""


def log_sums(scores: Tensor, left_out: Tensor) -> Tensor:
    return scores.masked_fill(left_out, -torch.inf).logsumexp(dim=1)


def mean_over_positives(scores: Tensor) -> Tensor:
    return (scores * ONE_GROUP).sum(dim=1) / ONE_GROUP.sum(dim=1)


def assert_equal(loss: Callable[..., Tensor], reference: Callable[..., Tensor], *rows: Tensor) -> None:
    value, gradients = gradients_of(loss, rows)
    expected, expected_gradients = gradients_of(reference, rows)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-7, atol=1e-12)


def test_the_rows_of_this_file_share_what_they_should() -> None:
    assert SHARED[0, 2]
    assert SHARED[1, 4]
    assert SHARED[5, 6]
    assert int(SHARED.sum()) == N + 6
    assert int(SHARED_WITH_PAST.sum()) == 2


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_simcse_leaves_out_positives_and_hard_negatives_that_are_texts_of_the_row(alpha: float) -> None:
    # The hard negatives of row 0: the anchor of row 5, and its own positive.
    negative_texts = torch.arange(100, 100 + 2 * N).reshape(N, 2)
    negative_texts[0], negative_texts[8, 1] = torch.tensor([14, 20]), -1
    is_false = shared(TEXTS, negative_texts.reshape(-1, 1))
    own = torch.arange(N).repeat_interleave(2) == torch.arange(N)[:, None]

    def loss(anchors: Tensor, positives: Tensor, negatives: Tensor, across: Across | None = None) -> Tensor:
        mine = slice(0, N) if across is None else slice(across.offset, across.offset + len(anchors))
        return simcse_loss(
            anchors,
            positives,
            negatives,
            0.2,
            GROUPS[mine],
            hard_negative_weight=alpha,
            text_ids=TEXTS[mine],
            negative_text_ids=negative_texts[mine],
            across=across,
            memory=(MEMORY, PAST_GROUPS),
            memory_text_ids=PAST_TEXTS,
        )

    def reference(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        left_out = (ONE_GROUP | SHARED) & ~torch.eye(N, dtype=torch.bool)
        keys = torch.cat([positives, negatives.flatten(0, 1), MEMORY])
        scores = anchors @ keys.T / 0.2
        weights = torch.where(own, torch.tensor(alpha).double().log(), 0.0)
        scores = scores + torch.cat([torch.zeros(N, N), weights, torch.zeros(N, PAST)], dim=1)
        return (log_sums(scores, torch.cat([left_out, is_false, LEFT_OUT_OF_PAST], dim=1)) - scores.diagonal()).mean()

    rows = unit(N, 3, seed=1), unit(N, 3, seed=2), unit(N, 2, 3, seed=3)
    assert is_false.sum() == 2
    assert_equal(loss, reference, *rows)
    assert_shares_add_up(loss, *rows)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_info_nce_keeps_positives_of_the_group_and_leaves_out_texts_of_others(similarity: str) -> None:
    def loss(queries: Tensor, keys: Tensor, across: Across | None = None) -> Tensor:
        mine = slice(0, N) if across is None else slice(across.offset, across.offset + len(queries))
        return info_nce_loss(
            queries,
            keys,
            3.0,
            GROUPS[mine],
            similarity=similarity,
            text_ids=TEXTS[mine],
            across=across,
            memory=(MEMORY, PAST_GROUPS),
            memory_text_ids=PAST_TEXTS,
        )

    def reference(queries: Tensor, keys: Tensor) -> Tensor:
        keys = torch.cat([keys, MEMORY])
        if similarity == "cosine":
            scores = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T
        elif similarity == "dot":
            scores = queries @ keys.T
        else:
            squares = (queries[:, None] - keys).square().sum(dim=2)
            scores = -squares if similarity == "neg_sq_euclidean" else -squares.sqrt()
        scores = 3.0 * scores
        left_out = torch.cat([OTHERS, LEFT_OUT_OF_PAST], dim=1)
        return (log_sums(scores, left_out) - mean_over_positives(scores[:, :N])).mean()

    rows = normal(N, 3, seed=4), normal(N, 3, seed=5)
    assert_equal(loss, reference, *rows)
    assert_shares_add_up(loss, *rows)


def test_clip_leaves_texts_of_other_groups_out_of_both_directions() -> None:
    wrong, wrong_groups, wrong_texts = unit(3, 3, seed=6), torch.tensor([2, -1, -1]), torch.tensor([[99], [13], [-1]])
    of_wrong = shared(TEXTS, wrong_texts) | (GROUPS[:, None] == wrong_groups)

    def loss(images: Tensor, texts: Tensor, across: Across | None = None) -> Tensor:
        mine = slice(0, N) if across is None else slice(across.offset, across.offset + len(images))
        return clip_loss(
            images,
            texts,
            5.0,
            GROUPS[mine],
            text_ids=TEXTS[mine],
            across=across,
            memory=(MEMORY, SECOND_MEMORY, PAST_GROUPS),
            memory_text_ids=PAST_TEXTS,
            negatives=(wrong, wrong_groups, wrong_texts),
        )

    def reference(images: Tensor, texts: Tensor) -> Tensor:
        forth = 5.0 * images @ torch.cat([texts, wrong, SECOND_MEMORY]).T
        back = 5.0 * texts @ torch.cat([images, MEMORY]).T
        to_texts = log_sums(forth, torch.cat([OTHERS, of_wrong, LEFT_OUT_OF_PAST], dim=1))
        to_images = log_sums(back, torch.cat([OTHERS, LEFT_OUT_OF_PAST], dim=1))
        positives = mean_over_positives(forth[:, :N]) + mean_over_positives(back[:, :N])
        return (to_texts + to_images - positives).mean() / 2

    rows = unit(N, 3, seed=7), unit(N, 3, seed=8)
    assert_equal(loss, reference, *rows)
    assert_shares_add_up(loss, *rows)


def test_clip_of_one_caption_each_is_that_of_several() -> None:
    images, texts = unit(N, 3, seed=7), unit(N, 3, seed=8)
    memory = {"memory": (MEMORY, SECOND_MEMORY, PAST_GROUPS), "memory_text_ids": PAST_TEXTS}
    ids = TEXTS[:, :1]
    several = clip_captions_loss(images, texts, 5.0, GROUPS, GROUPS, text_ids=ids, caption_text_ids=ids[:, 0], **memory)
    # A caption of the batch is of an image's text either way; a past one has but its own.
    torch.testing.assert_close(several, clip_loss(images, texts, 5.0, GROUPS, text_ids=ids, **memory))
    assert float(several) != pytest.approx(
        float(clip_captions_loss(images, texts, 5.0, GROUPS, GROUPS, **memory)), rel=1e-6
    )


def test_a_caption_that_another_image_has_among_its_own_is_left_out() -> None:
    images, captions = unit(3, 3, seed=20), unit(5, 3, seed=21)
    groups, owners = torch.arange(3), torch.tensor([0, 0, 1, 1, 2])
    by_image, of_captions = torch.tensor([[1, 2], [3, 2], [4, -1]]), torch.tensor([1, 2, 3, 2, 4])
    loss = clip_captions_loss(images, captions, 5.0, groups, owners, text_ids=by_image, caption_text_ids=of_captions)
    scores = 5.0 * images @ captions.T
    left_out = torch.tensor([[0, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    is_own = groups[:, None] == owners
    forth = log_sums(scores, left_out) - (scores * is_own).sum(dim=1) / is_own.sum(dim=1)
    back = log_sums(scores.T, left_out.T) - (scores * is_own).sum(dim=0)
    torch.testing.assert_close(loss, (forth.mean() + back.mean()) / 2)


def test_siglip_leaves_out_pairs_of_a_text_but_not_of_a_group() -> None:
    def loss(images: Tensor, texts: Tensor, across: Across | None = None) -> Tensor:
        mine = slice(0, N) if across is None else slice(across.offset, across.offset + len(images))
        return siglip_loss(
            images,
            texts,
            5.0,
            -2.0,
            GROUPS[mine],
            text_ids=TEXTS[mine],
            across=across,
            memory=(MEMORY, SECOND_MEMORY, PAST_GROUPS),
            memory_text_ids=PAST_TEXTS,
        )

    def reference(images: Tensor, texts: Tensor) -> Tensor:
        signs = torch.where(ONE_GROUP, 1.0, -1.0)
        pairs = F.softplus(-signs * (5.0 * images @ texts.T - 2.0)).masked_fill(OTHERS, 0.0).sum()
        for rows, past in ((images, SECOND_MEMORY), (texts, MEMORY)):
            pairs = pairs + F.softplus(5.0 * rows @ past.T - 2.0).masked_fill(LEFT_OUT_OF_PAST, 0.0).sum()
        return pairs / N

    rows = unit(N, 3, seed=9), unit(N, 3, seed=10)
    assert_equal(loss, reference, *rows)
    assert_shares_add_up(loss, *rows)


def test_nt_xent_leaves_out_all_views_of_a_row_of_the_same_text() -> None:
    def loss(first: Tensor, second: Tensor, across: Across | None = None) -> Tensor:
        mine = slice(0, N) if across is None else slice(across.offset, across.offset + len(first))
        return nt_xent_loss(
            [first, second],
            0.2,
            GROUPS[mine],
            text_ids=TEXTS[mine],
            across=across,
            memory=(MEMORY, PAST_GROUPS),
            memory_text_ids=PAST_TEXTS,
        )

    def reference(first: Tensor, second: Tensor) -> Tensor:
        views = torch.cat([first, second])
        scores = views @ torch.cat([views, MEMORY]).T / 0.2
        others = ((ONE_GROUP | SHARED) & ~torch.eye(N, dtype=torch.bool)).repeat(2, 2) | torch.eye(2 * N).bool()
        sums = log_sums(scores, torch.cat([others, LEFT_OUT_OF_PAST.repeat(2, 1)], dim=1))
        own = (first * second).sum(dim=1) / 0.2
        return (sums - own.repeat(2)).mean()

    rows = unit(N, 3, seed=11), unit(N, 3, seed=12)
    assert_equal(loss, reference, *rows)
    assert_shares_add_up(loss, *rows)


LABELS = torch.tensor([0, 1, 0, 2, 2, 1, 0, 2, -1])
Loss = Callable[..., Tensor]
BY_GROUPS: dict[str, Loss] = {
    "n_pair": lambda first, second, ids, past: n_pair_loss(first, second, memory=(MEMORY, past[0]), **ids),
    "moco": lambda first, second, ids, past: moco_loss(first, second, MEMORY, **ids, **past[1]),
    "sup_con": lambda first, second, ids, past: sup_con_loss(
        [first, second], LABELS, memory=(MEMORY, torch.arange(PAST)), **ids, **past[2]
    ),
    "triplet": lambda first, second, ids, past: batch_triplet_loss(
        first, LABELS, second, LABELS, 2.0, memory=(MEMORY, torch.arange(PAST)), **ids, **past[2]
    ),
    "margin": lambda first, second, ids, past: batch_margin_loss(
        first, LABELS, second, LABELS, 2.0, memory=(MEMORY, torch.arange(PAST)), **ids, **past[2]
    ),
}


@pytest.mark.parametrize("name", BY_GROUPS)
def test_one_text_of_each_row_leaves_out_what_a_group_of_the_same_ids_does(name: str) -> None:
    """Where rows of a group are left out; the losses by definition with groups are tested beside each."""
    ids, past = torch.tensor([0, 1, 2, 1, 3, 0, 5, 6, 2]), torch.tensor([3, 1, 70, 71])
    first, second = unit(N, 3, seed=13), unit(N, 3, seed=14)
    unknown = torch.full((PAST,), -1)
    by_group = past, {"queue_group_ids": past}, {"memory_group_ids": past}
    by_text = unknown, {"queue_text_ids": past[:, None]}, {"memory_text_ids": past[:, None]}
    of_memory = {"memory_text_ids": past[:, None]} if name == "n_pair" else {}
    expected = BY_GROUPS[name](first, second, {"group_ids": ids}, by_group)
    found = BY_GROUPS[name](first, second, {"text_ids": ids[:, None], **of_memory}, by_text)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    nothing = unknown, {"queue_text_ids": None}, {"memory_text_ids": None}
    assert abs(float(found - BY_GROUPS[name](first, second, {}, nothing))) > 1e-4


def test_gradients_are_right_where_a_row_is_left_without_a_negative() -> None:
    texts = torch.tensor([[1], [1], [1]])
    assert_gradient_is_right(
        lambda a, p, n: simcse_loss(a, p, n, 0.5, text_ids=texts, negative_text_ids=texts, hard_negative_weight=0.5),
        unit(3, 3, seed=15),
        unit(3, 3, seed=16),
        unit(3, 1, 3, seed=17),
    )
    anchors, positives = unit(3, 3, seed=15), unit(3, 3, seed=16)
    assert float(simcse_loss(anchors, positives, text_ids=texts)) == pytest.approx(0.0, abs=1e-12)
