"""What holds for every loss: shares add up, gradients are right, the precision of the inputs is not that of the sum.

`Meeting` lets threads play the processes. All of them build one autograd graph, so that the gradient of the sum of
their shares is, by calculus, what the processes' gradients have to add up to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from mmcl.losses.across import Across


class Meeting:
    """Where the threads exchange tensors.

    Args:
        sizes: the number of rows of each.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.barrier = threading.Barrier(len(sizes), timeout=60)
        self.board: list[Tensor | None] = [None] * len(sizes)

    def exchange(self, rank: int, value: Tensor) -> list[Tensor]:
        self.board[rank] = value
        self.barrier.wait()
        values = [value for value in self.board if value is not None]
        self.barrier.wait()
        return values


class Participant:
    """One thread's `Across`."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank = meeting, rank
        self.total = sum(meeting.sizes)
        self.offset = sum(meeting.sizes[:rank])

    def gather(self, rows: Tensor) -> Tensor:
        assert len(rows) == self.meeting.sizes[self.rank]
        return torch.cat(self.meeting.exchange(self.rank, rows))

    def sum(self, values: Tensor) -> Tensor:
        return torch.stack(self.meeting.exchange(self.rank, values)).sum(dim=0)

    def logsumexp(self, values: Tensor) -> Tensor:
        return torch.stack(self.meeting.exchange(self.rank, values)).logsumexp(dim=0)


def on_each_process(function: Callable[[slice, Across], Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Call ``function(rows, across)`` in one thread per process; return the results in rank order."""
    meeting = Meeting(sizes)

    def play(rank: int) -> Tensor:
        across = Participant(meeting, rank)
        try:
            return function(slice(across.offset, across.offset + sizes[rank]), across)
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(len(sizes)) as threads:
        return list(threads.map(play, range(len(sizes))))


def gradients_of(
    loss: Callable[..., Tensor], rows: Sequence[Tensor], *, autocast: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Return ``loss(*rows)`` and the gradient of each floating tensor among the rows (zeros where it takes none)."""
    leaves = [row.detach().clone().requires_grad_(row.is_floating_point()) for row in rows]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = loss(*leaves)
    inputs = [leaf for leaf in leaves if leaf.requires_grad]
    return value.detach(), list(torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True))


def assert_shares_add_up(loss: Callable[..., Tensor], *rows: Tensor) -> None:
    """``loss(*rows, across=...)`` on two and three processes of unequal sizes is the loss of the whole.

    Args:
        loss: takes the rows and ``across``.
        rows: ``(6 or more, ...)`` float64, or integers without gradient.
    """
    whole, gradients = gradients_of(lambda *leaves: loss(*leaves, across=None), rows)
    n = len(rows[0])
    assert n >= 6
    for sizes in ([2, n - 2], [3, 1, n - 4], [n, 0]):

        def summed(*leaves: Tensor, sizes: Sequence[int] = sizes) -> Tensor:
            shares = on_each_process(lambda own, across: loss(*(leaf[own] for leaf in leaves), across=across), sizes)
            return torch.stack(shares).sum()

        value, split = gradients_of(summed, rows)
        torch.testing.assert_close(value, whole, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(split, gradients, rtol=1e-9, atol=1e-12)


def assert_precision_is_kept(loss: Callable[..., Tensor], *rows: Tensor) -> None:
    """In bfloat16, float16 and under autocast the loss is float32, as near to float64 as float32 comes.

    Args:
        loss: takes the rows.
        rows: float64, rounded first, so that only the computation is judged; integers are left as they are.
    """
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        rounded = [row.to(dtype) if row.is_floating_point() else row for row in rows]
        exact = [row.double() if row.is_floating_point() else row for row in rounded]
        expected, expected_gradients = gradients_of(loss, exact)
        value, gradients = gradients_of(loss, rounded, autocast=True)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=1e-6)
        # A gradient is handed back in its tensor's precision.
        scale = max(float(gradient.abs().max()) for gradient in expected_gradients)
        tolerance = max(4 * torch.finfo(dtype).eps, 1e-4)
        for gradient, wanted in zip(gradients, expected_gradients, strict=True):
            assert gradient.dtype == dtype
            torch.testing.assert_close(gradient.double(), wanted, rtol=tolerance, atol=tolerance * scale)


def assert_gradient_is_right(loss: Callable[..., Tensor], *rows: Tensor) -> None:
    """Finite differences in float64 agree."""
    leaves = [row.detach().clone().requires_grad_(row.is_floating_point()) for row in rows]
    assert torch.autograd.gradcheck(loss, leaves)


def normal(*shape: int, seed: int) -> Tensor:
    """Float64 numbers of a normal distribution."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape: int, seed: int) -> Tensor:
    """Float64 rows of unit norm."""
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1)
