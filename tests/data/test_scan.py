from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from mmcl.data.columns import resolve_roles
from mmcl.data.hashing import stable_id
from mmcl.data.needs import RowNeeds
from mmcl.data.scan import RowScan, has_picture, pictures_present, scan_rows
from mmcl.data.sources import Source, open_source
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import write_lines

pytestmark = pytest.mark.usefixtures("empty_cache")

CAPTIONED = (frozenset({"image", "text.0"}),)
PICTURES, CAPTIONS = frozenset({"image"}), frozenset({"text.0"})


def _scan(
    file: Path, num_bytes: int | None = None, wanted: tuple[frozenset[str], ...] = CAPTIONED, **columns: Any
) -> RowScan:
    source = open_source(SourceConfig(path=str(file)))
    parts = frozenset().union(*wanted)
    num_texts = max((int(part[-1]) + 1 for part in parts if part != "image"), default=0)
    needs = RowNeeds(wanted, int("image" in parts), num_texts)
    roles = resolve_roles(source, ColumnsConfig(**columns), dict.fromkeys(("positive",) if num_texts > 1 else (), "x"))
    return scan_rows(source, roles, needs, "data.columns", num_bytes)


def test_scan_finds_groups_and_unusable_rows(tmp_path: Path) -> None:
    rows = [
        {"image": "a", "text": ["Red shirt"], "group": "1"},
        {"image": "b", "text": ["red  SHIRT"], "group": None},
        {"image": "c", "text": [], "group": "1"},
        {"image": "d", "text": ["red shirt"], "group": None},
    ]
    scan = _scan(write_lines(tmp_path / "a.jsonl", rows))
    assert scan.is_usable.tolist() == [True, True, False, True]
    assert [(record.sample_id, record.epoch) for record in scan.unusable] == [(2, None)]
    assert scan.has["text.0"].tolist() == scan.is_complete.tolist() == [True, True, False, True]
    ids = scan.group_ids
    assert ids[0] == stable_id("1")
    assert ids[1] == ids[3] != ids[0]
    assert scan.num_captions == 3


def test_missing_caption_of_a_csv_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,text\na.png,\nb.png,nan\nc.png,x\n")
    scan = _scan(tmp_path / "a.csv")
    assert scan.is_usable.tolist() == [False, False, True]
    assert {record.reason for record in scan.unusable} == {"the caption is missing or empty"}


def test_csv_column_of_numbers_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,price\na.png,1.5\nb.png,\nc.png,7\n")
    with pytest.raises(UserError, match=r'data.columns.text: "price" in a.csv holds numbers, not text'):
        _scan(tmp_path / "a.csv", text="price")
    (tmp_path / "b.csv").write_text("image,title\na.png,1984\nb.png,Animal Farm\n")
    assert _scan(tmp_path / "b.csv", text="title").is_usable.all()


def test_long_captions_are_kept_and_counted(tmp_path: Path) -> None:
    rows = [{"image": "a", "text": text} for text in ("short", "a longer one", "中文中文")]
    scan = _scan(write_lines(tmp_path / "a.jsonl", rows), num_bytes=10)
    assert (scan.long_captions, scan.num_long_captions) == (["a longer one", "中文中文"], 2)


def test_without_text_every_row_is_usable_and_its_own_group(tmp_path: Path) -> None:
    scan = _scan(write_lines(tmp_path / "a.jsonl", [{"image": "a"}, {"image": "a"}]), wanted=(PICTURES,))
    assert scan.is_usable.all()
    assert scan.group_ids[0] != scan.group_ids[1]


def test_a_row_is_usable_when_one_objective_can_use_it(tmp_path: Path) -> None:
    rows = [
        {"image": "a", "text": "x"},
        {"image": None, "text": "x"},
        {"image": "c", "text": ""},
        {"image": "", "text": None},
    ]
    file = write_lines(tmp_path / "a.jsonl", rows)
    assert _scan(file).is_usable.tolist() == [True, False, False, False]
    assert _scan(file, wanted=(*CAPTIONED, PICTURES)).is_usable.tolist() == [True, False, True, False]
    scan = _scan(file, wanted=(*CAPTIONED, PICTURES, CAPTIONS))
    assert scan.is_usable.tolist() == [True, True, True, False]
    assert scan.is_complete.tolist() == [True, False, False, False]
    (record,) = scan.unusable
    assert record.reason == "the picture is missing; the caption is missing or empty"
    assert [record.reason for record in _scan(file).unusable][:2] == [
        "the picture is missing",
        "the caption is missing or empty",
    ]


def test_rows_without_a_caption_are_groups_of_their_own_though_they_share_nothing(tmp_path: Path) -> None:
    rows = [{"image": "a", "text": None}, {"image": "b", "text": None}, {"image": "c", "text": "x"}]
    file = write_lines(tmp_path / "a.jsonl", rows)
    assert len(set(_scan(file, wanted=(PICTURES,)).group_ids.tolist())) == 3


def test_group_false_makes_every_row_its_own_group(tmp_path: Path) -> None:
    rows = [{"image": name, "text": "x", "group": "g"} for name in "ab"]
    file = write_lines(tmp_path / "a.jsonl", rows)
    assert len(set(_scan(file, group=False).group_ids.tolist())) == 2
    assert len(set(_scan(file).group_ids.tolist())) == 1


def test_positives_are_told_from_captions(tmp_path: Path) -> None:
    rows = [{"text": "a", "positive": "b"}, {"text": "c", "positive": " "}, {"text": None, "positive": "d"}]
    scan = _scan(write_lines(tmp_path / "a.jsonl", rows), 0, wanted=(frozenset({"text.0", "text.1"}),))
    assert scan.is_usable.tolist() == [True, False, False]
    assert [record.reason for record in scan.unusable] == [
        "the positive is missing or empty",
        "the caption is missing or empty",
    ]
    assert (scan.num_captions, scan.long_captions) == (4, ["a", "c", "b", "d"])


PICTURE_CELLS = [
    {"bytes": b"x", "path": None},
    None,
    {"bytes": None, "path": "p.png"},
    {"bytes": b"", "path": "p.png"},
    {"bytes": None, "path": ""},
]


@pytest.mark.parametrize(
    ("feature", "cells", "expected"),
    [
        (datasets.Image(decode=False), PICTURE_CELLS, [True, False, True, False, False]),
        (datasets.Value("string"), ["a.png", None, ""], [True, False, False]),
        (datasets.Value("large_binary"), [b"a", None, b""], [True, False, False]),
        (datasets.Array2D((1, 1), "uint8"), [[[1]], None], [True, False]),
    ],
)
def test_a_picture_is_missing_where_the_cell_is_null_or_empty(
    feature: Any, cells: list[Any], expected: list[bool]
) -> None:
    dataset = datasets.Dataset.from_dict({"image": cells}, datasets.Features({"image": feature}))
    for rows in (dataset, dataset.select(range(len(cells))[::-1])):
        source = Source(rows, "a", "train", "data.train", None, ("image",))
        assert pictures_present(source, "image").tolist() == [has_picture(value) for value in rows["image"]]
        assert pictures_present(source, "image")[0 if rows is dataset else -1] == expected[0]
    assert [has_picture(value) for value in dataset["image"]] == expected
