from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcl.data.columns import resolve_roles
from mmcl.data.finish import finished
from mmcl.data.row_reader import RowReader
from mmcl.data.rows import BatchBuilder, BatchRequest, BuiltBatch
from mmcl.data.sources import open_source
from mmcl.data.views import ImageView
from mmcl.recipe_data import AffineConfig, ColumnsConfig, ImageViewConfig, SourceConfig
from mmcl.text.prompts import Prompts
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    encoded,
    picture,
    texts_of,
    write_lines,
    write_pairs,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")


def _builder(file: Path, *views: ImageViewConfig, seed: int = 0, max_pixels: int = 10_000) -> BatchBuilder:
    source = open_source(SourceConfig(path=str(file)))
    reader = RowReader(source, resolve_roles(source, ColumnsConfig()))
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
    assert batch.texts[0].strings == ("caption 5", "caption 2", "caption 4")
    assert torch.equal(batch.images[0][1], PREPROCESSING.resize(picture(2)))


def test_sample_looks_the_same_in_any_company(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path), ImageViewConfig(random_resized_crop=(0.2, 1.0)))
    alone, among = builder[_request(4, epoch=3)].batch, builder[_request(9, 0, 4, 7, epoch=3)].batch
    assert alone is not None
    assert among is not None
    assert torch.equal(alone.images[0][0], among.images[0][2])


def test_what_is_left_unfinished_is_the_same_once_it_is_finished(tmp_path: Path) -> None:
    colours = ImageViewConfig(random_resized_crop=(0.5, 1.0), horizontal_flip=0.5, color_jitter=(0.4, 0.4, 0.4, 0.1))
    others = ImageViewConfig(size=20, grayscale=0.5, gaussian_blur=0.5, solarize=0.5)
    builder = _builder(write_pairs(tmp_path), colours, ImageViewConfig(random_resized_crop=(0.5, 1.0)), others)
    done = builder[_request(*range(10))].batch
    builder.leaves_unfinished = True
    left = builder[_request(*range(10))].batch
    assert done is not None
    assert left is not None
    assert [rows is None for rows in left.finishes] == [False, True, False]
    assert finished(done) is done
    assert done.finishes == finished(left).finishes == ()
    for ours, theirs, was_left in zip(finished(left).images, done.images, (True, False, True), strict=True):
        apart = (ours.int() - theirs.int()).abs().float()
        # Pillow keeps hues in 256 levels.
        assert apart.mean() < (2 if was_left else 1e-9)
    assert not torch.equal(left.images[0], done.images[0])


def test_a_view_of_crops_alone_is_never_unfinished(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path), ImageViewConfig(random_resized_crop=(0.5, 1.0)))
    builder.leaves_unfinished = True
    built = builder[_request(1, 2)].batch
    assert built is not None
    assert built.finishes == ()


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


def test_a_row_that_comes_again_in_an_epoch_is_drawn_afresh(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path), ImageViewConfig(random_resized_crop=(0.3, 1.0)))
    built = builder[_request(1, 1, 1, 1, passes=np.array([0, 1, 2, 1]))].batch
    assert built is not None
    first, second, third, again = built.images[0]
    assert torch.equal(second, again)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    plain = builder[_request(1)].batch
    assert plain is not None
    assert torch.equal(plain.images[0][0], first)


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


def _partial(folder: Path, *views: ImageViewConfig, num_texts: int = 1) -> BatchBuilder:
    rows = [
        {"image": name, "text": text, "positive": positive}
        for name, text, positive in (
            ("0.png", "zero", "nought"),
            (None, "one", None),
            ("2.png", "", "deux"),
            ("3.png", None, None),
            (None, "four", "quatre"),
        )
    ]
    write_pictures(folder, 5)
    source = open_source(SourceConfig(path=str(write_lines(folder / "a.jsonl", rows))))
    resolved = resolve_roles(source, ColumnsConfig(), {"positive": ""})
    reader = RowReader(source, resolved, ("image", "text.0", "text.1"))
    made = [ImageView(view, PREPROCESSING) for view in views]
    return BatchBuilder(reader, made, CharacterTokenizer(), 0, 10_000, num_texts, is_partial=True)


def test_partial_batch_says_which_rows_have_what(tmp_path: Path) -> None:
    view = ImageViewConfig(random_resized_crop=(0.2, 1.0))
    batch = _partial(tmp_path, view, view, num_texts=2)[_request(4, 2, 0, 1, 3)].batch
    assert batch is not None
    assert batch.sample_ids.tolist() == [4, 2, 0, 1, 3]
    assert batch.image_rows is not None
    assert batch.text_rows is not None
    assert batch.image_rows.tolist() == [1, 2, 4]
    assert [rows.tolist() for rows in batch.text_rows] == [[0, 2, 3], [0, 1, 2]]
    assert [view.shape for view in batch.images] == [(3, 3, 8, 8)] * 2
    assert [texts_of(tokens)[1:] for tokens in batch.texts] == [["zero", "one"], ["deux", "nought"]]


