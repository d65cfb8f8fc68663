"""Batch norm over the batch of all processes.

On GPUs torch's SyncBatchNorm does it; it refuses CPU tensors, for which `GlobalBatchNorm` computes the same statistics
through a differentiable sum over processes.
"""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcl.distributed import is_distributed, sum_over_processes


class GlobalBatchNorm(nn.Module):
    """Batch norm whose statistics are those of the concatenated batch of all processes.

    Takes over the parameters and buffers of ``norm`` under the same names, and timm's fused activation with them. In
    evaluation mode it is the module it replaces.

    Args:
        norm: a torch batch norm of any dimension, or timm's ``BatchNormAct2d``.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.momentum = norm.eps, norm.momentum
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.drop = norm.drop if isinstance(norm, BatchNormAct2d) else nn.Identity()
        self.act = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, ...)`` per channel; the number of rows may differ between processes."""
        wide = x if x.dtype == torch.float64 else x.float()
        if self.training or self.running_mean is None or self.running_var is None:
            mean, variance = self._batch_statistics(wide)
        else:
            mean, variance = self.running_mean, self.running_var
        normalised = (wide - _per_channel(mean, wide)) * _per_channel(torch.rsqrt(variance + self.eps), wide)
        if self.weight is not None and self.bias is not None:
            normalised = normalised * _per_channel(self.weight, wide) + _per_channel(self.bias, wide)
        activated: Tensor = self.act(self.drop(normalised.to(x.dtype)))
        return activated

    def _batch_statistics(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        dims = [0, *range(2, wide.dim())]
        count = torch.full((1,), wide.numel() / wide.shape[1], dtype=wide.dtype, device=wide.device)
        sums = sum_over_processes(torch.cat([wide.sum(dims), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        # Two passes, because E[x^2] - E[x]^2 cancels in float32.
        variance = sum_over_processes((wide - _per_channel(mean, wide)).square().sum(dims)) / count
        self._update_running(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        return mean, variance

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(variance.to(self.running_var.dtype), step)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Shape ``(C,)`` values to go with ``(B, C, ...)``."""
    return values.view(1, -1, *[1] * (x.dim() - 2)).to(x.dtype)


def use_global_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Give every batch norm in ``module`` the statistics of all processes; on one process change nothing.

    Args:
        module: changed in place where it holds a batch norm.
        device: where it will run; CUDA takes torch's SyncBatchNorm, everything else `GlobalBatchNorm`.

    Returns:
        The module, or its replacement when it is itself a batch norm.
    """
    if not is_distributed():
        return module
    if device.type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(module)
        return converted
    if isinstance(module, _BatchNorm):
        return GlobalBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, use_global_batch_norm(child, device))
    return module


def has_batch_norm(module: nn.Module) -> bool:
    """True when a batch norm, of either kind, is inside."""
    return any(map(_is_batch_norm, module.modules()))


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Return the running statistics of all batch norms inside, of either kind."""
    return [buffer for child in module.modules() if _is_batch_norm(child) for buffer in child.buffers(recurse=False)]


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, (_BatchNorm, GlobalBatchNorm))
