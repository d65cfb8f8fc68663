"""Gradient caching: the gradients of a large batch in the memory of a small one (arXiv:2101.06983).

The towers embed every micro-batch without a graph; one loss is taken over all embeddings, and its gradient with respect
to them is kept; then each micro-batch goes through the towers once more, with the random numbers of the first time, and
its part of that gradient flows back. Heads, temperature and losses see the whole batch at once, so what they compute,
batch norm in a head included, is what they would compute without caching. Rows that all fit at once go through once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.batch_norm import has_batch_norm
from mmcl.distributed import RowSizes, is_true_anywhere, sum_gradients
from mmcl.errors import UserError
from mmcl.model import Encoded
from mmcl.module import ContrastiveModule, Keys, StepOutput, Views
from mmcl.objectives.objective import Progress, ViewPass


class OutOfMemoryTogether(torch.OutOfMemoryError):
    """Memory ran out on one process or more, and every process has stopped at the same place."""


def check_cacheable(module: ContrastiveModule, micro_batch_size: int | str) -> None:
    """Refuse what gradient caching could only approximate.

    Raises:
        UserError: the towers have batch norm, or an objective reads more than embeddings.
    """
    if has_batch_norm(module.model.towers):
        raise UserError(
            f"micro_batch_size: {micro_batch_size} would give batch norm, which is inside the towers, other statistics "
            "than the whole batch; leave micro_batch_size out, train in more processes, or take a model with layer norm"
        )
    for name, objective in module.named_objectives():
        if objective.reads_tokens:
            raise UserError(f"micro_batch_size: {name} learns from tokens, not from embeddings; leave it out")


@dataclass(frozen=True)
class RandomState:
    """Where torch's generators were."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def restore(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, device)


class GradCache:
    """Computes the loss of a batch, and leaves the gradients of all processes' batch in the parameters.

    Args:
        module: not wrapped for distributed training: gradients are added up over processes here, once.
        micro_batch_size: rows that go through the towers at a time.
        backward: scales a loss where the precision asks for it, and differentiates it.
        autocast: makes the context that towers compute in.
    """

    def __init__(
        self,
        module: ContrastiveModule,
        micro_batch_size: int,
        backward: Callable[[Tensor], None],
        autocast: Callable[[], Any],
    ) -> None:
        check_cacheable(module, micro_batch_size)
        self.module, self.micro_batch_size = module, micro_batch_size
        self.backward, self.autocast = backward, autocast

    def step(self, batch: PairBatch, sizes: RowSizes, progress: Progress) -> StepOutput:
        """Do the forward and backward of one optimiser step on this process's rows.

        Raises:
            OutOfMemoryTogether: on several processes, where the towers run out of memory on one.
            torch.OutOfMemoryError: elsewhere, on the process that runs out.
        """
        device = batch.sample_ids.device
        starts = range(0, len(batch), self.micro_batch_size)
        parts = [batch.part(start, min(start + self.micro_batch_size, len(batch))) for start in starts]
        states: list[RandomState] = []
        encoded: list[Views] = []
        keys: list[Keys] = []
        # The graph of a single part is kept, and it need not be encoded again.
        is_cached = len(parts) > 1
        with _all_or_none(device), torch.set_grad_enabled(not is_cached), self.autocast():
            for part in parts:
                states.append(RandomState.now(device))
                encoded.append(self.module.encode(part))
                keys.append(self.module.encode_keys(part))
        leaves = _leaves(encoded)
        views = {key: Encoded.of(features, projected) for key, (features, projected) in leaves.items()}
        output = self.module.losses_of(batch, views, _joined(keys), sizes, progress)
        self.backward(output.loss)
        with _all_or_none(device):
            offsets = dict.fromkeys(leaves, 0)
            for number, part in enumerate(parts):
                again = self._encode_again(part, states[number]) if is_cached else encoded[number]
                _flow_back(again, leaves, offsets)
        sum_gradients(self.module.parameters())
        return output

    def _encode_again(self, part: PairBatch, state: RandomState) -> Views:
        state.restore(part.sample_ids.device)
        with self.autocast():
            return self.module.encode(part)


@contextmanager
def _all_or_none(device: torch.device) -> Iterator[None]:
    """Let every process leave the block by an error where one of them runs out of memory; no collective inside."""
    error = None
    try:
        yield
    except torch.OutOfMemoryError as one:
        error = one
    if is_true_anywhere(error is not None, device):
        raise OutOfMemoryTogether("out of memory on this or another process") from error


def _flow_back(views: Views, leaves: dict[ViewPass, tuple[Tensor, Tensor]], offsets: dict[ViewPass, int]) -> None:
    """Differentiate a part's views by the leaves' gradients, from ``offsets`` on, and move those past the part."""
    tensors, grads = [], []
    for key, view in views.items():
        rows = slice(offsets[key], offsets[key] + len(view.projected))
        offsets[key] = rows.stop
        for tensor, leaf in zip((view.features, view.projected), leaves[key], strict=True):
            if leaf.grad is not None and tensor.requires_grad:
                tensors.append(tensor)
                grads.append(leaf.grad[rows])
    if tensors:  # none where what a part holds is of a locked tower
        torch.autograd.backward(tensors, grads)


def _leaves(parts: list[Views]) -> dict[ViewPass, tuple[Tensor, Tensor]]:
    """Put the micro-batches' features and projections together, as leaves that take a gradient."""
    return {
        key: (
            torch.cat([views[key].features.detach() for views in parts]).requires_grad_(),
            torch.cat([views[key].projected.detach() for views in parts]).requires_grad_(),
        )
        for key in parts[0]
    }


def _joined(parts: list[Keys]) -> Keys:
    return {
        name: tuple(torch.cat(tensors) for tensors in zip(*(keys[name] for keys in parts), strict=True))
        for name in parts[0]
    }
