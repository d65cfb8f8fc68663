"""What the processes of multi-process tests do; started by `tests.processes.run_processes`."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from mmcl.batch import PairBatch
from mmcl.batch_norm import use_global_batch_norm
from mmcl.distributed import RowSizes, gather_rows, sum_over_processes, total
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import AnyObjective
from mmcl.recipe_model import ModelConfig
from tests.tiny import slice_batch


def gather_and_weigh(rows: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """Each process weighs all gathered rows by weights of its own; the shares' sum is differentiated."""
    mine = rows[dist.get_rank()].clone().requires_grad_()
    sizes = RowSizes.of(len(mine), mine.device)
    every = gather_rows(mine, sizes)
    (every * weights[dist.get_rank()]).sum().backward()
    return {"all": every.detach(), "grad": mine.grad, "offset": sizes.offset}


def sum_and_weigh(values: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """The same for a sum over processes."""
    mine = values[dist.get_rank()].clone().requires_grad_()
    summed = sum_over_processes(mine)
    (summed * weights[dist.get_rank()]).sum().backward()
    return {"sum": summed.detach(), "grad": mine.grad}


def batch_norm_gradients(network: nn.Module, rows: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """Push uneven parts of a batch through a network with batch norm of global statistics."""
    network = use_global_batch_norm(network, torch.device("cpu"))
    mine = rows[dist.get_rank()].clone().requires_grad_()
    (network(mine) * weights[dist.get_rank()]).sum().backward()
    grads = {}
    for name, parameter in network.named_parameters():
        dist.all_reduce(parameter.grad)
        grads[name] = parameter.grad
    return {"input": mine.grad, "parameters": grads, "buffers": dict(network.named_buffers())}


def module_gradients(
    config: ModelConfig, objectives: list[AnyObjective], batch: PairBatch, bounds: list[int], dtype: torch.dtype
) -> dict[str, Any]:
    """One backward of the wrapped module on this process's rows, as the trainer does it."""
    accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(static_graph=True)])
    module = ContrastiveModule(build_model(config), objectives).to(dtype)
    if config.batch_norm == "global":
        use_global_batch_norm(module, torch.device("cpu"))
    wrapped = accelerator.prepare(module)
    rank = dist.get_rank()
    output = wrapped(slice_batch(batch, bounds[rank], bounds[rank + 1]))
    accelerator.backward(output.loss * dist.get_world_size())
    grads = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {"loss": total(output.loss), "grads": grads, "sample_ids": output.sample_ids, "chance": output.chance}


def main() -> None:
    """Take one line for each call, ``<function> <folder>``, from standard input, and answer ``done``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    for line in sys.stdin:
        function, folder = line.split(maxsplit=1)
        path = Path(folder.strip())
        arguments = torch.load(path / "arguments.pt", weights_only=False)
        result = globals()[function](**arguments)
        torch.save(result, path / f"rank-{dist.get_rank()}.pt")
        dist.barrier()
        print("done", flush=True)  # noqa: T201 - this is how the test is answered


if __name__ == "__main__":
    main()
