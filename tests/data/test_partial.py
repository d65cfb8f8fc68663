"""Rows that lack a picture or a caption, from the recipe to the batch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from mmcl.batch import PairBatch
from mmcl.data.loader import TrainData, build_train_data
from mmcl.errors import UserError
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    Wants,
    encoded,
    picture,
    recipe,
    texts_of,
    wanting,
    write_lines,
    write_pairs,
    write_partial,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")

CLIP, SIMCLR, SIMCSE = ("image.0", "text.0"), ("image.0", "image.1"), ("text.0", "text.0")
VIEWS = [{"random_resized_crop": (0.3, 1.0)}, {"affine": {"degrees": 20}, "size": 6}]


def _data(train: Any, *objectives: Any, **fields: Any) -> TrainData:
    made = recipe(train, **{"image_views": VIEWS, "max_unreadable": 1, "batch_size": 6, **fields})
    return build_train_data(wanting(made, *objectives), PREPROCESSING, CharacterTokenizer())


def _draw(data: TrainData, number: int, start: int = 0, rank: int = 0, world_size: int = 1) -> list[PairBatch]:
    return list(islice(data.batches(start, rank, world_size), number))


def _rows(batch: PairBatch) -> list[dict[str, Any]]:
    """A batch row by row: what each has, by value."""
    assert batch.image_rows is not None
    assert batch.text_rows is not None
    rows: list[dict[str, Any]] = [
        {"id": sample, "group": group}
        for sample, group in zip(batch.sample_ids.tolist(), batch.group_ids.tolist(), strict=True)
    ]
    if batch.labels is not None:
        for row, label in zip(rows, batch.labels.tolist(), strict=True):
            row["label"] = label
    for number, view in enumerate(batch.images):
        for row, pixels in zip(batch.image_rows.tolist(), view, strict=True):
            rows[row][f"image.{number}"] = pixels.numpy().tobytes()
    for number, tokens in enumerate(batch.texts):
        texts = texts_of(tokens) if len(tokens) else []
        for row, text in zip(batch.text_rows[number].tolist(), texts, strict=True):
            rows[row][f"text.{number}"] = text
    return rows


@pytest.mark.parametrize("streaming", [False, True])
def test_each_row_brings_what_it_has(tmp_path: Path, streaming: bool) -> None:
    data = _data({"path": str(write_partial(tmp_path)), "streaming": streaming}, CLIP, SIMCLR, SIMCSE)
    rows = [row for batch in _draw(data, 9) for row in _rows(batch)]
    assert len(rows) == len({row["id"] for row in rows}) == 54
    for row in rows:
        assert ("image.0" in row) == ("image.1" in row) == (row["id"] % 3 != 0)
        assert row.get("text.0") == (None if row["id"] % 4 == 1 else f"caption {row['id']}")
    assert len({row["group"] for row in rows}) == 54


def test_rows_that_only_some_objectives_can_use_stay_out_without_them(tmp_path: Path) -> None:
    file = write_partial(tmp_path)
    paired = _data(file, CLIP)
    (batch, *_) = _draw(paired, 1)
    assert (batch.image_rows, batch.text_rows, paired.is_partial, paired.num_rows) == (None, None, False, 30)
    pictured = _data(file, SIMCLR)
    (batch, *_) = _draw(pictured, 1)
    assert (batch.image_rows, batch.text_rows, batch.texts, pictured.num_rows) == (None, None, (), 40)
    both = _data(file, CLIP, SIMCLR)
    assert (both.is_partial, both.num_rows) == (True, 40)


def test_rows_are_told_on_every_batch_or_on_none(tmp_path: Path) -> None:
    partial = _data(write_partial(tmp_path / "a"), CLIP, SIMCLR)
    assert all(batch.image_rows is not None and batch.text_rows is not None for batch in _draw(partial, 12))
    whole = _data(write_pairs(tmp_path / "b"), CLIP, SIMCLR)
    assert all(batch.image_rows is None and batch.text_rows is None for batch in _draw(whole, 8))


@pytest.mark.parametrize(("objectives", "is_partial"), [((CLIP,), False), ((CLIP, SIMCSE), True), ((SIMCSE,), False)])
def test_a_stream_tells_when_objectives_differ(tmp_path: Path, objectives: Any, is_partial: bool) -> None:
    train = {"path": str(write_pairs(tmp_path)), "streaming": True}
    data = _data(train, *objectives)
    (batch,) = _draw(data, 1)
    assert data.is_partial == is_partial == (batch.text_rows is not None)


OPTIONS = [{"paired_per_batch": 2}, {}, {"train": {"streaming": True}}]


@pytest.mark.parametrize("options", OPTIONS)
def test_parts_of_all_ranks_are_the_whole_batch(tmp_path: Path, options: dict[str, Any]) -> None:
    train = {"path": str(write_partial(tmp_path)), **options.get("train", {})}
    fields = {key: value for key, value in options.items() if key != "train"}
    data = _data(train, CLIP, SIMCLR, SIMCSE, **fields)
    parts = [_draw(data, 12, rank=rank, world_size=2) for rank in range(2)]
    for whole, *shares in zip(_draw(data, 12), *parts, strict=True):
        assert _rows(whole) == [row for share in shares for row in _rows(share)]


@pytest.mark.parametrize("options", OPTIONS)
def test_two_workers_give_the_batches_of_none_from_any_step(tmp_path: Path, options: dict[str, Any]) -> None:
    train = {"path": str(write_partial(tmp_path)), **options.get("train", {})}
    fields = {key: value for key, value in options.items() if key != "train"}
    alone, helped = (_data(train, CLIP, SIMCLR, SIMCSE, num_workers=number, **fields) for number in (0, 2))
    whole = [_rows(batch) for batch in _draw(alone, 22)]  # over the end of an epoch
    assert [_rows(batch) for batch in _draw(helped, 22)] == whole
    for start in (3, 15):
        assert [_rows(batch) for batch in _draw(alone, 22 - start, start)] == whole[start:]


def test_paired_rows_are_as_many_in_every_batch_and_on_every_process(tmp_path: Path) -> None:
    data = _data(write_partial(tmp_path), CLIP, SIMCLR, SIMCSE, paired_per_batch=4)
    assert data.steps_per_epoch == 12  # 25 rows that lack something, two in each batch
    for rank in range(2):
        for batch in _draw(data, 14, rank=rank, world_size=2):
            assert sum("image.0" in row and "text.0" in row for row in _rows(batch)) == 2


def test_paired_rows_that_cannot_be_shared_are_an_error(tmp_path: Path) -> None:
    file = write_partial(tmp_path)
    data = _data(file, CLIP, SIMCLR, paired_per_batch=3)
    with pytest.raises(UserError, match=r"data.paired_per_batch: 3 cannot be shared evenly by 2 processes"):
        _draw(data, 1, world_size=2)
    with pytest.raises(UserError, match=r"data.paired_per_batch: every training row has all that any objective needs"):
        _data(file, CLIP, paired_per_batch=3)
    with pytest.raises(UserError, match=r"data.paired_per_batch: a stream comes as it comes"):
        _data({"path": str(file), "streaming": True}, CLIP, SIMCLR, paired_per_batch=3)


def test_labels_and_sources_are_known(tmp_path: Path) -> None:
    data = _data(write_partial(tmp_path), CLIP, SIMCLR, Wants(SIMCLR, "sup_con", True))
    assert data.class_names == tuple(f"class {index}" for index in range(5))
    assert data.num_source_rows == 60
    for batch in _draw(data, 6):
        assert batch.labels is not None
        expected = [sample % 5 if sample % 2 else -1 for sample in batch.sample_ids.tolist()]
        assert batch.labels.tolist() == expected


def test_objective_that_needs_labels_needs_a_label_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'objectives.0: sup_con needs labels, and pairs.jsonl has no column "label"'):
        _data(write_pairs(tmp_path), Wants(SIMCLR, "sup_con", True))


def test_stream_of_labels_needs_a_class_column(tmp_path: Path) -> None:
    file = write_partial(tmp_path)
    with pytest.raises(UserError, match=r"objectives.0: sup_con needs labels, and the classes of a stream are known"):
        _data({"path": str(file), "streaming": True}, Wants(SIMCLR, "sup_con", True))
    (batch,) = _draw(_data({"path": str(file), "streaming": True}, SIMCLR), 1)
    assert batch.labels is None
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    cells = {"image": [{"bytes": encoded(picture(row)), "path": None} for row in range(8)], "label": [0, 1, -1, 0] * 2}
    datasets.Dataset.from_dict(cells, datasets.Features(features)).save_to_disk(str(tmp_path / "saved"))
    saved = {"path": str(tmp_path / "saved"), "streaming": True}
    data = _data(saved, Wants(SIMCLR, "sup_con", True))
    (batch,) = _draw(data, 1)
    assert batch.labels is not None
    assert batch.labels.tolist() == [[0, 1, -1, 0][sample % 4] for sample in batch.sample_ids.tolist()]
    assert (data.class_names, data.num_source_rows) == (("a", "b"), None)


def test_texts_alone_need_no_picture_and_no_tower(tmp_path: Path) -> None:
    rows = [{"text": f"t{row}", "positive": f"p{row}", "no": f"n{row}"} for row in range(12)]
    file = write_lines(tmp_path / "a.jsonl", rows)
    made = wanting(recipe(file, columns={"negatives": "no"}), ("text.0", "text.1", "text.2"))
    data = build_train_data(made, None, CharacterTokenizer())
    (batch,) = _draw(data, 1)
    assert (batch.images, batch.image_rows, batch.text_rows) == ((), None, None)
    for prefix, tokens in zip("tpn", batch.texts, strict=True):
        assert texts_of(tokens) == [f"{prefix}{sample}" for sample in batch.sample_ids.tolist()]


def test_pictures_alone_need_no_text_and_no_tower() -> None:
    made = wanting(recipe("digits", columns={"text": False, "label": False, "group": False}, image_views=VIEWS), SIMCLR)
    data = build_train_data(made, PREPROCESSING, None)
    assert (data.num_rows, data.num_groups, data.class_names) == (1_797, 1_797, ())
    (batch,) = _draw(data, 1)
    assert (batch.texts, batch.labels, batch.text_rows) == ((), None, None)
    assert [view.shape[-1] for view in batch.images] == [8, 6]


def test_no_more_views_are_drawn_than_objectives_name(tmp_path: Path) -> None:
    views = [{}, {"size": 4, "count": 3}]
    file = write_pairs(tmp_path)
    for number, objective in ((1, CLIP), (3, ("image.0", "image.2"))):
        (batch,) = _draw(_data(file, objective, image_views=views), 1)
        assert [view.shape[-1] for view in batch.images] == [8, 4, 4][:number]


def test_tower_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    made = wanting(recipe(write_pairs(tmp_path)), CLIP)
    with pytest.raises(UserError, match=r"objectives.0: fake needs image.0, and the model has no image tower"):
        build_train_data(made, None, CharacterTokenizer())
    with pytest.raises(UserError, match=r"objectives.0: fake needs text.0, and the model has no text tower"):
        build_train_data(made, PREPROCESSING, None)


def test_draws_of_the_first_view_do_not_depend_on_the_others(tmp_path: Path) -> None:
    file, view = write_pairs(tmp_path), {"random_resized_crop": (0.3, 1.0)}
    (one,) = _draw(_data(file, CLIP, image_views=[view]), 1)
    (two,) = _draw(_data(file, CLIP, SIMCLR, image_views=[{**view, "count": 2}]), 1)
    assert torch.equal(one.images[0], two.images[0])
    assert not torch.equal(two.images[0], two.images[1])


def test_missing_picture_does_not_pass_for_a_missing_file(tmp_path: Path) -> None:
    rows = [{"image": None, "text": f"t{row}"} for row in range(8)]
    data = _data(write_lines(tmp_path / "a.jsonl", [*rows, {"image": "gone.png", "text": "x"}]), SIMCSE)
    assert data.num_rows == 9


@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_without_an_optional_text_is_drawn_all_the_same(tmp_path: Path, streaming: bool) -> None:
    rows = [
        {"image": name, "text": f"t{row}", "negatives": [f"n{row}", f"m{row}"] if row % 3 else []}
        for row, name in enumerate(write_pictures(tmp_path, 12))
    ]
    file = write_lines(tmp_path / "a.jsonl", rows)
    data = _data({"path": str(file), "streaming": streaming}, Wants(CLIP, "clip", False, ("text.2",)))
    batches = _draw(data, 2)
    assert sorted(sample for batch in batches for sample in batch.sample_ids.tolist()) == list(range(12))
    for batch in batches:
        assert batch.text_rows is not None
        assert len(batch.text_rows[0]) == 6
        assert len(batch.texts[1]) == 0
        drawn = dict(zip(batch.sample_ids[batch.text_rows[2]].tolist(), texts_of(batch.texts[2]), strict=True))
        assert set(drawn) == {sample for sample in batch.sample_ids.tolist() if sample % 3}
        assert all(text in (f"n{sample}", f"m{sample}") for sample, text in drawn.items())
    if not streaming:
        assert data.is_complete.all()
        assert "8 rows have a hard negative (text.2)" in data.remarks
