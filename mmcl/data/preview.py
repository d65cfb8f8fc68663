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
from mmcl.data.needs import NeedyObjective, RowNeeds
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
    data: DataConfig,
    preprocessing: ImagePreprocessing,
    num_rows: int = 12,
    seed: int = 0,
    objectives: Sequence[NeedyObjective] = (),
) -> Image.Image:
    """Draw some rows of the training source: the plain resize, each of ``image_views`` twice, and the texts.

    A row that cannot be used is shown with the reason in place of its pictures or texts, in red; what a row may lack is
    said in grey.

    Args:
        data: source, columns and views.
        preprocessing: gives the size of the views and how they are resized.
        num_rows: rows drawn, from anywhere in an indexed source and from the start of a stream.
        seed: of the choice and of the views.
        objectives: which say what a row must have; by default a picture and a caption, where there are columns for
            them.

    Returns:
        An RGB picture, one line per row.

    Raises:
        UserError: the source or its columns cannot be used.
    """
    source = open_source(data.train, "data.train")
    needs = RowNeeds.of(objectives, len(data.expanded_views))
    roles = resolve_roles(source, data.columns, needs.reasons, num_negatives=needs.num_negatives)
    if roles.image is None and roles.text is None:
        resolve_roles(source, data.columns, {"image": ""})  # which says what to write
    parts = needs.parts or tuple(part for part in ("image", "text.0") if roles.column_of(part) is not None)
    reader = RowReader(source, roles, parts)
    needs = needs if objectives else replace(needs, wanted=(frozenset(parts),))
    views = [ImageView(config, preprocessing) for config in data.image_views for _ in range(2)]
    views = views if "image" in parts else []
    if source.is_stream:
        rows = list(islice(source.dataset, num_rows))
    else:
        rows = reader.read(np.sort(shuffled(len(source.dataset), seed)[:num_rows]))
    if not rows:
        raise UserError(f"data.train.path: {source.name} holds no rows")
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
        texts = []
        for part in parts[parts[0] == "image" :]:
            if part in has:
                texts.append(("\n".join(map(_wrapped, reader.captions(row, part))), "black"))
            else:
                texts.append((_wrapped(said[part]), colour))
        canvas.write_all(canvas.text_left, top, texts)
    return sheet


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
