from __future__ import annotations

from collections import Counter

import datasets
import numpy as np
import pytest

from mmcl.data.digits import NAMES, draw_digit, load_digits
from mmcl.data.glyph_drawing import SIDE, draw
from mmcl.errors import UserError


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


def test_splits_are_three_quarters_and_a_quarter_of_every_class():
    everything, train, test = (Counter(load_digits(split)["label"]) for split in (None, "train", "test"))
    assert (train.total(), test.total()) == (1_347, 450)
    assert train + test == everything
    assert all(abs(test[name] - everything[name] / 4) <= 0.5 for name in NAMES)


def test_splits_share_no_picture_and_keep_the_order():
    every, train, test = ([row["bytes"] for row in _cells(split)] for split in (None, "train", "test"))
    assert not set(train) & set(test)
    places = {encoded: place for place, encoded in enumerate(every)}
    for split in (train, test):
        assert [places[encoded] for encoded in split] == sorted(places[encoded] for encoded in split)


def test_splits_are_what_they_were_when_first_used():
    places = {row["bytes"]: place for place, row in enumerate(_cells(None))}
    assert [places[row["bytes"]] for row in _cells("test")][:8] == [0, 4, 12, 15, 17, 22, 30, 33]


def test_unknown_split_names_the_nearest():
    with pytest.raises(UserError, match=r'no split "tests" in digits \(train, test\). Did you mean "test"\?'):
        load_digits("tests")


def _cells(split):
    return load_digits(split).cast_column("image", datasets.Image(decode=False))["image"]
