"""Thumbnails and the choice of examples."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.exhibits import THUMBNAIL_SIDE, JudgedPictures, choose_examples, most_misjudged, thumbnail
from tests.evaluation.fakes import LazyPictures


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


def test_large_pictures_shrink_in_proportion_and_small_ones_stay() -> None:
    assert opened(thumbnail(Image.new("RGB", (1000, 500)))).size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2)
    assert opened(thumbnail(Image.new("L", (8, 5)))).size == (8, 5)


def test_transparency_lies_on_white() -> None:
    small = opened(thumbnail(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert (small.mode, small.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def test_drawings_keep_every_pixel_and_photographs_are_small() -> None:
    drawing = Image.new("L", (60, 60))
    drawing.paste(255, (10, 10, 40, 50))
    assert opened(thumbnail(drawing)).format == "PNG"
    assert (np.asarray(opened(thumbnail(drawing)).convert("L")) == np.asarray(drawing)).all()
    pixels = np.random.default_rng(0).integers(0, 256, size=(12, 12, 3), dtype=np.uint8)
    photograph = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    assert opened(thumbnail(photograph)).format == "JPEG"
    assert len(thumbnail(photograph)) < 4000


def test_judged_pictures_are_decoded_when_asked_for() -> None:
    pictures = LazyPictures(["red", "green", "blue"])
    item = JudgedPictures(pictures, ["a", "b", "c"]).item(1)
    assert pictures.num_decoded == 1
    assert item.text == "b"
    assert opened(item.picture or b"").getpixel((0, 0)) == (0, 255, 0)


def test_pictures_stand_upright(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (6, 4)), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert opened(thumbnail(tmp_path / "turned.jpg")).size == (4, 6)


def test_an_unreadable_picture_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=r"cannot be read.*broken\.png"):
        thumbnail(tmp_path / "broken.png")


def test_examples_are_successes_and_failures_one_per_group_and_always_the_same() -> None:
    ranks = np.array([1, 1, 1, 4, 9, 2, 1, 3])
    groups = np.array([0, 0, 1, 2, 2, 3, 4, 5])
    successes, failures = choose_examples(ranks, groups, 2, seed=0)
    assert len(successes) == len(failures) == 2
    assert (ranks[successes] == 1).all()
    assert (ranks[failures] > 1).all()
    assert len(set(groups[successes + failures])) == 4
    assert choose_examples(ranks, groups, 2, seed=0) == (successes, failures)


def test_fewer_examples_than_wanted_are_fewer() -> None:
    assert choose_examples(np.array([1, 1]), np.array([0, 1]), 5, seed=1)[1] == []


def test_pairs_furthest_above_their_score_come_first_and_then_those_furthest_below() -> None:
    first, second = list("abcdef"), list("uvwxyz")
    scores, cosines = np.array([0.0, 1, 2, 3, 4, 5]), np.array([0.9, 0.2, 0.3, 0.5, 0.4, 0.1])
    pairs = most_misjudged(first, second, scores, cosines, num_each=2)
    assert [pair.first + pair.second for pair in pairs] == ["au", "dx", "fz", "ey"]
    assert (pairs[0].score, pairs[0].cosine) == (0, 0.9)
    assert most_misjudged(first, second, scores, scores) == ()
