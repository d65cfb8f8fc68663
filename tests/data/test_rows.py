from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcl.data.columns import resolve_roles
from mmcl.data.rows import BatchBuilder, BatchRequest, BuiltBatch, RowReader
from mmcl.data.sources import open_source
from mmcl.data.views import ImageView
from mmcl.recipe_data import AffineConfig, ColumnsConfig, ImageViewConfig, SourceConfig
from tests.data.builders import PREPROCESSING, CharacterTokenizer, encoded, picture, texts_of, write_lines, write_pairs

pytestmark = pytest.mark.usefixtures("empty_cache")


def _builder(file: Path, *views: ImageViewConfig, seed: int = 0, max_pixels: int = 10_000) -> BatchBuilder:
    source = open_source(SourceConfig(path=str(file)))
    reader = RowReader(source, resolve_roles(source, ColumnsConfig(), ("text",)))
    made = [ImageView(view, PREPROCESSING) for view in views or (ImageViewConfig(),)]
    return BatchBuilder(reader, made, CharacterTokenizer(), seed, max_pixels)


def _request(*positions: int, epoch: int = 0, **options: Any) -> BatchRequest:
    rows = np.array(positions, dtype=np.int64)
    return BatchRequest(7, epoch, rows, rows * 10, **options)


def _same(one: BuiltBatch, other: BuiltBatch) -> bool:
    assert one.batch is not None
    assert other.batch is not None
    return all(torch.equal(a, b) for a, b in zip(one.batch.images, other.batch.images, strict=True)) and torch.equal(
        one.batch.texts[0].input_ids, other.batch.texts[0].input_ids
    )


def test_batch_holds_what_was_asked_for(tmp_path: Path) -> None:
    built = _builder(write_pairs(tmp_path))[_request(5, 2, 4)]
    batch = built.batch
    assert batch is not None
    assert (built.step, built.records, built.num_seen) == (7, (), 3)
    assert batch.sample_ids.tolist() == [5, 2, 4]
    assert batch.group_ids.tolist() == [50, 20, 40]
    assert texts_of(batch.texts[0]) == ["caption 5", "caption 2", "caption 4"]
    assert torch.equal(batch.images[0][1], PREPROCESSING.resize(picture(2)))


def test_sample_looks_the_same_in_any_company(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path), ImageViewConfig(random_resized_crop=(0.2, 1.0)))
    alone, among = builder[_request(4, epoch=3)].batch, builder[_request(9, 0, 4, 7, epoch=3)].batch
    assert alone is not None
    assert among is not None
    assert torch.equal(alone.images[0][0], among.images[0][2])


def test_views_epochs_and_seeds_differ(tmp_path: Path) -> None:
    file, view = write_pairs(tmp_path), ImageViewConfig(affine=AffineConfig(degrees=40))
    builder = _builder(file, view, view)
    first, again, later = builder[_request(1, 2)], builder[_request(1, 2)], builder[_request(1, 2, epoch=1)]
    assert _same(first, again)
    assert not _same(first, later)
    assert not _same(first, _builder(file, view, view, seed=1)[_request(1, 2)])
    assert first.batch is not None
    assert not torch.equal(*first.batch.images)


def test_one_of_several_captions_is_drawn_by_epoch(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path))
    drawn = []
    for epoch in range(40):
        batch = builder[_request(3, epoch=epoch)].batch
        assert batch is not None
        drawn += texts_of(batch.texts[0])
    assert 8 < drawn.count("caption 3") < 32
    assert set(drawn) == {"caption 3", "other 3"}


def test_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path), ImageViewConfig(random_resized_crop=(0.2, 1.0)))
    before = torch.get_rng_state()
    builder[_request(1)]
    assert torch.equal(torch.get_rng_state(), before)


def test_unreadable_picture_leaves_its_batch_with_a_reason(tmp_path: Path) -> None:
    file = write_pairs(tmp_path)
    (tmp_path / "4.png").write_bytes(encoded(picture(4, (64, 64)), "JPEG")[:800])
    (tmp_path / "5.png").unlink()
    (tmp_path / "6.png").write_bytes(encoded(picture(6, (200, 100))))
    built = _builder(file)[_request(3, 4, 5, 6, 7, epoch=2)]
    assert built.batch is not None
    assert built.batch.sample_ids.tolist() == [3, 7] == (built.batch.group_ids // 10).tolist()
    assert len(built.batch) == len(built.batch.images[0]) == len(built.batch.texts[0])
    assert [(record.sample_id, record.epoch) for record in built.records] == [(4, 2), (5, 2), (6, 2)]
    assert [record.path for record in built.records] == [str(tmp_path / f"{index}.png") for index in (4, 5, 6)]
    for record, reason in zip(built.records, ("truncated", "no such file", "too large: 200 x 100"), strict=True):
        assert reason in record.reason
    assert built.num_seen == 5


def test_nothing_readable_is_no_batch(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"image": "gone.png", "text": "x"}])
    built = _builder(file)[_request(0)]
    assert built.batch is None
    assert len(built.records) == 1


def test_rows_of_a_stream_come_with_the_request(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path))
    rows = [{"image": encoded(picture(1)), "text": "a text"}]
    batch = builder[_request(99, rows=rows)].batch
    assert batch is not None
    assert texts_of(batch.texts[0]) == ["a text"]
    assert torch.equal(batch.images[0][0], PREPROCESSING.resize(picture(1)))
