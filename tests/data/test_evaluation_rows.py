from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import pytest

from mmcl.data.evaluation_rows import EvaluationRows, LazyPictures, open_evaluation_rows, validation_rows
from mmcl.data.loader import build_train_data
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    encoded,
    picture,
    recipe,
    wanting,
    write_lines,
    write_pairs,
    write_partial,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")


def _open(path: Path, **columns: Any) -> EvaluationRows:
    return open_evaluation_rows(SourceConfig(path=str(path)), ColumnsConfig(**columns), max_unreadable=0.5)


def _validation(train: Recipe) -> EvaluationRows | None:
    return validation_rows(train, build_train_data(train, PREPROCESSING, CharacterTokenizer()))


def test_rows_come_in_the_order_of_the_source(tmp_path: Path) -> None:
    rows = _open(write_pairs(tmp_path, 6, num_groups=2))
    assert (rows.name, rows.split, rows.labels, rows.ids) == ("pairs.jsonl", "train", None, [0, 1, 2, 3, 4, 5])
    assert rows.texts[:2] == [["caption 0", "other 0"], ["caption 1"]]
    assert rows.groups[0] == rows.groups[2] != rows.groups[1]
    assert len(rows) == len(rows.images) == 6


def test_pictures_are_decoded_when_asked_for(tmp_path: Path) -> None:
    images = _open(write_pairs(tmp_path, 6)).images
    assert images[4].tobytes() == picture(4).tobytes()
    assert images[-1].tobytes() == picture(5).tobytes()
    part = images[1:3]
    assert isinstance(part, LazyPictures)
    assert [image.tobytes() for image in part] == [picture(1).tobytes(), picture(2).tobytes()]
    with pytest.raises(IndexError):
        images[6]
    (tmp_path / "4.png").unlink()
    with pytest.raises(UserError, match=r"row 4 of pairs.jsonl could be read before, and now cannot: no such file"):
        images[4]


def test_class_folders_give_labels_and_need_no_text(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_pictures(tmp_path / name, 2)
    rows = _open(tmp_path)
    assert rows.labels == ["cat", "cat", "dog", "dog"]
    assert rows.texts == [[], [], [], []]
    assert len(set(rows.groups)) == 4


def test_labels_of_any_kind_are_names(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 3)
    lines = [{"image": name, "label": index} for index, name in enumerate(names)]
    assert _open(write_lines(tmp_path / "a.jsonl", lines)).labels == ["0", "1", "2"]


def test_rows_that_cannot_be_used_are_left_out_with_reasons(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 8)
    (tmp_path / "2.png").write_bytes(encoded(picture(2, (64, 64)), "JPEG")[:800])
    lines = [{"image": name, "text": f"t{i}", "label": f"l{i}"} for i, name in enumerate(names)]
    lines[4] |= {"text": ""}
    lines[6] |= {"label": None}
    rows = _open(write_lines(tmp_path / "a.jsonl", lines))
    assert rows.ids == [0, 1, 3, 5, 7]
    assert rows.labels == ["l0", "l1", "l3", "l5", "l7"]
    assert rows.texts[2] == ["t3"]
    assert rows.images[2].tobytes() == picture(3).tobytes()
    assert {record.sample_id for record in rows.left_out} == {2, 4, 6}
    with pytest.raises(UserError, match=r"data.max_unreadable: 1 of 8 rows"):
        open_evaluation_rows(SourceConfig(path=str(tmp_path / "a.jsonl")), ColumnsConfig())


def test_set_without_labels_is_an_error(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 4)
    with pytest.raises(UserError, match=re.escape('evaluate.columns.label: no column "class" in pairs.jsonl (image,')):
        _open(file, label="class")
    with pytest.raises(UserError, match=re.escape('evaluate.columns.label: no column "label" in pairs.jsonl')):
        open_evaluation_rows(SourceConfig(path=str(file)), ColumnsConfig(), required=("label",))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    unlabelled = {"image": [{"bytes": encoded(picture()), "path": None}] * 3, "label": [-1, -1, -1]}
    datasets.Dataset.from_dict(unlabelled, features).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(UserError, match=r'evaluate.data: the label column "label" of saved holds no label'):
        _open(tmp_path / "saved")


def test_no_usable_row_is_an_error(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 2)
    file = write_lines(tmp_path / "a.jsonl", [{"image": name, "text": ""} for name in names])
    with pytest.raises(UserError, match=r"no row of a.jsonl can be used: the caption is missing or empty"):
        open_evaluation_rows(SourceConfig(path=str(file)), ColumnsConfig(), max_unreadable=1.0)


def test_streams_are_refused(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write_pairs(tmp_path, 2)), streaming=True)
    with pytest.raises(UserError, match=r"evaluate.data.streaming: rows to judge on are needed all at once"):
        open_evaluation_rows(source, ColumnsConfig())


def test_share_gives_the_rows_that_training_leaves(tmp_path: Path) -> None:
    train = recipe(write_pairs(tmp_path, 40, num_groups=20), validation=0.3)
    data = build_train_data(train, PREPROCESSING, CharacterTokenizer())
    rows = validation_rows(train, data)
    assert rows is not None
    assert (rows.split, rows.ids) == ("validation", data.held_out.tolist())
    assert data.num_rows == 40 - len(rows)
    assert rows.groups == [data.group_ids[row] for row in rows.ids]


