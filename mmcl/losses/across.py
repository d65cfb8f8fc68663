"""What a loss needs of the other processes, without knowing how they are reached.

Every loss of this package that looks across the batch takes an `Across`. Each process then computes its **share**; the
shares add up to the loss of the concatenated batch, and so do their gradients. Without one the batch is all there is,
and the share is the loss.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Across(Protocol):
    """The batch of all processes, of which this one holds some rows."""

    @property
    def total(self) -> int:
        """N, the rows of all processes."""
        ...

    @property
    def offset(self) -> int:
        """Position of this process's first row among all rows."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Return ``(N, ...)``, the rows of all processes in rank order, with a gradient."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum of the processes' ``values``, with a gradient."""
        ...

    def logsumexp(self, values: Tensor) -> Tensor:
        """Return the elementwise log-sum-exp of the processes' ``values``, with a gradient; -inf counts as nothing."""
        ...


class Alone:
    """One process that holds all rows.

    Args:
        num_rows: N.
    """

    def __init__(self, num_rows: int) -> None:
        self.total = num_rows
        self.offset = 0

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def sum(self, values: Tensor) -> Tensor:
        """Return the values."""
        return values

    def logsumexp(self, values: Tensor) -> Tensor:
        """Return the values."""
        return values
