"""Processes, device, precision and trackers, through Accelerate."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, LoggerType
from torch import nn

from mmcl.errors import UserError, did_you_mean
from mmcl.recipe import Recipe


def build_accelerator(recipe: Recipe) -> Accelerator:
    """Set up processes, device and precision.

    Raises:
        UserError: for a precision the device has not, a tracker that is not there, or a batch that the processes cannot
            share evenly.
    """
    has_cuda = torch.cuda.is_available()
    if recipe.precision == "fp16" and not has_cuda:
        raise UserError("precision: fp16 needs a GPU; on a CPU use fp32 or bf16")
    # Emulated, it would be slower than float32.
    has_bf16 = has_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    if recipe.precision == "bf16" and has_cuda and not has_bf16:
        raise UserError("precision: this GPU has no bf16; use fp16 or fp32")
    precision = ("bf16" if has_bf16 else "fp32") if recipe.precision == "auto" else recipe.precision
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if has_cuda and local_processes > torch.cuda.device_count():
        raise UserError(
            f"--num-processes: {local_processes} processes need as many GPUs, got {torch.cuda.device_count()}"
        )
    check_trackers(recipe.report_to)
    # The precision of an earlier run in this process would otherwise stand for good; processes and device stay.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=not has_cuda,
        log_with=list(recipe.report_to) or None,
        project_dir=recipe.output_dir if recipe.report_to else None,
        kwargs_handlers=[
            # The same parameters take part in every step, and some of a tower's may take no part at all. Buffers
            # (queues, banks, global statistics) are made equal by all processes, and need not be sent around.
            DistributedDataParallelKwargs(static_graph=True, broadcast_buffers=False),
            # Judging may keep one process busy for long while the others wait.
            InitProcessGroupKwargs(timeout=timedelta(hours=2)),
        ],
    )
    if recipe.batch_size % accelerator.num_processes:
        raise UserError(
            f"batch_size must be a multiple of the number of processes, "
            f"got {recipe.batch_size} over {accelerator.num_processes}"
        )
    return accelerator


def prepare(accelerator: Accelerator, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
    """Return the module and the optimiser as Accelerate wraps them."""
    with warnings.catch_warnings():
        # A word of torch's, from 2.15 on, for Accelerate, which says so to torch whatever it is told itself.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        wrapped, stepper = accelerator.prepare(module, optimizer)
    return wrapped, stepper


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that Accelerate does not know, and those whose package is missing, which it would drop silently.

    Raises:
        UserError: with the nearest name, or with what to install.
    """
    available = {str(tracker) for tracker in get_available_trackers()}
    builtin = {str(tracker) for tracker in LoggerType}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = sorted(LOGGER_TYPE_TO_CLASS)
            raise UserError(f'report_to: unknown tracker "{name}" ({", ".join(known)}).{did_you_mean(name, known)}')
        if name in builtin and name not in available:
            raise UserError(f"report_to: {name} is not installed; pip install {name.replace('_', '-')}")
