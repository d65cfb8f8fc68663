from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcl.batch import PairBatch
from mmcl.data.hashing import stable_id
from mmcl.data.loader import TrainData, build_train_data
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.text.prompts import Prompts
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    encoded,
    picture,
    recipe,
    texts_of,
    wanting,
    write_lines,
    write_pairs,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")

VIEWS = [{"random_resized_crop": (0.3, 1.0)}, {"affine": {"degrees": 20}}]


def _data(train: Recipe, max_length: int = 32) -> TrainData:
    return build_train_data(train, PREPROCESSING, CharacterTokenizer(max_length))


def _draw(data: TrainData, number: int, start: int = 0, rank: int = 0, world_size: int = 1) -> list[PairBatch]:
    return list(islice(data.batches(start, rank, world_size), number))


def _assert_equal(one: PairBatch, other: PairBatch) -> None:
    assert one.sample_ids.tolist() == other.sample_ids.tolist()
    assert one.group_ids.tolist() == other.group_ids.tolist()
    assert all(torch.equal(a, b) for a, b in zip(one.images, other.images, strict=True))
    assert texts_of(one.texts[0]) == texts_of(other.texts[0])


def _joined(parts: list[PairBatch]) -> PairBatch:
    ids, groups = (torch.cat([getattr(part, name) for part in parts]) for name in ("sample_ids", "group_ids"))
    images = tuple(torch.cat(views) for views in zip(*(part.images for part in parts), strict=True))
    texts = [text for part in parts for text in texts_of(part.texts[0])]
    return PairBatch(images, (CharacterTokenizer()(texts),), groups, ids)


@pytest.mark.parametrize("streaming", [False, True])
def test_two_workers_give_the_batches_of_none(tmp_path: Path, streaming: bool) -> None:
    train = {"path": str(write_pairs(tmp_path)), "streaming": streaming}
    alone, helped = (_data(recipe(train, image_views=VIEWS, num_workers=number)) for number in (0, 2))
    for one, other in zip(_draw(alone, 9), _draw(helped, 9), strict=True):
        _assert_equal(one, other)


