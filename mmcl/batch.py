"""What one optimiser step is fed: built by the collator, moved once, passed whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Tokenised texts, padded to the longest of the batch.

    Attributes:
        input_ids: ``(B, L)`` int64.
        attention_mask: ``(B, L)`` int64, 1 for a token and 0 for padding.
    """

    input_ids: Tensor
    attention_mask: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device, non_blocking: bool = False) -> TokenBatch:
        return TokenBatch(
            self.input_ids.to(device, non_blocking=non_blocking),
            self.attention_mask.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> TokenBatch:
        return TokenBatch(self.input_ids.pin_memory(), self.attention_mask.pin_memory())


@dataclass(frozen=True)
class PairBatch:
    """The rows of one process in one step.

    Attributes:
        images: one tensor per image view, each ``(B, 3, H, W)`` uint8; views may differ in size.
        texts: one ``TokenBatch`` per text view.
        group_ids: ``(B,)`` int64; rows with equal ids are positives of each other and never negatives.
        sample_ids: ``(B,)`` int64; the row's position in the training source.
    """

    images: tuple[Tensor, ...]
    texts: tuple[TokenBatch, ...]
    group_ids: Tensor
    sample_ids: Tensor

    def __len__(self) -> int:
        return len(self.sample_ids)

    def to(self, device: torch.device, non_blocking: bool = False) -> PairBatch:
        return PairBatch(
            tuple(view.to(device, non_blocking=non_blocking) for view in self.images),
            tuple(view.to(device, non_blocking=non_blocking) for view in self.texts),
            self.group_ids.to(device, non_blocking=non_blocking),
            self.sample_ids.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> PairBatch:
        return PairBatch(
            tuple(view.pin_memory() for view in self.images),
            tuple(view.pin_memory() for view in self.texts),
            self.group_ids.pin_memory(),
            self.sample_ids.pin_memory(),
        )
