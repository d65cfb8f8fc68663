from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.row_reader import RowReader
from mmcl.data.sources import open_source
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import write_lines, write_pairs

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_only_the_columns_of_the_parts_are_read(tmp_path: Path) -> None:
    source = open_source(SourceConfig(path=str(write_pairs(tmp_path))))
    roles = resolve_roles(source, ColumnsConfig())
    assert RowReader(source, roles, ("text.0",)).read(np.array([1])) == [{"text": ["caption 1"]}]
    assert RowReader(source, roles, ("image",)).read(np.array([1])) == [{"image": "1.png"}]
    assert RowReader(source, roles, ("image",)).read(np.array([1, 2]), False) == [{}, {}]


def test_what_a_row_lacks_is_named_by_its_part(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "text": "", "label": "cat"}, {"image": None, "text": "a cat", "label": None}]
    source = open_source(SourceConfig(path=str(write_lines(tmp_path / "rows.jsonl", rows))))
    first, second = source.dataset
    reader = RowReader(source, Roles(image="image", text="text"))
    assert reader.parts_of(first) == ({"image"}, {"text.0": "the caption is missing or empty"})
    assert reader.parts_of(second) == ({"text.0"}, {"image": "the picture is missing"})
    prompted = RowReader(source, Roles(image="image", label="label", caption_templates=("a {}.",)))
    assert prompted.captions(first) == ("a cat.",)
    assert prompted.parts_of(second)[1]["text.0"] == "the label is missing, of which its caption is made"
