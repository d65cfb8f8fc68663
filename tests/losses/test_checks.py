"""What does not belong together is refused, and not broadcast into the wrong number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmcl.losses import (
    barlow_twins_loss,
    batch_margin_loss,
    batch_triplet_loss,
    byol_loss,
    clip_loss,
    estimate_normaliser,
    info_nce_loss,
    margin_loss,
    moco_loss,
    n_pair_loss,
    nce_loss,
    nt_xent_loss,
    siglip_loss,
    simcse_loss,
    sup_con_loss,
    swav_loss,
    triplet_loss,
)

A, B, ONE, LONG = torch.randn(4, 8), torch.randn(4, 8), torch.randn(1, 8), torch.randn(6, 8)
IDS, FEW, LABELS = torch.arange(4), torch.arange(3), torch.tensor([0, 0, 1, 1])

SHAPES: dict[str, Callable[[], Tensor]] = {
    "clip, more texts": lambda: clip_loss(A, LONG, 10.0),
    "clip, more pictures": lambda: clip_loss(LONG, A, 10.0),
    "clip, groups": lambda: clip_loss(A, B, 10.0, FEW),
    "siglip, more texts": lambda: siglip_loss(A, LONG, 10.0, -10.0),
    "siglip, groups": lambda: siglip_loss(A, B, 10.0, -10.0, FEW),
    "info_nce": lambda: info_nce_loss(LONG, A, 10.0, similarity="neg_euclidean"),
    "info_nce, groups": lambda: info_nce_loss(A, B, 10.0, FEW),
    "nt_xent, views": lambda: nt_xent_loss([A, LONG]),
    "nt_xent, groups": lambda: nt_xent_loss([A, B], 0.1, FEW),
    "sup_con, labels": lambda: sup_con_loss([A, B], FEW),
    "simcse, positives": lambda: simcse_loss(A, ONE),
    "simcse, negatives": lambda: simcse_loss(A, B, torch.randn(3, 2, 8)),
    "moco, keys": lambda: moco_loss(A, ONE, LONG),
    "moco, queue's groups": lambda: moco_loss(A, B, LONG, 0.2, IDS, FEW),
    "byol": lambda: byol_loss(A, ONE, A, B),
    "barlow_twins": lambda: barlow_twins_loss(A, LONG),
    "n_pair": lambda: n_pair_loss(A, ONE),
    "swav": lambda: swav_loss([A, LONG], [A.softmax(dim=1)]),
    "triplet": lambda: triplet_loss(A, B, ONE),
    "triplets, labels": lambda: batch_triplet_loss(A, FEW),
    "triplets, candidates": lambda: batch_triplet_loss(A, LABELS, LONG, LABELS),
    "margin, similar": lambda: margin_loss(A, B, torch.ones(4, 1)),
    "margins, groups": lambda: batch_margin_loss(A, LABELS, group_ids=FEW),
    "nce": lambda: nce_loss(A[:, 0], LONG, 10, 1.0),
}


@pytest.mark.parametrize("call", SHAPES.values(), ids=SHAPES.keys())
def test_shapes_that_do_not_fit_are_refused(call: Callable[[], Tensor]) -> None:
    with pytest.raises(ValueError, match="must have"):
        call()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_positive(temperature: float) -> None:
    calls: list[Callable[[], Tensor]] = [
        lambda: nt_xent_loss([A, B], temperature),
        lambda: sup_con_loss([A, B], LABELS, temperature),
        lambda: simcse_loss(A, B, temperature=temperature),
        lambda: moco_loss(A, B, LONG, temperature),
        lambda: swav_loss([A, B], [A], temperature),
        lambda: nce_loss(A[:, 0], A, 10, 1.0, temperature),
        lambda: estimate_normaliser(A, 10, temperature),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"temperature must be > 0, got {temperature}"):
            call()


def test_the_constant_of_no_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="one row and one column"):
        estimate_normaliser(A[:0], 10)


@pytest.mark.parametrize("num_rows", [4, 300])
def test_a_scale_and_a_bias_may_be_rows_of_one(num_rows: int) -> None:
    """As Hugging Face's SigLIP holds them; small and large batches take different ways."""
    first, second = torch.randn(num_rows, 8), torch.randn(num_rows, 8)
    for shape in ((), (1,)):
        scale, bias = torch.full(shape, 10.0, requires_grad=True), torch.full(shape, -10.0, requires_grad=True)
        loss = siglip_loss(first, second, scale, bias) + clip_loss(first, second, scale)
        (loss + info_nce_loss(first, second, scale)).backward()
        assert scale.grad is not None
        assert bias.grad is not None
        assert (scale.grad.shape, bias.grad.shape) == (shape, shape)
