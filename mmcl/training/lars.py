"""LARS: a step whose length follows the size of what it changes (arXiv:1708.03888), for very large batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Momentum SGD with a learning rate of its own for every tensor.

    For a tensor ``w`` of two or more dimensions with gradient ``g`` and momentum buffer ``v``, which begins at 0::

        u     = g + weight_decay * w
        trust = trust_coefficient * ||w|| / ||u||      1 where either norm is 0
        v     = momentum * v + lr * trust * u
        w     = w - v

    Tensors of fewer dimensions (biases, norms, the temperature) take neither weight decay nor adaptation, whatever
    their group says: ``u = g`` and ``trust = 1``. The learning rate stands inside the buffer, as in the paper and in
    SimCLR (arXiv:2002.05709), so that steps taken under an earlier rate keep it; with a constant rate this is the same
    as multiplying the buffer by it.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate, > 0 or 0.
        momentum: of the buffer, in [0, 1).
        weight_decay: factor on the weight that is added to its gradient, >= 0.
        trust_coefficient: eta, > 0.

    State per parameter: ``momentum_buffer``, shaped as the parameter.

    Raises:
        ValueError: for an option out of its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        for name, value in {"lr": lr, "weight_decay": weight_decay}.items():
            if not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be >= 0 and < 1, got {momentum}")
        if not trust_coefficient > 0:
            raise ValueError(f"trust_coefficient must be > 0, got {trust_coefficient}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change every parameter that has a gradient; return what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            with_gradient = [parameter for parameter in group["params"] if parameter.grad is not None]
            self._update([parameter for parameter in with_gradient if parameter.dim() >= 2], group, is_adapted=True)
            self._update([parameter for parameter in with_gradient if parameter.dim() < 2], group, is_adapted=False)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any], is_adapted: bool) -> None:
        if not parameters:
            return
        updates = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if is_adapted:
            updates = list(torch._foreach_add(updates, parameters, alpha=group["weight_decay"]))
            torch._foreach_mul_(updates, _trust(parameters, updates, group["trust_coefficient"]))
        buffers = [self._buffer(parameter) for parameter in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates, alpha=group["lr"])
        torch._foreach_sub_(parameters, buffers)

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _trust(weights: list[Tensor], updates: list[Tensor], trust_coefficient: float) -> list[Tensor]:
    """Return eta ||w|| / ||u|| for each tensor, a scalar on its device; nothing waits for the device."""
    pairs = zip(torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True)
    return [
        torch.where((weight > 0) & (update > 0), trust_coefficient * weight / update, torch.ones_like(weight))
        for weight, update in pairs
    ]
