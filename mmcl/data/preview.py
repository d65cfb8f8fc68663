"""A contact sheet: what the model will be shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mmcl.data.columns import resolve_roles
from mmcl.data.hashing import mix
from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.mixture import TrainSource, open_train_sources, reader_of
from mmcl.data.needs import NeedyObjective, RowNeeds
from mmcl.data.row_reader import RowReader
from mmcl.data.sampler import shuffled
from mmcl.data.views import ImageView
from mmcl.errors import UserError
from mmcl.recipe_data import DataConfig
from mmcl.towers.preprocessing import ImagePreprocessing

_TILE = 160  # pixels
_GAP = 8
_FONT_SIZE = 12
_CAPTION_WIDTH = 320


def preview_sheet(
    data: DataConfig,
    preprocessing: ImagePreprocessing,
    num_rows: int = 12,
    seed: int = 0,
    objectives: Sequence[NeedyObjective] = (),
) -> Image.Image:
    """Draw some rows of the training sources: the plain resize, each of ``image_views`` twice, and the texts.

    A row that cannot be used is shown with the reason in place of its pictures or texts, in red; what a row may lack is
    said in grey.

    Args:
        data: source, columns and views.
        preprocessing: gives the size of the views and how they are resized.
        num_rows: rows drawn, from anywhere in an indexed source and from the start of a stream; of several sources as
            many of each.
        seed: of the choice and of the views.
        objectives: which say what a row must have; by default a picture and a caption, where there are columns for
            them.

    Returns:
        An RGB picture, one line per row.

    Raises:
        UserError: the source or its columns cannot be used.
    """
    needs = RowNeeds.of(objectives, len(data.expanded_views))
    sources = open_train_sources(data, needs, needs.parts or ("image", "text.0"))
    for each in sources:
        if not each.reader.columns:
            resolve_roles(each.source, each.columns, {"image": ""}, each.columns_key)  # which says what to write
    reader = reader_of(sources)
    parts = tuple(reader.columns)
    needs = needs if objectives else replace(needs, wanted=(frozenset(parts),))
    views = [ImageView(config, preprocessing) for config in data.image_views for _ in range(2)]
    views = views if "image" in parts else []
    rows, names = _some_rows(sources, reader, num_rows, seed)
    if not rows:
        raise UserError(f"data.train.path: {sources[0].source.name} holds no rows")
    num_tiles = 1 + len(views) if views else 0
    width = _GAP + num_tiles * (_TILE + _GAP) + _CAPTION_WIDTH
    sheet = Image.new("RGB", (width, _GAP + len(rows) * (_TILE + _GAP)), "white")
    canvas = _Canvas(sheet, ImageDraw.Draw(sheet), _font(), width - _CAPTION_WIDTH)
    for number, row in enumerate(rows):
        top = _GAP + number * (_TILE + _GAP)
        has, wrong = reader.parts_of(row)
        colour = "grey" if needs.is_usable(has) else "firebrick"
        said = {part: reason if colour == "grey" else f"left out: {reason}" for part, reason in wrong.items()}
        if "image" in said:
            canvas.write(_GAP, top, said["image"], colour)
        elif "image" in parts:
            _draw_pictures(canvas, top, reader.picture(row), preprocessing, views, data.max_pixels, mix(seed, top))
        texts = [(f"of {names[number]}", "grey")] if len(sources) > 1 else []
        for part in parts[parts[0] == "image" :]:
            if part in has and part == "score":
                texts.append((f"score {reader.score(row):g}", "grey"))
            elif part in has:
                texts.append(("\n".join(map(_wrapped, reader.captions(row, part))), "black"))
            else:
                texts.append((_wrapped(said[part]), colour))
        canvas.write_all(canvas.text_left, top, texts)
    return sheet


def _some_rows(
    sources: Sequence[TrainSource], reader: RowReader, num_rows: int, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows, of several sources as many of each, and the names of their sources."""
    if sources[0].source.is_stream:
        rows = list(islice(sources[0].source.dataset, num_rows))
        return rows, [sources[0].source.name] * len(rows)
    chosen = []
    for number, each in enumerate(sources):
        most = (num_rows + len(sources) - 1 - number) // len(sources)
        chosen.append(each.first + np.sort(shuffled(each.reader.num_rows, seed)[:most]))
    positions = np.concatenate(chosen)
    return reader.read(positions), [reader.locate(position)[1] for position in positions.tolist()]


@dataclass(frozen=True)
class _Canvas:
    sheet: Image.Image
    draw: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont
    text_left: int

    def write(self, left: int, top: int, text: str, colour: str) -> None:
        self.draw.multiline_text((left, top), _wrapped(text), fill=colour, font=self.font)

    def write_all(self, left: int, top: int, texts: Sequence[tuple[str, str]]) -> None:
        """Write texts below each other."""
        for text, colour in texts:
            self.draw.multiline_text((left, top), text, fill=colour, font=self.font)
            top = int(self.draw.multiline_textbbox((left, top), text, font=self.font)[3]) + _FONT_SIZE // 3


def _draw_pictures(
    canvas: _Canvas,
    top: int,
    value: Any,
    preprocessing: ImagePreprocessing,
    views: list[ImageView],
    max_pixels: int,
    seed: int,
) -> None:
    left = _GAP
    try:
        picture = decode_image(value, max_pixels)
        for pixels in _drawn(picture, preprocessing, views, seed):
            tile = F.to_pil_image(pixels).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
            canvas.sheet.paste(tile, (left, top))
            left += _TILE + _GAP
    except UnreadableImage as reason:
        canvas.write(left, top, f"left out: {reason}", "firebrick")


def _drawn(
    picture: Image.Image, preprocessing: ImagePreprocessing, views: list[ImageView], seed: int
) -> Iterator[Tensor]:
    yield preprocessing.resize(picture)
    with torch.random.fork_rng(devices=[]):
        for number, view in enumerate(views):
            yield view(picture, mix(seed, number) >> 1)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, width=48, max_lines=8, placeholder=" ...")


def _font() -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib and knows most alphabets."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), _FONT_SIZE)
