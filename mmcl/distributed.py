"""Everything that crosses processes. The only file that calls a collective.

The convention of this package: each process computes its **share** of a loss, and the shares add up to the loss of the
concatenated batch. The gradients below follow from it: what one process does with the rows of another flows back to
where those rows came from. On one process every function here is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmcl.errors import RunError, UserError

T = TypeVar("T")

_FAILED = -1


def is_distributed() -> bool:
    """True when more than one process trains together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if is_distributed() else 0


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        dist.barrier()


@dataclass(frozen=True)
class RowSizes:
    """How many rows each process holds, in rank order; they may differ. What losses know as `mmcl.losses.Across`."""

    sizes: tuple[int, ...]

    @classmethod
    def of(cls, num_rows: int, device: torch.device) -> RowSizes:
        """Exchange the number of rows of each process."""
        if not is_distributed():
            return cls((num_rows,))
        mine = torch.tensor([num_rows], device=device)
        every = mine.new_empty(world_size())
        dist.all_gather_into_tensor(every, mine)
        return cls(tuple(every.tolist()))

    @classmethod
    def tell_failure(cls, device: torch.device) -> None:
        """Take part in the exchange for a process that has no rows, so that the others do not wait for it."""
        cls.of(_FAILED, device)

    @property
    def failed_ranks(self) -> list[int]:
        """The processes that told of a failure."""
        return [number for number, size in enumerate(self.sizes) if size == _FAILED]

    @property
    def total(self) -> int:
        return sum(self.sizes)

    @property
    def offset(self) -> int:
        """Position of this process's first row among all rows."""
        return sum(self.sizes[: rank()])

    def gather(self, rows: Tensor) -> Tensor:
        """Return ``(N, ...)``, the rows of all processes in rank order, with a gradient."""
        return gather_rows(rows, self)

    def sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum of the processes' ``values``, with a gradient."""
        return sum_over_processes(values)

    def logsumexp(self, values: Tensor) -> Tensor:
        """Return the elementwise log-sum-exp of the processes' ``values``, with a gradient."""
        return logsumexp_over_processes(values)


def gather_rows(rows: Tensor, sizes: RowSizes) -> Tensor:
    """Concatenate the rows of all processes in rank order, with a gradient.

    Args:
        rows: ``(n, ...)``, this process's rows.
        sizes: the number of rows of every process.

    Returns:
        ``(N, ...)`` with ``N = sizes.total``. The gradient of a process's rows is the sum over all processes of the
        gradient at their copies.
    """
    if not is_distributed():
        return rows
    gathered: Tensor = _GatherRows.apply(rows, sizes)
    return gathered


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Add a tensor up over all processes, with a gradient (which is added up too)."""
    if not is_distributed():
        return tensor
    summed: Tensor = _SumOverProcesses.apply(tensor)
    return summed


def logsumexp_over_processes(values: Tensor) -> Tensor:
    """Add the exponentials of a tensor up over all processes, elementwise, with a gradient; -inf counts as nothing."""
    if not is_distributed():
        return values
    highest = values.detach().clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    highest = highest.clamp(min=torch.finfo(values.dtype).min)
    return sum_over_processes((values - highest).exp()).log() + highest


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Add the gradients of parameters up over all processes, in place; those without one are left out.

    Every process must have gradients for the same parameters.
    """
    if not is_distributed():
        return
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for dtype in dict.fromkeys(grad.dtype for grad in grads):
        members = [grad for grad in grads if grad.dtype == dtype]
        flat = torch.cat([grad.flatten() for grad in members])
        dist.all_reduce(flat)
        for grad, summed in zip(members, torch.split(flat, [grad.numel() for grad in members]), strict=True):
            grad.copy_(summed.view_as(grad))


def total(values: Tensor) -> Tensor:
    """Add a tensor up over all processes, without a gradient."""
    values = values.detach().clone()
    if is_distributed():
        dist.all_reduce(values)
    return values


def is_true_anywhere(is_true: bool, device: torch.device) -> bool:
    """True on every process when it is on one."""
    return bool(total(torch.tensor(int(is_true), device=device))) if is_distributed() else is_true


def gather_objects(value: T) -> list[T]:
    """Collect one picklable value from each process, in rank order, on every process."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def from_main_process(value: T) -> T:
    """Return the main process's value on every process."""
    if not is_distributed():
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values, src=0)
    received: T = values[0]
    return received


def on_main_process(action: Callable[[], T]) -> T:
    """Do something on the main process alone; its result is every process's, and so is a `UserError` or `RunError`."""
    if not is_distributed():
        return action()
    outcome: tuple[T | None, Exception | None] = (None, None)
    if rank() == 0:
        try:
            outcome = (action(), None)
        except (UserError, RunError) as error:
            outcome = (None, error)
    value, problem = from_main_process(outcome)
    if problem is not None:
        raise problem
    received: Any = value
    return received


def copy_from_main_process(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with those of the main process."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


class _GatherRows(torch.autograd.Function):
    """All-gather forward; the gradient is summed over processes and each takes its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: RowSizes) -> Tensor:
        ctx.sizes = sizes
        longest = max(sizes.sizes)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        every = rows.new_empty(len(sizes.sizes) * longest, *rows.shape[1:])
        dist.all_gather_into_tensor(every, padded)
        if min(sizes.sizes) == longest:
            return every
        blocks = torch.split(every, longest)
        return torch.cat([block[:size] for block, size in zip(blocks, sizes.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        grad, sizes = grad_outputs[0].contiguous(), ctx.sizes.sizes
        longest = max(sizes)
        if min(sizes) < longest:
            padded = grad.new_zeros(len(sizes), longest, *grad.shape[1:])
            for block, rows in zip(padded, torch.split(grad, sizes), strict=True):
                block[: len(rows)] = rows
            grad = padded.flatten(0, 1)
        mine = grad.new_empty(longest, *grad.shape[1:])
        dist.reduce_scatter_tensor(mine, grad)
        return mine[: sizes[rank()]], None


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce forward, all-reduce backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad
