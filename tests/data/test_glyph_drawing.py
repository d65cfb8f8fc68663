from __future__ import annotations

import numpy as np
import pytest
from matplotlib import ft2font

from mmcl.data.glyph_drawing import FACES, SIDE, draw, draw_face, font_file, is_drawable


def _ink(character: str, face: str = "DejaVuSans") -> np.ndarray:
    image = draw(character, face)
    assert image is not None
    return 255 - np.asarray(image).astype(int)


def _rows_with_ink(character: str) -> tuple[int, int]:
    rows = np.flatnonzero(_ink(character).max(axis=1) > 64)
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize("character", ["a", "é", "\N{BLACK CHESS KNIGHT}", "\N{BRAILLE PATTERN DOTS-1}", "_"])
def test_named_and_visible_characters_are_drawable(character):
    assert is_drawable(character)


@pytest.mark.parametrize(
    "character",
    [
        "\n",  # control
        "\N{SOFT HYPHEN}",  # format
        " ",
        "\N{NO-BREAK SPACE}",
        "\N{LINE SEPARATOR}",
        "\N{COMBINING ACUTE ACCENT}",
        "\N{COMBINING ENCLOSING CIRCLE}",
        "\ue000",  # private: no name
        "\u0378",  # unassigned: no name
    ],
)
def test_what_has_no_name_or_nothing_of_its_own_to_see_is_not_drawable(character):
    assert not is_drawable(character)


def test_a_drawing_is_a_grey_square_with_black_ink_on_white():
    image = draw("A", "DejaVuSerif")
    assert image is not None
    assert (image.mode, image.size) == ("L", (SIDE, SIDE))
    assert image.getextrema() == (0, 255)
    assert image.getpixel((0, 0)) == 255


def test_letters_share_scale_and_base_line():
    capital_top, capital_bottom = _rows_with_ink("X")
    small_top, small_bottom = _rows_with_ink("x")
    assert capital_bottom == small_bottom
    assert capital_top < small_top - 4
    descending_top, descending_bottom = _rows_with_ink("y")
    assert descending_top == small_top
    assert descending_bottom > small_bottom + 4
    assert _rows_with_ink("_")[0] > small_bottom
    assert _rows_with_ink("\N{SUPERSCRIPT TWO}")[1] < small_bottom - 4


def test_what_is_wider_than_the_square_is_made_smaller_not_cut():
    widest = "\N{ARABIC LIGATURE BISMILLAH AR-RAHMAN AR-RAHEEM}"
    for character in (
        "\N{THREE-EM DASH}",
        widest,
        "\N{LONG RIGHTWARDS ARROW}",
        "\N{LATIN CAPITAL LETTER DZ WITH CARON}",
    ):
        if ord(character) in ft2font.FT2Font(str(font_file("DejaVuSans"))).get_charmap():
            border = np.ones((SIDE, SIDE), dtype=bool)
            border[1:-1, 1:-1] = False
            assert _ink(character)[border].max() < 64, character


def test_a_blank_shape_gives_no_drawing():
    assert draw("\N{BRAILLE PATTERN BLANK}", "DejaVuSans") is None


def test_a_face_gives_its_characters_in_order_and_never_the_substitute_box():
    face = "DejaVuSansMono-BoldOblique"
    drawings = list(draw_face(face))
    codepoints = [ord(drawing.character) for drawing in drawings]
    assert codepoints == sorted(set(codepoints))
    assert set(codepoints) <= set(ft2font.FT2Font(str(font_file(face))).get_charmap())
    substitute = draw("\u6f22", face)  # a Chinese character, which no face of the family has
    assert substitute is not None
    assert all(drawing.image.tobytes() != substitute.tobytes() for drawing in drawings)
    assert {drawing.name for drawing in drawings} >= {"latin small letter a", "box drawings light horizontal"}


def test_the_twelve_faces_come_with_matplotlib():
    assert len(set(FACES)) == 12
    assert all(font_file(face).is_file() for face in FACES)