@pytest.mark.slow
def test_workers_end_with_a_killed_trainer(tmp_path: Path) -> None:
    code = f"from tests.data.test_loader import wait_with_workers; wait_with_workers({str(write_pairs(tmp_path))!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        workers = [int(pid) for pid in trainer.stdout.readline().split()]
        trainer.kill()
    deadline = time.monotonic() + 30
    while any(map(_is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [_is_alive(pid) for pid in workers] == [False, False]


def wait_with_workers(train: str) -> None:
    """Draw a batch by two workers, print their process ids, and wait to be killed."""
    batches = _data(recipe({"path": train}, image_views=VIEWS, num_workers=2)).batches()
    next(batches)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)  # noqa: T201
    time.sleep(600)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("streaming", [False, True])
def test_resume_from_any_step_gives_the_uninterrupted_batches(tmp_path: Path, streaming: bool) -> None:
    train = {"path": str(write_pairs(tmp_path, 14)), "streaming": streaming}
    data = _data(recipe(train, image_views=VIEWS))
    whole = _draw(data, 9)  # three batches in an epoch
    for start in range(9):
        for one, other in zip(whole[start:], _draw(data, 9 - start, start), strict=True):
            _assert_equal(one, other)


@pytest.mark.parametrize("options", [{"streaming": True}, {}])
@pytest.mark.parametrize("world_size", [2, 4])
def test_parts_of_all_ranks_are_the_whole_batch(tmp_path: Path, options: dict[str, Any], world_size: int) -> None:
    train = {"path": str(write_pairs(tmp_path)), **options}
    data = _data(recipe(train, image_views=VIEWS))
    parts = [_draw(data, 7, rank=rank, world_size=world_size) for rank in range(world_size)]
    for whole, *shares in zip(_draw(data, 7), *parts, strict=True):
        _assert_equal(whole, _joined(shares))


def test_each_epoch_draws_every_row_in_another_order(tmp_path: Path) -> None:
    data = _data(recipe(write_pairs(tmp_path, 24)))
    assert (data.steps_per_epoch, data.num_rows, data.num_groups) == (6, 24, 24)
    ids = torch.cat([batch.sample_ids for batch in _draw(data, 12)]).tolist()
    assert sorted(ids[:24]) == sorted(ids[24:]) == list(range(24))
    assert ids[:24] != ids[24:]


def test_drawing_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    data = _data(recipe(write_pairs(tmp_path), image_views=VIEWS))
    before = torch.get_rng_state()
    _draw(data, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_resume_reads_no_skipped_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _data(recipe(write_pairs(tmp_path, 24)))
    read, seen = data.builder.reader.read, []
    monkeypatch.setattr(
        data.builder.reader, "read", lambda rows, *more: seen.extend(rows.tolist()) or read(rows, *more)
    )
    (batch,) = _draw(data, 1, start=11)
    assert seen == batch.sample_ids.tolist()


def test_unique_groups_never_meet(tmp_path: Path) -> None:
    data = _data(recipe(write_pairs(tmp_path, 40, num_groups=8), unique_groups=True))
    assert all(len(batch.group_ids.unique()) == 4 for batch in _draw(data, 20))
    assert data.num_groups == 8


def test_groups_are_ids_of_the_column(tmp_path: Path) -> None:
    (batch,) = _draw(_data(recipe(write_pairs(tmp_path, 4))), 1)
    expected = [stable_id(f"g{sample}") for sample in batch.sample_ids.tolist()]
    assert batch.group_ids.dtype == torch.int64
    assert batch.group_ids.tolist() == expected


def test_held_out_groups_are_whole_and_never_drawn(tmp_path: Path) -> None:
    data = _data(recipe(write_pairs(tmp_path, 60, num_groups=20), validation=0.3))
    drawn = {row for batch in _draw(data, data.steps_per_epoch or 0) for row in batch.sample_ids.tolist()}
    held_out = set(data.held_out.tolist())
    assert held_out
    assert not drawn & held_out
    assert not {row % 20 for row in range(60) if row not in held_out} & {row % 20 for row in held_out}
    assert any(remark.startswith(f"held out: {len(held_out)} rows of") for remark in data.remarks)


def test_unreadable_picture_is_left_out_and_written_down(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 24)
    (tmp_path / "4.png").write_bytes(encoded(picture(4, (64, 64)), "JPEG")[:800])
    for num_workers in (0, 2):
        run = tmp_path / f"run{num_workers}"
        run.mkdir()
        data = _data(recipe(file, max_unreadable=0.2, num_workers=num_workers))
        data.quarantine.write_to(run)
        sizes = [len(batch) for batch in _draw(data, 12)]
        assert sorted(sizes) == [3, 3] + [4] * 10
        lines = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
        assert [(line["sample_id"], line["epoch"]) for line in lines] == [(4, 0), (4, 1)]
        assert "truncated" in lines[0]["reason"]
        assert lines[0]["path"].endswith("4.png")


def test_too_many_unreadable_pictures_stop_the_run(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 24)
    for index in (4, 9, 14):
        (tmp_path / f"{index}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"data.max_unreadable: 3 of \d+ rows .* more than the 10.00% .* an empty file"):
        _draw(_data(recipe(file, max_unreadable=0.1)), 6)


def test_batch_without_a_readable_picture_is_an_error(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 4)
    data = _data(recipe(file, max_unreadable=1.0))
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(b"")
    with pytest.raises(UserError, match="step 0: none of the 4 rows can be read; the last: an empty file"):
        _draw(data, 1)


def test_picture_of_400_million_pixels_is_left_out(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 8)
    header = bytearray(encoded(picture()))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    (tmp_path / "3.png").write_bytes(header)
    data = _data(recipe(file, max_unreadable=0.5))
    _draw(data, 2)
    assert data.quarantine.num_quarantined == 1


def test_missing_captions_never_train(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 12)
    text = "".join(f"{name},{'' if index == 5 else f'text {index}'}\n" for index, name in enumerate(names))
    (tmp_path / "a.csv").write_text("image,text\n" + text)
    data = _data(recipe(tmp_path / "a.csv", max_unreadable=0.1, batch_size=11))
    data.quarantine.write_to(tmp_path)
    drawn = [caption for batch in _draw(data, 3) for caption in texts_of(batch.texts[0])]
    assert data.num_rows == 11
    assert "nan" not in drawn
    assert len(set(drawn)) == 11
    (line,) = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "sample_id": 5,
        "epoch": None,
        "reason": "the caption is missing or empty",
        "source": "a.csv",
    }
    assert "1 rows without a usable caption are left out" in data.remarks
    with pytest.raises(UserError, match=r"1 of 12 rows cannot be used, more than the 1.00% allowed"):
        _data(recipe(tmp_path / "a.csv"))


@pytest.mark.parametrize("streaming", [False, True])
def test_batch_larger_than_the_data_is_an_error(tmp_path: Path, streaming: bool) -> None:
    train = {"path": str(write_pairs(tmp_path, 6)), "streaming": streaming}
    with pytest.raises(UserError, match=r"^batch_size: .*8"):
        _draw(_data(recipe(train, batch_size=8)), 1)


def test_missing_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'data.columns.text: no column "txt" in pairs.jsonl .* Did you mean "text"\?'):
        _data(recipe(write_pairs(tmp_path), columns={"text": "txt"}))


def test_caption_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (name,) = write_pictures(tmp_path, 1)
    file = write_lines(tmp_path / "a.jsonl", [{"image": name, "text": 5}])
    with pytest.raises(UserError, match=r'data.columns.text: "text" in a.jsonl holds int64, not text'):
        _data(recipe(file))


def test_wrong_image_folder_is_found_before_anything_starts(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 6)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"none of the 6 pictures looked for is there, .*; set data.train.image_root"):
        _data(recipe({"path": str(file), "image_root": str(tmp_path / "elsewhere")}))


