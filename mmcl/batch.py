"""What one optimiser step is fed: built by the collator, moved once, passed whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Tokenised texts, padded to the longest of the batch.

    Attributes:
        input_ids: ``(B, L)`` int64.
        attention_mask: ``(B, L)`` int64, 1 for a token and 0 for padding.
        strings: the B texts themselves, for a teacher with another tokenizer; None where nobody kept them.
        text_ids: ``(B,)`` int64, not negative: equal for texts that are the same as far as ``data.equal_texts`` sees
            it. None where no two texts count as equal.
    """

    input_ids: Tensor
    attention_mask: Tensor
    strings: tuple[str, ...] | None = None
    text_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device, non_blocking: bool = False) -> TokenBatch:
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TokenBatch:
        return self._map(Tensor.pin_memory)

    def part(self, start: int, stop: int) -> TokenBatch:
        """Return some rows."""
        strings = None if self.strings is None else self.strings[start:stop]
        return replace(self._map(lambda tensor: tensor[start:stop]), strings=strings)

    def _map(self, change: Callable[[Tensor], Tensor]) -> TokenBatch:
        ids = None if self.text_ids is None else change(self.text_ids)
        return TokenBatch(change(self.input_ids), change(self.attention_mask), self.strings, ids)

    def cut(self, rows: Tensor, columns: slice) -> TokenBatch:
        """Return some columns of some rows, without their strings."""
        return TokenBatch(self.input_ids[rows, columns], self.attention_mask[rows, columns])

    def repeated(self, times: int) -> TokenBatch:
        """Return all rows, then all of them again, ``times`` in all, without their strings."""
        return TokenBatch(self.input_ids.repeat(times, 1), self.attention_mask.repeat(times, 1))


@dataclass(frozen=True)
class PairBatch:
    """The rows of one process in one step.

    Attributes:
        images: one tensor per image view, each ``(I, 3, H, W)`` uint8; views may differ in size.
        texts: one ``TokenBatch`` per text view: the caption or anchor, the positive, the hard negatives. Empty for one
            before the last that no objective takes.
        group_ids: ``(B,)`` int64; rows with equal ids are positives of each other or left out, never negatives.
        sample_ids: ``(B,)`` int64; the row's position in the training source.
        labels: ``(B,)`` int64 class of each row, -1 where it is not known; None when no row has one.
        scores: ``(B,)`` float32, how alike the texts 0 and 1 of each row are, on the scale of the data; nan where it is
            not known; None when no row has one.
        image_rows: ``(I,)`` int64, ascending: the rows that have a picture. None when every row of the source has.
        text_rows: for each text view ``(T,)`` int64, ascending: the rows that have it, one of several captions as often
            as it has them. None when every row has all, and one caption.
        has_several_captions: rows may have several, on any process.
        finishes: for each image view what is still to be done to its pictures, as `mmcl.data.finish.finish` takes it,
            on the CPU; None for a view that is finished. Empty when all are.
    """

    images: tuple[Tensor, ...]
    texts: tuple[TokenBatch, ...]
    group_ids: Tensor
    sample_ids: Tensor
    labels: Tensor | None = None
    image_rows: Tensor | None = None
    text_rows: tuple[Tensor, ...] | None = None
    has_several_captions: bool = False
    finishes: tuple[Tensor | None, ...] = ()
    scores: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def to(self, device: torch.device, non_blocking: bool = False) -> PairBatch:
        return self._map(
            lambda tensor: tensor.to(device, non_blocking=non_blocking),
            lambda tokens: tokens.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> PairBatch:
        return self._map(Tensor.pin_memory, TokenBatch.pin_memory)

    def _map(self, tensor: Callable[[Tensor], Tensor], tokens: Callable[[TokenBatch], TokenBatch]) -> PairBatch:
        return PairBatch(
            tuple(map(tensor, self.images)),
            tuple(map(tokens, self.texts)),
            tensor(self.group_ids),
            tensor(self.sample_ids),
            None if self.labels is None else tensor(self.labels),
            None if self.image_rows is None else tensor(self.image_rows),
            None if self.text_rows is None else tuple(map(tensor, self.text_rows)),
            self.has_several_captions,
            self.finishes,
            None if self.scores is None else tensor(self.scores),
        )

    def rows_of(self, view: str) -> Tensor | None:
        """Return the rows that have a view (``image.N``, ``text.N``), ascending; None for all of them, once each."""
        modality, _, number = view.partition(".")
        if modality == "image":
            return self.image_rows
        return None if self.text_rows is None else self.text_rows[int(number)]

    def part(self, start: int, stop: int) -> PairBatch:
        """Return rows ``start`` to ``stop`` of a finished batch as a batch; texts keep the padding of the whole."""
        images, image_rows = self.images, self.image_rows
        first, last = _range_of(image_rows, start, stop)
        texts = []
        text_rows: list[Tensor] | None = None if self.text_rows is None else []
        for number, tokens in enumerate(self.texts):
            rows = None if self.text_rows is None else self.text_rows[number]
            low, high = _range_of(rows, start, stop)
            texts.append(tokens.part(low, high))
            if text_rows is not None and rows is not None:
                text_rows.append(rows[low:high] - start)
        return PairBatch(
            tuple(view[first:last] for view in images),
            tuple(texts),
            self.group_ids[start:stop],
            self.sample_ids[start:stop],
            None if self.labels is None else self.labels[start:stop],
            None if image_rows is None else image_rows[first:last] - start,
            None if text_rows is None else tuple(text_rows),
            self.has_several_captions,
            scores=None if self.scores is None else self.scores[start:stop],
        )


def _range_of(rows: Tensor | None, start: int, stop: int) -> tuple[int, int]:
    """Return which of the ascending ``rows`` lie in ``start`` to ``stop``."""
    if rows is None:
        return start, stop
    first, last = torch.searchsorted(rows, torch.tensor([start, stop], device=rows.device)).tolist()
    return first, last
