"""``micro_batch_size: auto``: as many rows at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from torch import Tensor

from mmcl import distributed
from mmcl.batch import PairBatch
from mmcl.batch_norm import running_statistics
from mmcl.distributed import RowSizes
from mmcl.errors import RunError
from mmcl.module import ContrastiveModule, StepOutput
from mmcl.objectives.objective import Progress
from mmcl.recipe import Recipe
from mmcl.training.grad_cache import GradCache, OutOfMemoryTogether, RandomState, check_cacheable

MARGIN = 0.1
"""Share of a GPU's memory that stays free when the size is tried out: for the loss, longer texts and fragmentation."""
NUM_MOMENTS = 2
"""Tensors of a parameter's size that AdamW makes at the first update, and that the trial leaves room for."""
WAYS_OUT = (
    "tuning.gradient_checkpointing=true, low-rank updates (tuning.image=lora, tuning.text=lora), a smaller model, "
    "smaller pictures, or a smaller batch_size, which is another objective"
)


def build_grad_cache(
    module: ContrastiveModule, recipe: Recipe, accelerator: Accelerator, tell: Callable[[str], None]
) -> GradCache | None:
    """Return what takes a batch in parts, as ``micro_batch_size`` says; None where it says that all go at once.

    Raises:
        UserError: for a module whose gradients cannot be cached.
    """
    size, num_rows = recipe.micro_batch_size, recipe.batch_size // distributed.world_size()
    if size == "auto":
        return FittingGradCache(module, num_rows, accelerator.backward, accelerator.autocast, tell)
    return GradCache(module, size, accelerator.backward, accelerator.autocast) if size and size < num_rows else None


class FittingGradCache(GradCache):
    """Takes as many rows at a time as fit, and fewer from the step on in which they no longer do.

    That step is begun again, so that all is as if its size had been given from the start. Where every row fits at once
    nothing is cached.

    Args:
        module: as `GradCache` takes it.
        num_rows: of this process in a step.
        backward: as `GradCache` takes it.
        autocast: as `GradCache` takes it.
        tell: called with a line for the user.

    Attributes:
        finding: a line on the size, once it has been found or taken over from a checkpoint; before that None.
    """

    def __init__(
        self,
        module: ContrastiveModule,
        num_rows: int,
        backward: Callable[[Tensor], None],
        autocast: Callable[[], Any],
        tell: Callable[[str], None],
    ) -> None:
        check_cacheable(module, "auto")
        super().__init__(module, num_rows, backward, autocast)
        self.tell = tell
        self.finding: str | None = None

    def settle(self, batch: PairBatch, has_moments: bool) -> None:
        """Find the size, if it is still open: on GPUs by trying, elsewhere all rows, as a CPU does not say what fits.

        Args:
            batch: of this process, as a step would have it; nothing is changed by it.
            has_moments: the optimiser has its tensors already.

        Raises:
            RunError: not one row fits on some process.
        """
        if self.finding is not None:
            return
        device = batch.sample_ids.device
        if device.type == "cuda":
            _, total = torch.cuda.mem_get_info(device)
            trained = sum(p.numel() * p.element_size() for p in self.module.parameters() if p.requires_grad)
            reserve = int(MARGIN * total) + (0 if has_moments else NUM_MOMENTS * trained)
            self.settle_on(min(distributed.gather_objects(self.largest_that_fits(batch, reserve))), "what fits")
        else:
            self.settle_on(self.micro_batch_size, "all of them, as a CPU does not say what fits")

    def largest_that_fits(self, batch: PairBatch, reserve: int) -> int:
        """Return how many rows go forward and backward through the towers beside ``reserve`` bytes; 0 for not one.

        All rows of the batch, or else a power of two. No other process takes part.
        """
        size = self.micro_batch_size
        while size and not self._fits(batch.part(0, min(size, len(batch))), reserve):
            size = next_smaller(size)
        return size

    def _fits(self, part: PairBatch, reserve: int) -> bool:
        device = part.sample_ids.device
        state = RandomState.now(device)
        try:
            self._go_through(part, reserve)
            fits = True
        except torch.OutOfMemoryError:
            fits = False
        state.restore(device)
        self._forget_gradients()
        return fits

    def _go_through(self, part: PairBatch, reserve: int) -> None:
        kept = torch.empty(reserve, dtype=torch.uint8, device=part.sample_ids.device)
        with self.autocast():
            views = self.module.encode(part)
            keys = self.module.encode_keys(part)
        tensors = [tensor for view in views.values() for tensor in (view.features, view.projected)]
        tensors = [tensor for tensor in tensors if tensor.requires_grad]
        if tensors:  # none where what a part holds is of a locked tower
            torch.autograd.backward(tensors, [torch.ones_like(tensor) for tensor in tensors])
        del kept, keys

    def settle_on(self, micro_batch_size: int, why: str) -> None:
        """Take this size from now on, for a reason that the user is told.

        Raises:
            RunError: it is 0.
        """
        if micro_batch_size == 0:
            raise RunError(f"out of memory: not one row fits; ways out: {WAYS_OUT}")
        self.micro_batch_size = micro_batch_size
        self.finding = f"micro_batch_size: auto takes {micro_batch_size} rows of a process at a time, {why}"
        self.tell(self.finding)

    def step(self, batch: PairBatch, sizes: RowSizes, progress: Progress) -> StepOutput:
        """Do the forward and backward of one optimiser step; where memory runs out, again with fewer rows at a time.

        Raises:
            RunError: not one row fits.
            torch.OutOfMemoryError: on several processes, where the loss runs out of it and not the towers.
        """
        device = batch.sample_ids.device
        state, statistics = RandomState.now(device), running_statistics(self.module)
        before = [tensor.clone() for tensor in statistics]
        while (output := self._try(batch, sizes, progress)) is None:
            self._forget_gradients()
            state.restore(device)
            for tensor, value in zip(statistics, before, strict=True):
                tensor.copy_(value)
            why = f"as step {progress.step + 1} ran out of memory with {self.micro_batch_size}, and is done again"
            self.settle_on(next_smaller(self.micro_batch_size), why)
        return output

    def _try(self, batch: PairBatch, sizes: RowSizes, progress: Progress) -> StepOutput | None:
        try:
            return super().step(batch, sizes, progress)
        except torch.OutOfMemoryError as error:
            # The loss is where processes wait for each other: one that leaves it alone cannot call the others back.
            if distributed.is_distributed() and not isinstance(error, OutOfMemoryTogether):
                raise
            return None

    def _forget_gradients(self) -> None:
        for parameter in self.module.parameters():
            parameter.grad = None
        clear_device_cache(garbage_collection=True)


def next_smaller(size: int) -> int:
    """Return the largest power of two below a size; 0 below 1."""
    return 1 << (size - 1).bit_length() - 1 if size > 1 else 0