def test_prompts_go_before_the_texts_of_their_view_and_not_into_the_strings(tmp_path: Path) -> None:
    builder = _partial(tmp_path, num_texts=2)
    builder.tokenizer.prompts = Prompts({"query": "q: ", "document": "d: "}, default="document")
    builder.prompts = ("query", None)
    batch = builder[_request(0, 4)].batch
    assert [texts_of(tokens) for tokens in batch.texts] == [["q: zero", "q: four"], ["d: nought", "d: quatre"]]
    assert [tokens.strings for tokens in batch.texts] == [("zero", "four"), ("nought", "quatre")]


def test_batch_without_a_picture_has_none_of_the_right_size(tmp_path: Path) -> None:
    batch = _partial(tmp_path, ImageViewConfig(), ImageViewConfig(size=5))[_request(1, 4)].batch
    assert batch is not None
    assert [(view.shape, view.dtype) for view in batch.images] == [
        ((0, 3, 8, 8), torch.uint8),
        ((0, 3, 5, 5), torch.uint8),
    ]
    assert batch.image_rows is not None
    assert (batch.image_rows.tolist(), batch.image_rows.dtype) == ([], torch.int64)


def test_batch_without_a_text_has_no_tokens(tmp_path: Path) -> None:
    batch = _partial(tmp_path, ImageViewConfig())[_request(2, 3)].batch
    assert batch is not None
    (tokens,) = batch.texts
    assert (tokens.input_ids.shape, tokens.attention_mask.shape) == ((0, 1), (0, 1))
    assert tokens.input_ids.dtype == tokens.attention_mask.dtype == torch.int64
    assert batch.text_rows is not None
    assert batch.text_rows[0].tolist() == []


def test_row_looks_the_same_in_a_partial_batch(tmp_path: Path) -> None:
    view = ImageViewConfig(random_resized_crop=(0.2, 1.0))
    alone, among = (_partial(tmp_path, view)[_request(*rows, epoch=2)].batch for rows in ((2,), (1, 3, 2)))
    assert alone is not None
    assert among is not None
    assert torch.equal(alone.images[0][0], among.images[0][1])


def test_unreadable_picture_takes_its_caption_along(tmp_path: Path) -> None:
    builder = _partial(tmp_path, ImageViewConfig())
    (tmp_path / "0.png").write_bytes(b"")
    built = builder[_request(0, 1, 3)]
    assert built.batch is not None
    assert built.batch.sample_ids.tolist() == [1, 3]
    assert built.batch.image_rows is not None
    assert built.batch.text_rows is not None
    assert (built.batch.image_rows.tolist(), built.batch.text_rows[0].tolist()) == ([1], [0])
    assert [(record.sample_id, record.reason) for record in built.records] == [(0, "an empty file")]


def test_missing_picture_is_unreadable_where_all_rows_have_one(tmp_path: Path) -> None:
    rows = [{"image": None, "text": "a"}, {"image": encoded(picture(1)), "text": "b"}]
    built = _builder(write_pairs(tmp_path))[_request(0, 1, rows=rows)]
    assert built.batch is not None
    assert (len(built.batch), len(built.batch.images[0]), texts_of(built.batch.texts[0])) == (1, 1, ["b"])
    assert [record.reason for record in built.records] == ["no picture: the value is missing"]


def test_labels_come_with_their_rows(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path))
    (tmp_path / "4.png").unlink()
    batch = builder[_request(5, 4, 2, labels=np.array([7, 8, -1]))].batch
    assert batch is not None
    assert batch.labels is not None
    assert (batch.labels.tolist(), batch.labels.dtype) == ([7, -1], torch.int64)
    assert (batch.image_rows, batch.text_rows) == (None, None)
    plain = builder[_request(5)].batch
    assert plain is not None
    assert plain.labels is None


def test_each_view_is_of_its_own_size_and_draw(tmp_path: Path) -> None:
    crop = {"random_resized_crop": (0.2, 1.0)}
    views = [ImageViewConfig(**crop), ImageViewConfig(**crop), ImageViewConfig(size=4, **crop)]
    batch = _builder(write_pairs(tmp_path), *views)[_request(1, 2)].batch
    assert batch is not None
    assert [view.shape[-1] for view in batch.images] == [8, 8, 4]
    assert not torch.equal(batch.images[0], batch.images[1])


def test_decoded_pictures_are_kept_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = _builder(write_pairs(tmp_path), ImageViewConfig(affine=AffineConfig(degrees=40)))
    first = builder[_request(1, 2, 4)]
    read, seen = builder.reader.read, []
    monkeypatch.setattr(
        builder.reader, "read", lambda rows, *more: seen.append((rows.tolist(), *more)) or read(rows, *more)
    )
    for index in (1, 2, 4):
        (tmp_path / f"{index}.png").unlink()
    assert _same(first, builder[_request(1, 2, 4)])
    mixed = builder[_request(2, 7)].batch
    assert mixed is not None
    assert texts_of(mixed.texts[0]) == ["caption 2", "caption 7"]
    assert [call for call in seen if call[0]] == [([1, 2, 4], False), ([7], True), ([2], False)]


def test_pictures_of_a_stream_are_not_kept(tmp_path: Path) -> None:
    builder = _builder(write_pairs(tmp_path))
    for seed in (1, 2):  # another picture at the same place, as of a stream that changed between its passes
        batch = builder[_request(0, rows=[{"image": encoded(picture(seed)), "text": "a"}])].batch
        assert batch is not None
        assert torch.equal(batch.images[0][0], PREPROCESSING.resize(picture(seed)))