def test_uneven_share_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size: 4 cannot be shared evenly by 3 processes"):
        _draw(_data(recipe(write_pairs(tmp_path))), 1, world_size=3)


def test_rows_cannot_be_held_out_of_a_stream(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.validation: rows cannot be held out of a stream"):
        _data(recipe({"path": str(write_pairs(tmp_path)), "streaming": True}, validation=0.1))


def test_captions_that_are_cut_are_counted(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 10)
    rows = [{"image": name, "text": "x" * (20 if index < 3 else 12)} for index, name in enumerate(names)]
    data = _data(recipe(write_lines(tmp_path / "a.jsonl", rows)), max_length=16)
    assert "30.0% of the captions are longer than 16 tokens and are cut" in data.remarks
    assert not any("longer" in remark for remark in _data(recipe(tmp_path / "a.jsonl"), max_length=20).remarks)


def test_rows_with_one_caption_are_one_group(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 6)
    rows = [{"image": name, "text": f"Text {index // 2}"} for index, name in enumerate(names)]
    data = _data(recipe(write_lines(tmp_path / "a.jsonl", rows), batch_size=6))
    (batch,) = _draw(data, 1)
    assert data.num_groups == 3
    np.testing.assert_array_equal(np.unique(batch.group_ids, return_counts=True)[1], [2, 2, 2])


@pytest.mark.parametrize("streaming", [False, True])
def test_several_captions_of_a_row_are_different_and_begin_with_the_one(tmp_path: Path, streaming: bool) -> None:
    rows = [
        {"image": name, "text": [f"{row}.{number}" for number in range(1 + row % 4)]}
        for row, name in enumerate(write_pictures(tmp_path, 12))
    ]
    train = {"path": str(write_lines(tmp_path / "rows.jsonl", rows)), "streaming": streaming}
    (one,) = _draw(_data(recipe(train, batch_size=12)), 1)
    data = _data(recipe(train, batch_size=12, num_captions=3))
    (several,) = _draw(data, 1)
    parts = [_draw(data, 1, rank=rank, world_size=2)[0] for rank in range(2)]
    assert several.has_several_captions
    assert not one.has_several_captions
    assert several.text_rows is not None
    owners = several.text_rows[0].tolist()
    drawn = [
        [text for text, owner in zip(texts_of(several.texts[0]), owners, strict=True) if owner == row]
        for row in range(12)
    ]
    assert [texts[0] for texts in drawn] == texts_of(one.texts[0])
    for sample, texts in zip(several.sample_ids.tolist(), drawn, strict=True):
        assert len(set(texts)) == len(texts) == min(3, 1 + sample % 4)
        assert all(text.startswith(f"{sample}.") for text in texts)
    assert [text for part in parts for text in texts_of(part.texts[0])] == texts_of(several.texts[0])
    assert texts_of(several.part(4, 9).texts[0]) == [text for texts in drawn[4:9] for text in texts]


def test_more_captions_than_an_objective_takes_are_an_error(tmp_path: Path) -> None:
    made = recipe(write_pairs(tmp_path), num_captions=2).model_copy(
        update={"objectives": recipe("x").model_validate({"data": "x", "objectives": ["siglip"]}).objectives}
    )
    with pytest.raises(UserError, match=r"data.num_captions: 2, and only clip takes more than one"):
        _data(made)


def test_prompts_of_the_model_go_before_training_texts_and_leave_groups_as_they_are(tmp_path: Path) -> None:
    rows = [{"text": text, "positive": f"p{text}"} for text in ("one", "two", "one", "four")]
    path = write_lines(tmp_path / "a.jsonl", rows)
    fields = {"objectives": [{"type": "simcse_supervised", "views": ["text.0", "text.1"]}], "batch_size": 4}
    tokenizer = CharacterTokenizer()
    tokenizer.prompts = Prompts({"query": "query: "})
    plain, prompted = (
        build_train_data(
            Recipe.model_validate({"data": {"train": str(path), "validation": 0, **data}, **fields}), None, tokenizer
        )
        for data in ({}, {"prompts": {"anchor": "query"}})
    )
    (without,), (behind,) = _draw(plain, 1), _draw(prompted, 1)
    assert behind.group_ids.tolist() == without.group_ids.tolist()
    assert texts_of(behind.texts[0]) == [f"query: {text}" for text in texts_of(without.texts[0])]
    assert texts_of(behind.texts[1]) == texts_of(without.texts[1])
    assert 'prompts   "query: " before anchor' in prompted.remarks
    assert plain.remarks[-1].startswith("the model has prompts (query)")


@pytest.mark.parametrize("streaming", [False, True])
def test_equal_texts_of_a_batch_have_equal_ids_in_whatever_role(tmp_path: Path, streaming: bool) -> None:
    rows = [{"text": f"T{row}", "positive": f"t{row + 1}", "group": row} for row in range(4)]
    train = {"path": str(write_lines(tmp_path / "rows.jsonl", rows)), "streaming": streaming}

    def ids(**fields: Any) -> list[torch.Tensor | None]:
        data = build_train_data(wanting(recipe(train, **fields), ("text.0", "text.1")), None, CharacterTokenizer())
        (batch,) = _draw(data, 1)
        order = batch.sample_ids.argsort()
        return [None if tokens.text_ids is None else tokens.text_ids[order] for tokens in batch.texts]

    anchors, positives = ids()
    assert anchors is not None
    assert positives is not None
    assert torch.equal(anchors[1:], positives[:-1])
    assert len(set(anchors.tolist())) == 4
    assert len({*(anchors := ids(equal_texts="templated")[0]).tolist()}) == 1
    assert ids(equal_texts="never") == [None, None]
