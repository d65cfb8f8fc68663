from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcl.data.columns import Roles
from mmcl.data.picture_scan import pixel_hash, scan_pictures
from mmcl.data.row_reader import RowReader
from mmcl.data.sources import open_source
from mmcl.recipe_data import SourceConfig
from tests.data.builders import encoded, picture, write_lines

pytestmark = pytest.mark.usefixtures("empty_cache")


def _reader(folder: Path, *files: bytes) -> RowReader:
    rows = []
    for index, data in enumerate(files):
        (folder / f"{index}.jpg").write_bytes(data)
        rows.append({"image": f"{index}.jpg"})
    rows.append({"image": "gone.jpg"})
    return RowReader(open_source(SourceConfig(path=str(write_lines(folder / "a.jsonl", rows)))), Roles(image="image"))


def test_every_bad_picture_is_written_down_and_stops_nothing(tmp_path: Path) -> None:
    good = encoded(picture(0, (300, 200)), "JPEG")
    reader = _reader(tmp_path, good, good[: len(good) // 2], b"", b"<html>")
    scan = scan_pictures(reader, np.arange(5), 10**6)
    assert [(bad.sample_id, bad.path) for bad in scan.unreadable] == [
        (1, str(tmp_path / "1.jpg")),
        (2, str(tmp_path / "2.jpg")),
        (3, str(tmp_path / "3.jpg")),
        (4, str(tmp_path / "gone.jpg")),
    ]
    reasons = [bad.reason for bad in scan.unreadable]
    for reason, said in zip(reasons, ["damaged", "an empty file", "not a picture", "no such file"], strict=True):
        assert said in reason
    assert scan.hashes == {}


def test_hashes_are_of_pixels_whatever_the_file(tmp_path: Path) -> None:
    first, second = picture(0), picture(1)
    reader = _reader(tmp_path, encoded(first), encoded(first, "BMP"), encoded(second))
    hashes = scan_pictures(reader, np.arange(3), 10**6, with_hashes=True).hashes
    assert hashes[0] == hashes[1] != hashes[2]


def test_equal_bytes_of_another_shape_are_another_picture() -> None:
    assert pixel_hash(Image.new("RGB", (2, 3))) != pixel_hash(Image.new("RGB", (3, 2)))


def test_only_the_rows_asked_for_are_read_and_told(tmp_path: Path) -> None:
    told: list[int] = []
    reader = _reader(tmp_path, encoded(picture(0)), b"", encoded(picture(2)))
    scan = scan_pictures(reader, np.array([0, 2]), 10**6, with_hashes=True, tell=told.append)
    assert (sorted(scan.hashes), scan.unreadable, told) == ([0, 2], [], [2])


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    assert len(scan_pictures(_reader(tmp_path, encoded(picture(0))), np.array([0]), 10).unreadable) == 1
