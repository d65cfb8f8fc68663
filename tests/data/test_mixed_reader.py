from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmcl.data.columns import Roles
from mmcl.data.mixed_reader import MixedReader
from mmcl.data.row_reader import RowReader
from mmcl.data.sources import open_source
from mmcl.recipe_data import SourceConfig
from tests.data.builders import write_lines, write_pairs, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def reader(tmp_path: Path) -> MixedReader:
    """Four rows of texts, then three pairs, then two pictures."""
    texts = write_lines(tmp_path / "texts.jsonl", [{"title": f"title {row}"} for row in range(4)])
    pairs = write_pairs(tmp_path / "pairs", 3)
    photos = [{"photo": name} for name in write_pictures(tmp_path / "photos", 2)]
    parts = {
        texts: Roles(text="title"),
        pairs: Roles(image="image", text="text"),
        write_lines(tmp_path / "photos" / "photos.jsonl", photos): Roles(image="photo"),
    }
    sources = {open_source(SourceConfig(path=str(file))): roles for file, roles in parts.items()}
    return MixedReader([RowReader(source, roles) for source, roles in sources.items()])


def test_rows_are_called_by_their_parts_in_the_order_asked_for(reader: MixedReader, tmp_path: Path) -> None:
    rows = reader.read(np.array([8, 0, 5, 3]))
    assert [row["text.0"] for row in rows] == [None, "title 0", ["caption 1"], "title 3"]
    files = [tmp_path / "photos/1.png", None, tmp_path / "pairs/1.png", None]
    assert [reader.path(row) for row in rows] == [file and str(file) for file in files]
    assert reader.captions(rows[2]) == ("caption 1",)


def test_pictures_are_left_alone_where_they_are_not_asked_for(reader: MixedReader) -> None:
    assert reader.read(np.array([8, 1]), with_pictures=False) == [{"text.0": None}, {"text.0": "title 1"}]


def test_what_a_source_has_no_column_for_is_missing(reader: MixedReader) -> None:
    text, picture = reader.read(np.array([0, 7]))
    assert reader.parts_of(text) == ({"text.0"}, {"image": "the picture is missing"})
    assert reader.parts_of(picture) == ({"image"}, {"text.0": "the caption is missing or empty"})


def test_a_row_is_found_in_its_own_source(reader: MixedReader) -> None:
    assert reader.num_rows == 9
    expected = [(0, "texts.jsonl"), (3, "texts.jsonl"), (0, "pairs.jsonl"), (2, "pairs.jsonl"), (1, "photos.jsonl")]
    assert [reader.locate(position) for position in (0, 3, 4, 6, 8)] == expected
