"""From rows to a `PairBatch`: the work that is done in worker processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from mmcl.batch import PairBatch, TokenBatch
from mmcl.data.captions import text_id
from mmcl.data.hashing import Int64Array, mix
from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.pictures import PictureCache
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.row_reader import RowReader
from mmcl.data.scan import has_picture
from mmcl.data.views import ImageView
from mmcl.recipe_data import EqualTexts
from mmcl.text.tokenizer import TextTokenizer

# What a random number is for; different purposes must not share numbers.
_VIEW, _CAPTION, _AGAIN = 11, 12, 13


@dataclass(frozen=True)
class BatchRequest:
    """The rows of one process in one step.

    Attributes:
        step: counted from 0, over all epochs.
        epoch: counted from 0.
        positions: ``(B,)`` int64 positions in the source.
        group_ids: ``(B,)`` int64.
        labels: ``(B,)`` int64 class indices, -1 where a row has no label; None without labels.
        rows: the rows themselves where they are of a stream.
        left_out: rows of a stream that were passed over on the way to these.
        passes: ``(B,)`` int64: how often each row was drawn before in this epoch; None where none was.
    """

    step: int
    epoch: int
    positions: Int64Array
    group_ids: Int64Array
    labels: Int64Array | None = None
    rows: Sequence[Mapping[str, Any]] | None = None
    left_out: tuple[QuarantineRecord, ...] = ()
    passes: Int64Array | None = None

    def draw(self, index: int) -> int:
        """Return what the random numbers of a row are of: the epoch, or the epoch and the pass where it comes again."""
        times = 0 if self.passes is None else int(self.passes[index])
        return mix(self.epoch, _AGAIN, times) if times else self.epoch


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


@dataclass
class _Columns:
    """What is made of the rows of a batch, view by view.

    Attributes:
        images: for each image view, its pixels.
        finishes: for each image view, what is still to be done to them; empty lists where nothing is.
        image_rows: the rows they are of.
        texts: for each text view, its texts.
        text_rows: the rows they are of.
        scores: of the rows, nan where one has none; empty where no row has.
    """

    images: list[list[Tensor]]
    finishes: list[list[list[float]]]
    image_rows: list[int]
    texts: list[list[str]]
    text_rows: list[list[int]]
    scores: list[float]

    @classmethod
    def empty(cls, num_images: int, num_texts: int) -> _Columns:
        images, texts = range(num_images), range(num_texts)
        return cls([[] for _ in images], [[] for _ in images], [], [[] for _ in texts], [[] for _ in texts], [])


class BatchBuilder(torch.utils.data.Dataset[BuiltBatch]):
    """Decodes, augments and tokenises. A data set whose items are whole batches, so that a worker makes one at a time.

    Its result is a function of the request and the seed, whichever process it is made in.

    Args:
        reader: of the rows.
        views: of every picture; none where no objective needs pictures.
        tokenizer: of captions; None where no objective needs texts.
        seed: of augmentation and of the choice among several captions.
        max_pixels: pictures with more are refused.
        num_texts: text views of every row.
        num_captions: captions of a row that are drawn, at the most.
        prompts: for each text view the name of the prompt that goes before its texts; by default the tokenizer's own.
        is_partial: rows may lack a picture or a text; then every batch says which have it. Else all rows have all.
        equal_texts: when two texts are the same; with ``never`` batches do not say which are.

    Attributes:
        leaves_unfinished: what is done to pictures after resizing is drawn and not done: `mmcl.data.finish` does it.
    """

    def __init__(
        self,
        reader: RowReader,
        views: Sequence[ImageView],
        tokenizer: TextTokenizer | None,
        seed: int,
        max_pixels: int,
        num_texts: int = 1,
        num_captions: int = 1,
        prompts: Sequence[str | None] = (),
        is_partial: bool = False,
        equal_texts: EqualTexts = "normalised",
    ) -> None:
        self.reader, self.views, self.tokenizer = reader, views, tokenizer
        self.seed, self.max_pixels = seed, max_pixels
        self.num_texts, self.num_captions, self.is_partial = num_texts, num_captions, is_partial
        self.prompts = prompts or (None,) * num_texts
        self.equal_texts = equal_texts
        self.leaves_unfinished = False
        self.pictures = PictureCache()

    def __getitem__(self, request: BatchRequest) -> BuiltBatch:
        kept: list[int] = []
        records = list(request.left_out)
        columns = _Columns.empty(len(self.views), self.num_texts)
        with torch.random.fork_rng(devices=[]):  # once for the batch: it costs more than a small picture
            for index, (position, row) in enumerate(zip(request.positions.tolist(), self._rows(request), strict=True)):
                try:
                    self._add(columns, len(kept), row, request, index)
                    kept.append(index)
                except UnreadableImage as reason:
                    number, name = self.reader.locate(position)
                    path = self.reader.path(row)
                    records.append(QuarantineRecord(number, request.epoch, str(reason), path, name))
        batch = self._batch(request, columns, kept) if kept else None
        return BuiltBatch(request.step, batch, tuple(records), len(request.positions) + len(request.left_out))

    def _rows(self, request: BatchRequest) -> Sequence[Mapping[str, Any]]:
        """Return the rows' cells; of rows whose decoded picture is kept, the texts alone."""
        if request.rows is not None:
            return request.rows
        if not self.views:
            return self.reader.read(request.positions)
        is_kept = np.array([self.pictures.get(position) is not None for position in request.positions.tolist()])
        rows: list[Mapping[str, Any]] = [{}] * len(is_kept)
        for chosen, with_pictures in ((~is_kept, True), (is_kept, False)):
            places = np.flatnonzero(chosen)
            read = self.reader.read(request.positions[places], with_pictures)
            for place, row in zip(places.tolist(), read, strict=True):
                rows[place] = row
        return rows

    def _add(self, columns: _Columns, number: int, row: Mapping[str, Any], request: BatchRequest, index: int) -> None:
        """Add what is made of row ``index`` of the request, which is row ``number`` of the batch.

        Raises:
            UnreadableImage: its picture cannot be read; nothing is added.
        """
        position, draw_number = int(request.positions[index]), request.draw(index)
        picture = self._picture_of(row, position, is_indexed=request.rows is None) if self.views else None
        texts = [self._texts_of(row, part, draw_number, position) for part in range(self.num_texts)]
        if picture is not None:
            columns.image_rows.append(number)
            for number_of_view, view in enumerate(self.views):
                seed = mix(self.seed, draw_number, position, _VIEW, number_of_view) >> 1
                if self.leaves_unfinished and not view.is_finished_when_resized:
                    pixels, finish = view.draw(picture, seed)
                    columns.finishes[number_of_view].append(finish.to_row())
                else:
                    pixels = view(picture, seed)
                columns.images[number_of_view].append(pixels.expand(3, -1, -1))
        for some, drawn, rows in zip(texts, columns.texts, columns.text_rows, strict=True):
            drawn += some
            rows += [number] * len(some)
        if "score" in self.reader.columns:
            columns.scores.append(self._score_of(row))

    def _picture_of(self, row: Mapping[str, Any], position: int, is_indexed: bool) -> Image.Image | None:
        kept = self.pictures.get(position) if is_indexed else None
        if kept is not None:
            return kept
        value = self.reader.picture(row)
        if self.is_partial and not has_picture(value):
            return None
        picture = decode_image(value, self.max_pixels, keep_grey=True)
        if is_indexed:
            self.pictures.add(position, picture)
        return picture

    def _score_of(self, row: Mapping[str, Any]) -> float:
        try:
            return self.reader.score(row)
        except ValueError:
            return math.nan

    def _texts_of(self, row: Mapping[str, Any], number: int, draw_number: int, position: int) -> list[str]:
        """Draw of a row's texts one, of captions ``num_captions``; none where it has none."""
        try:
            captions = self.reader.captions(row, f"text.{number}")
        except ValueError:
            if self.is_partial:
                return []
            raise
        if not captions:  # of a text that no objective takes
            return []
        # Numbers of further texts are told apart by one more key, so that they move no draw of the caption.
        keys = (_CAPTION, number) if number else (_CAPTION,)
        first = mix(self.seed, draw_number, position, *keys)
        num_drawn = min(1 if number else self.num_captions, len(captions))
        return [captions[(first + step) % len(captions)] for step in range(num_drawn)]

    def _batch(self, request: BatchRequest, columns: _Columns, kept: list[int]) -> PairBatch:
        images = (
            _stacked(pixels) if pixels else torch.zeros(0, 3, view.size, view.size, dtype=torch.uint8)
            for view, pixels in zip(self.views, columns.images, strict=True)
        )
        has_several = self.num_captions > 1
        return PairBatch(
            images=tuple(images),
            texts=tuple(map(self._tokens, columns.texts, self.prompts)),
            group_ids=torch.from_numpy(request.group_ids[kept]),
            sample_ids=torch.from_numpy(request.positions[kept]),
            labels=None if request.labels is None else torch.from_numpy(request.labels[kept]),
            image_rows=torch.tensor(columns.image_rows, dtype=torch.int64) if self.is_partial and self.views else None,
            text_rows=tuple(torch.tensor(rows, dtype=torch.int64) for rows in columns.text_rows)
            if (self.is_partial or has_several) and self.num_texts
            else None,
            has_several_captions=has_several,
            scores=torch.tensor(columns.scores) if columns.scores else None,
            finishes=tuple(torch.tensor(rows) if rows else None for rows in columns.finishes)
            if any(columns.finishes)
            else (),
        )

    def _tokens(self, texts: list[str], prompt: str | None) -> TokenBatch:
        assert self.tokenizer is not None
        ids = None
        if self.equal_texts != "never":
            ids = torch.tensor([text_id(text, self.equal_texts) for text in texts], dtype=torch.int64)
        if texts:
            # The strings go without their prompt: equal texts are equal whatever stands before them.
            tokens = self.tokenizer(self.tokenizer.prompts.before(texts, prompt))
            return replace(tokens, strings=tuple(texts), text_ids=ids)
        return TokenBatch(torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1, dtype=torch.int64), (), ids)


def _stacked(pixels: list[Tensor]) -> Tensor:
    # In a worker it stacks into the very memory that the trainer reads.
    stacked: Tensor = default_collate(pixels)
    return stacked
