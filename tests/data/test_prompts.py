from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mmcl.batch import PairBatch
from mmcl.data.columns import Roles
from mmcl.data.evaluation_rows import validation_rows
from mmcl.data.loader import TrainData, build_train_data
from mmcl.data.prompts import texts_in
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    encoded,
    picture,
    recipe,
    texts_of,
    write_lines,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")

CLASSES = ("cat", "dog", "hat", "{}")
TEMPLATES = ("a photo of a {}.", "{}, drawn", "my {}!")


def write_labelled(folder: Path, number: int = 24) -> Path:
    """Write pictures of four classes, as csv."""
    names = write_pictures(folder, number)
    lines = ["image,label", *(f"{name},{CLASSES[index % 4]}" for index, name in enumerate(names))]
    (folder / "labelled.csv").write_text("\n".join(lines) + "\n")
    return folder / "labelled.csv"


def _data(train: Recipe) -> TrainData:
    return build_train_data(train, PREPROCESSING, CharacterTokenizer())


def _drawn(data: TrainData, num_batches: int) -> list[tuple[int, str]]:
    """Row and caption, in the order in which they are drawn."""
    batches: list[PairBatch] = list(islice(data.batches(), num_batches))
    return [pair for batch in batches for pair in zip(batch.sample_ids.tolist(), texts_of(batch.texts[0]), strict=True)]


def test_every_template_is_filled_with_the_name_of_the_class() -> None:
    roles = Roles(label="label", caption_templates=("a {}.", "{}!"), class_names={"n1": "tench"})
    assert texts_in("cat", "text.0", roles) == ("a cat.", "cat!")
    assert texts_in("n1", "text.0", roles) == ("a tench.", "tench!")
    assert texts_in("cat", "text.1", roles) == ("cat",)
    named = Roles(label="label", label_names=("cat", "dog"), caption_templates=("a {}.",))
    assert texts_in(1, "text.0", named) == ("a dog.",)


@pytest.mark.parametrize("value", [None, "", " ", float("nan")])
def test_a_row_without_a_label_has_no_caption(value: Any) -> None:
    with pytest.raises(ValueError, match="the label is missing, of which its caption is made"):
        texts_in(value, "text.0", Roles(label="label", caption_templates=("a {}.",)))


@pytest.mark.parametrize("streaming", [False, True])
def test_one_template_is_drawn_for_each_row_and_epoch(tmp_path: Path, streaming: bool) -> None:
    train = {"path": str(write_labelled(tmp_path)), "streaming": streaming}
    epochs = [_drawn(_data(recipe(train, caption_templates=TEMPLATES)), 6 * count)[-24:] for count in (1, 2)]
    for drawn in epochs:
        assert len({row for row, _ in drawn}) == 24
        assert all(text in {one.replace("{}", CLASSES[row % 4]) for one in TEMPLATES} for row, text in drawn)
    assert len({text for row, text in epochs[0] if row % 4 == 0}) == 3
    assert sum(dict(epochs[0])[row] != text for row, text in epochs[1]) > 8


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_of_a_class_are_one_group_whatever_their_template(tmp_path: Path, streaming: bool) -> None:
    train = {"path": str(write_labelled(tmp_path)), "streaming": streaming}
    for columns, num_groups in (({}, 4), ({"group": False}, 24)):
        data = _data(recipe(train, batch_size=24, caption_templates=TEMPLATES, columns=columns))
        (batch,) = islice(data.batches(), 1)
        groups = dict(zip(batch.sample_ids.tolist(), batch.group_ids.tolist(), strict=True))
        assert len(set(groups.values())) == num_groups
        assert (groups[0] == groups[4]) == (num_groups == 4)


def test_pictures_are_held_out_and_not_whole_classes(tmp_path: Path) -> None:
    train = recipe(write_labelled(tmp_path, 80), caption_templates=TEMPLATES, validation=0.25)
    data = _data(train)
    rows = validation_rows(train, data)
    assert rows is not None
    assert 10 <= len(rows) <= 30
    assert set(rows.labels or ()) == set(CLASSES) == set(data.class_names)
    assert len(set(rows.groups)) == len(rows)
    assert not any(rows.texts)
    assert not set(rows.ids) & {row for row, _ in _drawn(data, 20)}


def test_a_group_column_is_the_group_and_is_not_divided(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 80)
    rows = [{"image": name, "label": "cat", "product": row // 2} for row, name in enumerate(names)]
    file = write_lines(tmp_path / "rows.jsonl", rows)
    train = recipe(file, caption_templates=TEMPLATES, validation=0.3, columns={"group": "product"})
    data = _data(train)
    held_out = validation_rows(train, data)
    assert held_out is not None
    assert {row ^ 1 for row in held_out.ids} == set(held_out.ids) != set()
    assert data.num_groups == (80 - len(held_out)) // 2


def test_a_folder_of_classes_and_codes_with_names(tmp_path: Path) -> None:
    for index, name in enumerate(("n01", "n02") * 4):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{index}.png").write_bytes(encoded(picture(index)))
    data = _data(recipe(tmp_path, caption_templates=("a {}",), class_names={"n01": "tench"}))
    assert {text for _, text in _drawn(data, 2)} == {"a tench", "a n02"}
    assert "text <- 1 templates of label" in data.remarks[0]


def test_labels_of_a_webdataset(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for row in range(8):
            for suffix, content in (("png", encoded(picture(row))), ("cls", str(row % 2).encode())):
                info = tarfile.TarInfo(f"{row:04}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    columns = {"image": "png", "label": "cls"}
    for streaming in (False, True):
        train = {"path": str(tmp_path / "train.tar"), "streaming": streaming}
        data = _data(recipe(train, caption_templates=("a {}",), class_names={"0": "cat", "1": "dog"}, columns=columns))
        assert dict(_drawn(data, 2)) == {row: f"a {['cat', 'dog'][row % 2]}" for row in range(8)}


def test_rows_without_a_label_are_left_out_with_the_reason(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 12)
    rows = [{"image": name, "label": None if index == 5 else "cat"} for index, name in enumerate(names)]
    file = write_lines(tmp_path / "rows.jsonl", rows)
    data = _data(recipe(file, caption_templates=("a {}",), max_unreadable=0.5))
    assert data.num_rows == 11
    assert "the label is missing, of which its caption is made" in " ".join(data.remarks)


def test_templates_need_a_label_column(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", [{"image": name} for name in write_pictures(tmp_path, 4)])
    with pytest.raises(
        UserError, match=r"data.caption_templates are filled with the label, and .* no column \"label\""
    ):
        _data(recipe(file, caption_templates=("a {}",)))


def test_a_name_for_a_label_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    train = recipe(write_labelled(tmp_path), caption_templates=TEMPLATES, class_names={"cats": "feline"})
    with pytest.raises(UserError, match=r'data.class_names: "cats" is no label of labelled.csv .* mean "cat"\?'):
        _data(train)
