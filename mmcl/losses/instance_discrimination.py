"""Noise-contrastive estimation against a memory bank (arXiv:1805.01978, equations 4 to 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_temperature
from mmcl.losses.precision import in_full_precision


@torch.no_grad()
@in_full_precision
def estimate_normaliser(
    noise_scores: Tensor, num_slots: int, temperature: Tensor | float = 0.07, *, across: Across | None = None
) -> Tensor:
    """Estimate the constant Z of `nce_loss`: ``num_slots * mean of exp(noise_scores / T)`` (equation 8).

    Taken once, from the first batch, and kept for the whole run.

    Args:
        noise_scores: ``(n, K)``, products of embeddings and noise slots.
        num_slots: number of slots of the bank, one per training sample.
        temperature: T > 0.
        across: the batch of all processes; by default these rows are all. Every row has K scores on every process.

    Returns:
        A scalar without gradient, the same on every process.

    Raises:
        ValueError: there is no score on any process, or the temperature is not positive.
    """
    check_temperature(temperature)
    across = Alone(len(noise_scores)) if across is None else across
    if across.total * noise_scores.shape[1] == 0:
        raise ValueError("noise_scores must have one row and one column at least, got none")
    log_sum = across.logsumexp(torch.logsumexp((noise_scores / temperature).flatten(), dim=0))
    return (log_sum + math.log(num_slots) - math.log(across.total * noise_scores.shape[1])).exp()


@in_full_precision
def nce_loss(
    own_scores: Tensor,
    noise_scores: Tensor,
    num_slots: int,
    normaliser: Tensor | float,
    temperature: Tensor | float = 0.07,
    *,
    excluded: Tensor | None = None,
    across: Across | None = None,
) -> Tensor:
    """``-log h(own) - sum over the K noise slots of log(1 - h(noise))``, mean over the batch (equation 7).

    ``h = P / (P + K / num_slots)`` with ``P = exp(score / T) / normaliser``: the probability that a slot is the row's
    own and not one of K drawn uniformly from the bank.

    Args:
        own_scores: ``(n,)``, product of each embedding with its own slot, both unit norm.
        noise_scores: ``(n, K)``, products with K slots drawn uniformly, with replacement.
        num_slots: number of slots of the bank.
        normaliser: Z > 0, see `estimate_normaliser`.
        temperature: T > 0.
        excluded: ``(n, K)`` bool, draws that do not count: slots of the row's own group. K stays what it is.
        across: the batch of all processes; by default these rows are all.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process.

    Raises:
        ValueError: there are no noise scores, shapes do not fit each other, or the temperature is not positive.
    """
    num_noise = noise_scores.shape[1]
    if num_noise == 0:
        raise ValueError("noise_scores must have one column at least, got none")
    check_ids(len(noise_scores), own_scores=own_scores)
    check_temperature(temperature)
    across = Alone(len(own_scores)) if across is None else across
    # h = sigmoid(log P - log(K / num_slots)), so no exponential is ever formed.
    log_normaliser = torch.as_tensor(normaliser, dtype=own_scores.dtype, device=own_scores.device).log()
    shift = log_normaliser + math.log(num_noise / num_slots)
    log_own = F.logsigmoid(own_scores / temperature - shift)
    log_not_noise = F.logsigmoid(shift - noise_scores / temperature)
    if excluded is not None:
        log_not_noise = log_not_noise.masked_fill(excluded, 0)
    return -(log_own.sum() + log_not_noise.sum()) / max(across.total, 1)
