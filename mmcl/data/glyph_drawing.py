"""Draw the characters of the DejaVu fonts that come with matplotlib.

The drawings of a face share one scale and one base line, as characters in print do, so that "latin small letter c" and
"latin capital letter c" can be told apart. What would not fit into the square is moved inside, and what is still too
large (an ellipsis three ems wide) is made smaller.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib import ft2font
from PIL import Image, ImageDraw, ImageFont

SIDE = 48
"""Width and height of a drawing in pixels."""

FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
)
"""The twelve faces, by the names of their files."""

_SUPERSAMPLING = 4
_CANVAS = SIDE * _SUPERSAMPLING
_MARGIN = _CANVAS // 24
_BOX = _CANVAS - 2 * _MARGIN
# The fonts' own vertical measures, in units of which an em has 2048: what lies above and below the base line.
_ASCENT, _DESCENT, _UNITS_PER_EM = 1901, 483, 2048
_FONT_SIZE = _BOX * _UNITS_PER_EM / (_ASCENT + _DESCENT)
_BASE_LINE = _MARGIN + _BOX * _ASCENT / (_ASCENT + _DESCENT)
_FAINTEST_INK = 200
"""A drawing with no pixel darker than this (of 255) is blank: the font has the character but no shape for it."""


@dataclass(frozen=True)
class Drawing:
    """One character in one face.

    Attributes:
        character: a single code point.
        name: its Unicode name in lower case.
        face: one of `FACES`.
        image: mode ``L``, `SIDE` square, black on white.
    """

    character: str
    name: str
    face: str
    image: Image.Image


def font_file(face: str) -> Path:
    """Return the TrueType file of one of `FACES`."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"


def is_drawable(character: str) -> bool:
    """Whether a character has a name and something of its own to see.

    False for control, format, private and unassigned characters, spaces, and marks drawn onto another character.
    """
    category = unicodedata.category(character)
    return category[0] not in "CZ" and category not in ("Mn", "Me") and bool(unicodedata.name(character, ""))


def draw_face(face: str) -> Iterator[Drawing]:
    """Yield a drawing of every drawable character that the face has, in the order of their code points.

    A character that the face lacks is never asked for, so no substitute box is drawn; blank drawings are left out.
    """
    for codepoint in sorted(ft2font.FT2Font(str(font_file(face))).get_charmap()):
        character = chr(codepoint)
        if not is_drawable(character):
            continue
        image = draw(character, face)
        if image is not None:
            yield Drawing(character, unicodedata.name(character).lower(), face, image)


def draw(character: str, face: str) -> Image.Image | None:
    """Return the character black on white, mode ``L`` and `SIDE` square, or None when nothing of it is to be seen."""
    font = _font(face, _FONT_SIZE)
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    excess = max(right - left, bottom - top) / _BOX
    if excess > 1:
        font = _font(face, round(_FONT_SIZE / excess - 1, 1))
        left, top, right, bottom = font.getbbox(character, anchor="ls")
    base_line = max(_BASE_LINE, _MARGIN - top)
    base_line = min(base_line, _CANVAS - _MARGIN - bottom)
    canvas = Image.new("L", (_CANVAS, _CANVAS), 255)
    origin = (round((_CANVAS - left - right) / 2), round(base_line))
    ImageDraw.Draw(canvas).text(origin, character, fill=0, font=font, anchor="ls")
    image = canvas.reduce(_SUPERSAMPLING)
    return image if min(image.tobytes()) < _FAINTEST_INK else None


@lru_cache(maxsize=256)
def _font(face: str, size: float) -> ImageFont.FreeTypeFont:
    # The basic layout everywhere: Pillow would use Raqm where it is installed, and draw other pictures there.
    return ImageFont.truetype(str(font_file(face)), size, layout_engine=ImageFont.Layout.BASIC)