def test_validation_source_is_opened_whole(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    held_out = write_pairs(tmp_path / "held", 5)
    rows = _validation(recipe(write_pairs(tmp_path, 8), validation=str(held_out)))
    assert rows is not None
    assert len(rows) == 5
    assert _validation(recipe(tmp_path / "pairs.jsonl", validation=0)) is None
    with pytest.raises(UserError, match=r"data.validation.path: there is no .*held/pears.jsonl"):
        _validation(recipe(tmp_path / "pairs.jsonl", validation=str(tmp_path / "held" / "pears.jsonl")))


def test_share_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.validation: 0.01% of the 8 groups of pairs.jsonl holds out no row"):
        _validation(recipe(write_pairs(tmp_path, 8), validation=0.0001))


def test_unreadable_validation_rows_are_written_down_with_the_run(tmp_path: Path) -> None:
    train = recipe(write_pairs(tmp_path, 40), validation=0.3, max_unreadable=0.5)
    data = build_train_data(train, PREPROCESSING, CharacterTokenizer())
    bad = int(data.held_out[0])
    (tmp_path / f"{bad}.png").write_bytes(b"")
    rows = validation_rows(train, data)
    data.quarantine.write_to(tmp_path)
    next(data.batches())
    assert rows is not None
    assert bad not in rows.ids
    assert (
        f'"sample_id": {bad}, "epoch": null, "reason": "an empty file"' in (tmp_path / "quarantine.jsonl").read_text()
    )


def test_texts_alone_have_no_pictures(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"text": ["a", "b"]}, {"text": None}, {"text": ["c"]}])
    rows = _open(file)
    assert (rows.texts, len(rows.images), len(rows), rows.ids) == ([["a", "b"], ["c"]], 0, 2, [0, 2])
    rows.check_has("text", task="sts")
    with pytest.raises(UserError, match=r"retrieval needs pictures: a.jsonl has no image column; name one as columns."):
        rows.check_has("image", "text", task="retrieval")
    with pytest.raises(UserError, match=r"probe needs labels: a.jsonl has no label column"):
        rows.check_has("label", task="probe")


def test_pictures_alone_have_no_texts(tmp_path: Path) -> None:
    rows = _open(write_pairs(tmp_path, 4), text=False)
    assert (rows.texts, len(rows.images)) == ([[]] * 4, 4)
    rows.check_has("image", task="probe")
    with pytest.raises(UserError, match=r"retrieval needs texts: pairs.jsonl has no text column"):
        rows.check_has("image", "text", task="retrieval")


def test_neither_pictures_nor_texts_is_an_error(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"picture": "a.png", "title": "a"}])
    with pytest.raises(UserError, match=r"evaluate.columns.image: no column .* Say which column holds the pictures"):
        _open(file)


def test_missing_picture_is_left_out_with_its_reason(tmp_path: Path) -> None:
    rows = _open(write_partial(tmp_path, 12), label=False)
    assert rows.ids == [row for row in range(12) if row % 3 and row % 4 != 1]
    reasons = {record.sample_id: record.reason for record in rows.left_out}
    assert reasons[0] == "the picture is missing"
    assert reasons[9] == "the picture is missing; the caption is missing or empty"


IMAGE_TEXT, IMAGES, TEXTS = ("image.0", "text.0"), ("image.0", "image.0"), ("text.0", "text.0")


def _partly_held_out(tmp_path: Path, *objectives: Any) -> tuple[EvaluationRows, set[int]]:
    columns = {"label": False}
    made = recipe(write_partial(tmp_path), validation=0.5, max_unreadable=0.5, columns=columns)
    train = wanting(made, *objectives)
    data = build_train_data(train, PREPROCESSING, CharacterTokenizer())
    rows = validation_rows(train, data)
    assert rows is not None
    assert data.quarantine.num_quarantined == 0
    return rows, set(data.held_out.tolist())


def test_held_out_rows_that_lack_a_part_are_not_judged_on(tmp_path: Path) -> None:
    rows, held_out = _partly_held_out(tmp_path, IMAGE_TEXT, IMAGES, TEXTS)
    assert rows.ids == sorted(row for row in held_out if row % 3 and row % 4 != 1)
    assert 0 < len(rows) < len(held_out)
    assert all(rows.texts)
    assert len(rows.images) == len(rows)


def test_held_out_rows_need_no_more_than_the_objectives(tmp_path: Path) -> None:
    rows, held_out = _partly_held_out(tmp_path / "a", IMAGES)
    assert set(rows.ids) == held_out
    assert [bool(texts) for texts in rows.texts] == [row % 4 != 1 for row in rows.ids]
    rows, held_out = _partly_held_out(tmp_path / "b", TEXTS)
    assert set(rows.ids) == held_out
    assert (len(rows.images), all(rows.texts)) == (0, True)


def test_no_held_out_row_with_all_parts_is_an_error(tmp_path: Path) -> None:
    lines = [{"image": name, "text": None} for name in write_pictures(tmp_path, 20)]
    lines += [{"image": None, "text": f"t{row}"} for row in range(20)]
    train = wanting(recipe(write_lines(tmp_path / "a.jsonl", lines), validation=0.5), IMAGE_TEXT, IMAGES, TEXTS)
    with pytest.raises(UserError, match=r"data.validation: none of the \d+ rows held out of a.jsonl has all that is"):
        _validation(train)
