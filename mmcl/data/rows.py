"""From rows to a `PairBatch`: the work that is done in worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.data.captions import captions_of
from mmcl.data.columns import Roles
from mmcl.data.hashing import Int64Array, mix
from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.sources import Source
from mmcl.data.views import ImageView
from mmcl.text.tokenizer import TextTokenizer

# What a random number is for; different purposes must not share numbers.
_VIEW, _CAPTION = 11, 12


class RowReader:
    """Reads pictures and captions of rows, without decoding.

    Args:
        source: where from.
        roles: its columns.
    """

    def __init__(self, source: Source, roles: Roles) -> None:
        columns = [roles.image] if roles.text is None else [roles.image, roles.text]
        self.roles = roles
        # Indexed rows are read by position; a stream's come with the request.
        self.dataset = None if source.is_stream else source.dataset.select_columns(columns)
        self.source = replace(source, dataset=None)

    def read(self, positions: Int64Array) -> list[dict[str, Any]]:
        """Return the rows of an indexed source at the positions, in order."""
        assert self.dataset is not None
        cells = self.dataset[positions.tolist()]
        return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]

    def picture(self, row: Mapping[str, Any]) -> Any:
        """Return the row's picture as `decode_image` takes it, relative paths resolved."""
        value = row[self.roles.image]
        if isinstance(value, str):
            return self.source.resolve(value)
        if isinstance(value, Mapping) and value.get("bytes") is None and value.get("path") is not None:
            return {"bytes": None, "path": self.source.resolve(value["path"])}
        return value

    def path(self, row: Mapping[str, Any]) -> str | None:
        """Return the path of the row's picture, where it has one."""
        value = self.picture(row)
        path = value.get("path") if isinstance(value, Mapping) else value
        return path if isinstance(path, str) else None

    def captions(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the row's usable captions; empty without a text column.

        Raises:
            ValueError: there is none.
        """
        return () if self.roles.text is None else captions_of(row[self.roles.text])


@dataclass(frozen=True)
class BatchRequest:
    """The rows of one process in one step.

    Attributes:
        step: counted from 0, over all epochs.
        epoch: counted from 0.
        positions: ``(B,)`` int64 positions in the source.
        group_ids: ``(B,)`` int64.
        rows: the rows themselves where they are of a stream.
        left_out: rows of a stream that were passed over on the way to these.
    """

    step: int
    epoch: int
    positions: Int64Array
    group_ids: Int64Array
    rows: Sequence[Mapping[str, Any]] | None = None
    left_out: tuple[QuarantineRecord, ...] = ()


@dataclass(frozen=True)
class BuiltBatch:
    """What a worker hands over.

    Attributes:
        step: the request's.
        batch: the readable rows; None when there is none.
        records: the rows that were left out.
        num_seen: rows read, those left out included.
    """

    step: int
    batch: PairBatch | None
    records: tuple[QuarantineRecord, ...]
    num_seen: int

    def pin_memory(self) -> BuiltBatch:
        """Return a copy in page-locked memory."""
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


class BatchBuilder(torch.utils.data.Dataset[BuiltBatch]):
    """Decodes, augments and tokenises. A data set whose items are whole batches, so that a worker makes one at a time.

    Its result is a function of the request and the seed, whichever process it is made in.

    Args:
        reader: of the rows.
        views: of every picture.
        tokenizer: of captions.
        seed: of augmentation and of the choice among several captions.
        max_pixels: pictures with more are refused.
    """

    def __init__(
        self,
        reader: RowReader,
        views: Sequence[ImageView],
        tokenizer: TextTokenizer,
        seed: int,
        max_pixels: int,
    ) -> None:
        self.reader, self.views, self.tokenizer = reader, views, tokenizer
        self.seed, self.max_pixels = seed, max_pixels

    def __getitem__(self, request: BatchRequest) -> BuiltBatch:
        rows = self.reader.read(request.positions) if request.rows is None else request.rows
        kept: list[int] = []
        pictures: list[list[Tensor]] = []
        texts: list[str] = []
        records = list(request.left_out)
        with torch.random.fork_rng(devices=[]):  # once for the batch: it costs more than a small picture
            for index, (position, row) in enumerate(zip(request.positions.tolist(), rows, strict=True)):
                try:
                    image = decode_image(self.reader.picture(row), self.max_pixels, keep_grey=True)
                    pictures.append(self._views_of(image, request.epoch, position))
                    texts.append(self._caption_of(row, request.epoch, position))
                    kept.append(index)
                except UnreadableImage as reason:
                    path = self.reader.path(row)
                    records.append(
                        QuarantineRecord(position, request.epoch, str(reason), path, self.reader.source.name)
                    )
        batch = None
        if kept:
            batch = PairBatch(
                images=tuple(torch.stack(view) for view in zip(*pictures, strict=True)),
                texts=(self.tokenizer(texts),),
                group_ids=torch.from_numpy(request.group_ids[kept]),
                sample_ids=torch.from_numpy(request.positions[kept]),
            )
        return BuiltBatch(request.step, batch, tuple(records), len(request.positions) + len(request.left_out))

    def _views_of(self, image: Image.Image, epoch: int, position: int) -> list[Tensor]:
        return [
            view(image, mix(self.seed, epoch, position, _VIEW, number) >> 1) for number, view in enumerate(self.views)
        ]

    def _caption_of(self, row: Mapping[str, Any], epoch: int, position: int) -> str:
        captions = self.reader.captions(row)
        return captions[mix(self.seed, epoch, position, _CAPTION) % len(captions)]
