from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmcl.data.digits import NAMES, draw_digit, load_digits
from mmcl.data.glyph_drawing import SIDE, draw


def test_rows_are_the_scanned_digits_with_their_names():
    digits = load_digits()
    assert len(digits) == 1_797
    assert digits.column_names == ["image", "text", "label", "group"]
    assert digits["label"][:11] == [*NAMES, "zero"]
    assert digits[3]["text"] == "digit three"
    assert Counter(digits["label"]).keys() == set(NAMES)
    assert digits["group"][:] == digits["label"][:]


def test_a_picture_is_black_on_white_and_as_large_as_a_printed_digit():
    image = load_digits()[0]["image"]
    assert (image.mode, image.size) == ("L", (SIDE, SIDE))
    ink = 255 - np.asarray(image).astype(int)
    printed = 255 - np.asarray(draw("0", "DejaVuSans")).astype(int)
    heights = [int(np.ptp(np.flatnonzero(drawing.max(axis=1) > 128))) for drawing in (ink, printed)]
    assert heights[0] == pytest.approx(heights[1], abs=4)
    assert ink[:, 0].max() == ink[0].max() == 0


def test_ink_is_dark_and_paper_is_white():
    scan = np.zeros((8, 8))
    scan[:, :4] = 16
    row = np.asarray(draw_digit(scan))[SIDE // 2]
    left, right = (SIDE - SIDE * 5 // 8) // 2 + 5, SIDE - (SIDE - SIDE * 5 // 8) // 2 - 5
    assert row[left] == 0
    assert row[right] == 255
