"""A contact sheet: what the model will be shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mmcl.data.captions import captions_of
from mmcl.data.columns import resolve_roles
from mmcl.data.hashing import mix
from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.rows import RowReader
from mmcl.data.sampler import shuffled
from mmcl.data.sources import open_source
from mmcl.data.views import ImageView
from mmcl.errors import UserError
from mmcl.recipe_data import DataConfig
from mmcl.towers.preprocessing import ImagePreprocessing

_TILE = 160  # pixels
_GAP = 8
_FONT_SIZE = 12
_CAPTION_WIDTH = 320


def preview_sheet(
    data: DataConfig, preprocessing: ImagePreprocessing, num_rows: int = 12, seed: int = 0
) -> Image.Image:
    """Draw some rows of the training source: the plain resize, each view twice, and the captions.

    A row that cannot be used is shown with the reason in place of its pictures.

    Args:
        data: source, columns and views.
        preprocessing: gives the size of the views and how they are resized.
        num_rows: rows drawn, from anywhere in an indexed source and from the start of a stream.
        seed: of the choice and of the views.

    Returns:
        An RGB picture, one line per row.

    Raises:
        UserError: the source or its columns cannot be used.
    """
    source = open_source(data.train, "data.train")
    roles = resolve_roles(source, data.columns, required=("text",))
    reader = RowReader(source, roles)
    views = [ImageView(config, preprocessing) for config in data.image_views for _ in range(2)]
    if source.is_stream:
        rows = list(islice(source.dataset, num_rows))
    else:
        rows = reader.read(np.sort(shuffled(len(source.dataset), seed)[:num_rows]))
    if not rows:
        raise UserError(f"data.train.path: {source.name} holds no rows")
    font = _font()
    width = _GAP + (1 + len(views)) * (_TILE + _GAP) + _CAPTION_WIDTH
    sheet = Image.new("RGB", (width, _GAP + len(rows) * (_TILE + _GAP)), "white")
    for number, row in enumerate(rows):
        _draw_row(sheet, _GAP + number * (_TILE + _GAP), row, reader, preprocessing, views, data.max_pixels, seed, font)
    return sheet


def _draw_row(
    sheet: Image.Image,
    top: int,
    row: Any,
    reader: RowReader,
    preprocessing: ImagePreprocessing,
    views: list[ImageView],
    max_pixels: int,
    seed: int,
    font: ImageFont.FreeTypeFont,
) -> None:
    draw = ImageDraw.Draw(sheet)
    left = _GAP
    try:
        picture = decode_image(reader.picture(row), max_pixels)
        for pixels in _drawn(picture, preprocessing, views, mix(seed, top)):
            sheet.paste(F.to_pil_image(pixels).resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left, top))
            left += _TILE + _GAP
    except UnreadableImage as reason:
        draw.multiline_text((left, top), _wrapped(f"left out: {reason}"), fill="firebrick", font=font)
        left = _GAP + (1 + len(views)) * (_TILE + _GAP)
    try:
        text, colour = "\n".join(map(_wrapped, captions_of(row[reader.roles.text]))), "black"
    except ValueError as reason:
        text, colour = _wrapped(f"left out: {reason}"), "firebrick"
    draw.multiline_text((left, top), text, fill=colour, font=font)


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
