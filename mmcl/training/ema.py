"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """A second copy of a module's weights that follows the first slowly.

    Parameters are averaged; buffers (batch norm's statistics) are copied. The decay starts lower, at
    ``(1 + t) / (10 + t)`` after ``t`` updates, so that a short run is not judged by its random start.

    Args:
        module: whose weights to follow.
        decay: weight of the old average in each update, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._parameter_names = {name for name, _ in module.named_parameters()}
        self.tensors: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in _tensors(module)}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, tensor in _tensors(module):
            average = self.tensors[name]
            if name in self._parameter_names and average.is_floating_point():
                average.lerp_(tensor.detach().to(average.dtype), 1 - decay)
            else:
                average.copy_(tensor)

    @contextmanager
    def swapped_in(self, module: nn.Module) -> Iterator[None]:
        """Let ``module`` carry the average inside the block, and its own weights again afterwards."""
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        for name, tensor in _tensors(module):
            own = tensor.detach().clone()
            tensor.data.copy_(self.tensors[name])
            self.tensors[name].copy_(own)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter and buffer once, under the first of its names: tied weights have several."""
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor
