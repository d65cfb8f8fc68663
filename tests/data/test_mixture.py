from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcl.batch import PairBatch
from mmcl.data.evaluation_rows import validation_rows
from mmcl.data.loader import TrainData, build_train_data
from mmcl.data.plans import IndexedPlan
from mmcl.data.split import is_held_out
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    Wants,
    recipe,
    texts_of,
    wanting,
    write_lines,
    write_pairs,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")

CLIP, SIMCLR = ("image.0", "text.0"), ("image.0", "image.1")
VIEWS = [{"random_resized_crop": (0.3, 1.0)}, {"size": 6}]


def _recipe(train: Any, *objectives: Any, **fields: Any) -> Recipe:
    made = recipe(train, **{"image_views": VIEWS, "batch_size": 8, **fields})
    return wanting(made, *(objectives or (CLIP,)))


def _data(train: Any, *objectives: Any, **fields: Any) -> TrainData:
    return build_train_data(_recipe(train, *objectives, **fields), PREPROCESSING, CharacterTokenizer())


def _rows(folder: Path, name: str, number: int, **cells: Any) -> Path:
    """Pairs of a picture and the caption ``<name> <row>``, or other cells; a callable one is given the row."""
    rows = [
        {"image": picture, "text": f"{name} {row}"}
        | {key: cell(row) if callable(cell) else cell for key, cell in cells.items()}
        for row, picture in enumerate(write_pictures(folder / name, number))
    ]
    return write_lines(folder / name / f"{name}.jsonl", rows)


@pytest.fixture
def mixed(tmp_path: Path) -> list[Any]:
    """60 rows of weight 1, 10 of weight 0.5 and 200 that are replayed, of weight 0.5: 4, 2 and 2 of 8."""
    return [
        {"path": str(_rows(tmp_path, "shop", 60)), "weight": 1},
        {"path": str(_rows(tmp_path, "few", 10)), "weight": 0.5},
        {"path": str(_rows(tmp_path, "old", 200)), "weight": 0.5, "replay": True},
    ]


def _draw(data: TrainData, number: int, start: int = 0, rank: int = 0, world_size: int = 1) -> list[PairBatch]:
    return list(islice(data.batches(start, rank, world_size), number))


def _is_same(one: PairBatch, other: PairBatch) -> bool:
    pairs = [(one.sample_ids, other.sample_ids), (one.group_ids, other.group_ids)]
    pairs += zip(one.images, other.images, strict=True)
    pairs += [(a.input_ids, b.input_ids) for a, b in zip(one.texts, other.texts, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_every_batch_holds_each_source_by_its_weight(mixed: list[Any], world_size: int) -> None:
    data = _data(mixed)
    parts = [_draw(data, 20, rank=rank, world_size=world_size) for rank in range(world_size)]
    for batch in zip(*parts, strict=True):
        ids = torch.cat([part.sample_ids for part in batch])
        assert [int(((ids >= first) & (ids < end)).sum()) for first, end in ((0, 60), (60, 70), (70, 270))] == [4, 2, 2]
        assert len(set(ids.tolist())) == 8


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}])
def test_batches_do_not_depend_on_processes_workers_or_where_one_begins(
    mixed: list[Any], options: dict[str, Any]
) -> None:
    whole = _draw(_data(mixed), 20)  # over the end of an epoch of 15
    data = _data(mixed, **options)
    for start in (4, 17):
        assert all(map(_is_same, whole[start:], _draw(data, 20 - start, start)))
    parts = [_draw(data, 6, 11, rank, 2) for rank in range(2)]
    for one, *shares in zip(whole[11:17], *parts, strict=True):
        assert one.sample_ids.tolist() == [row for share in shares for row in share.sample_ids.tolist()]
        assert torch.equal(one.images[0], torch.cat([share.images[0] for share in shares]))
        texts = [text for share in shares for text in texts_of(share.texts[0])]
        assert texts_of(one.texts[0]) == texts


def test_an_epoch_draws_all_that_is_no_replay_and_small_sources_come_again_drawn_afresh(mixed: list[Any]) -> None:
    data = _data(mixed)
    assert data.steps_per_epoch == 60 // 4
    batches = _draw(data, 15)
    ids = torch.cat([batch.sample_ids for batch in batches])
    counts = torch.bincount(ids, minlength=270)
    assert counts[:60].tolist() == [1] * 60
    assert counts[60:70].tolist() == [3] * 10
    assert counts[70:].max() == 1
    pictures = torch.cat([batch.images[0] for batch in batches])[ids == 64]
    assert len({one.numpy().tobytes() for one in pictures}) == 3
    assert data.remarks[:3] == (
        "60 rows of shop.jsonl   image <- image   text <- text   4 of the 8 in every batch, each 1.00 times an epoch",
        "10 rows of few.jsonl   image <- image   text <- text   2 of the 8 in every batch, each 3.00 times an epoch",
        "200 rows of old.jsonl   image <- image   text <- text   2 of the 8 in every batch, each 0.15 times an epoch"
        "   replay",
    )


def test_sources_without_a_weight_are_one_whose_rows_all_come_once(tmp_path: Path) -> None:
    files = [str(_rows(tmp_path, name, number)) for name, number in (("a", 30), ("b", 10))]
    data = _data(files)
    assert data.steps_per_epoch == 5
    assert sorted(torch.cat([batch.sample_ids for batch in _draw(data, 5)]).tolist()) == list(range(40))
    assert data.remarks[1].endswith("about 2.0 of the 8 in every batch, each 1.00 times an epoch")
    weighted = _data([*files, {"path": str(_rows(tmp_path, "c", 50)), "weight": 3}])
    ids = torch.stack([batch.sample_ids for batch in _draw(weighted, 8)])
    assert ((ids < 40).sum(1) == 2).all()
    for options in ({"unique_groups": True}, {"paired_per_batch": 4}):
        whole = [*files, str(write_lines(tmp_path / "texts.jsonl", [{"text": f"t {row}"} for row in range(20)]))]
        data = _data(whole, CLIP, ("text.0",), **options)
        (batch, *_) = _draw(data, 1)
        assert len(batch.group_ids.unique()) == 8
        assert "about 4.0 of the 8 in every batch" in data.remarks[0]


def test_one_source_alone_is_drawn_as_if_it_were_no_list(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 40, 30)
    listed, alone = _data([str(file)]), _data(str(file))
    assert all(map(_is_same, _draw(listed, 7), _draw(alone, 7)))
    assert (listed.fingerprint(), listed.remarks) == (alone.fingerprint(), alone.remarks)


def test_group_columns_of_different_sources_name_different_groups_and_equal_captions_one(tmp_path: Path) -> None:
    numbered = [str(_rows(tmp_path, name, 12, group=lambda row: row // 2)) for name in ("a", "b")]
    groups = _data(numbered).group_ids
    assert len(np.unique(groups)) == 12
    assert len(np.unique(groups[:12])) == 6
    assert (groups[:12] == _data(numbered[0]).group_ids).all()
    captioned = [str(_rows(tmp_path, name, 12, text=lambda row: f"caption {row}")) for name in ("c", "d")]
    groups = _data(captioned).group_ids
    assert (groups[:12] == groups[12:]).all()
    rows = _data(captioned, columns={"group": False}).group_ids
    assert len(np.unique(rows)) == 24


def test_labels_are_one_class_where_their_names_are_equal(tmp_path: Path) -> None:
    train = [
        str(_rows(tmp_path, "a", 8, label=lambda row: ["hat", "cat"][row % 2])),
        str(_rows(tmp_path, "b", 8)),
        str(_rows(tmp_path, "c", 8, kind=lambda row: ["hat", "bag", None, "cat"][row % 4])),
    ]
    train[2] = {"path": train[2], "columns": {"label": "kind"}}  # type: ignore[call-overload]
    data = _data(train, Wants(CLIP, "sup_con", True))
    assert data.class_names == ("cat", "hat", "bag")
    names = {}
    for batch in _draw(data, 3):
        assert batch.labels is not None
        names |= dict(zip(batch.sample_ids.tolist(), batch.labels.tolist(), strict=True))
    assert [names[row] for row in range(24)] == [1, 0] * 4 + [-1] * 8 + [1, 2, -1, 0] * 2


def test_sources_that_lack_a_column_make_partly_paired_data(tmp_path: Path) -> None:
    photos = [{"photo": name} for name in write_pictures(tmp_path / "photos", 16)]
    train = [
        {"path": str(_rows(tmp_path, "shop", 16)), "weight": 1},
        {
            "path": str(write_lines(tmp_path / "photos/photos.jsonl", photos)),
            "weight": 1,
            "columns": {"image": "photo"},
        },
    ]
    data = _data(train, CLIP, SIMCLR)
    assert data.is_partial
    for batch in _draw(data, 4):
        assert batch.text_rows is not None
        assert batch.image_rows is not None
        assert len(batch.image_rows) == 8
        assert (batch.sample_ids[batch.text_rows[0]] < 16).all()
        assert len(batch.text_rows[0]) == 4
    with pytest.raises(
        UserError, match=r"data.train.1: photos.jsonl has not the columns of any objective \(image <- p"
    ):
        _data(train, CLIP)
    with pytest.raises(UserError, match=r'fake needs text.0, and photos.jsonl has no column "text"'):
        _data(train[1:], CLIP, SIMCLR)


def test_replay_is_learnt_from_and_neither_held_out_nor_judged(mixed: list[Any]) -> None:
    made = _recipe(mixed, validation=0.3)
    data = build_train_data(made, PREPROCESSING, CharacterTokenizer())
    assert len(data.held_out)
    assert data.held_out.max() < 70
    assert isinstance(data.plan, IndexedPlan)
    assert sorted([*data.plan.positions.tolist(), *data.held_out.tolist()]) == list(range(270))
    rows = validation_rows(made, data)
    assert rows is not None
    assert rows.name == "shop.jsonl + few.jsonl"
    held = [f"shop {row}" if row < 60 else f"few {row - 60}" for row in data.held_out.tolist()]
    assert rows.texts == [[text] for text in held]
    assert len(rows.images) == len(held) == len(set(rows.ids))
    assert rows.images[len(held) - 1].size == (12, 10)


def test_replayed_rows_of_a_group_that_is_held_out_are_not_learnt_from(tmp_path: Path) -> None:
    train = [
        {"path": str(_rows(tmp_path, "a", 40, text=lambda row: f"caption {row}")), "weight": 1},
        {
            "path": str(_rows(tmp_path, "b", 40, text=lambda row: f"caption {row + 20}")),
            "weight": 1,
            "replay": True,
        },
    ]
    data = _data(train, validation=0.3)
    held = is_held_out(data.group_ids, 0.3)
    assert data.held_out.tolist() == np.flatnonzero(held[:40]).tolist()
    num_known = int(held[40:60].sum())
    assert num_known
    assert data.num_rows == 80 - int(held[:40].sum()) - num_known
    assert f"{num_known} rows of the replay are left out, because their groups are held out" in data.remarks


def test_rows_in_quarantine_are_named_by_their_own_source(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _rows(tmp_path, name, 12)
        (tmp_path / name / f"{name}.jsonl").rename(tmp_path / name / "rows.jsonl")
    (tmp_path / "b/3.png").write_text("no picture")
    lines = (tmp_path / "b/rows.jsonl").read_text().splitlines()
    (tmp_path / "b/rows.jsonl").write_text("\n".join([lines[0].replace("b 0", ""), *lines[1:]]) + "\n")
    data = _data([str(tmp_path / name / "rows.jsonl") for name in ("a", "b")], max_unreadable=1)
    data.quarantine.write_to(tmp_path)
    _draw(data, 4)
    records = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert {(record["sample_id"], record["source"]) for record in records} == {
        (0, "rows.jsonl (data.train.1)"),
        (3, "rows.jsonl (data.train.1)"),
    }


def test_shares_that_cannot_be_drawn_are_an_error(tmp_path: Path) -> None:
    shop, few = (str(_rows(tmp_path, name, number)) for name, number in (("shop", 40), ("few", 3)))
    with pytest.raises(
        UserError, match=r"data.train.1: few.jsonl has 3 rows to learn from, .* share is 4 of the 8 rows"
    ):
        _data([shop, {"path": few, "weight": 1}])
    with pytest.raises(UserError, match=r"data.train.1: the share of few.jsonl is less than one of the 8 rows"):
        _data([shop, {"path": few, "weight": 0.01}])
    with pytest.raises(UserError, match=r'data.train.1.columns.text: no column "titel" in few.jsonl'):
        _data([shop, {"path": few, "columns": {"text": "titel"}}])


def test_fingerprint_changes_with_the_sources_and_their_shares(tmp_path: Path, mixed: list[Any]) -> None:
    swapped = [mixed[1], mixed[0], mixed[2]]
    unweighted = [{**source, "weight": None, "replay": False} for source in mixed]
    assert len({_data(train).fingerprint() for train in (mixed, swapped, unweighted, mixed[:2])}) == 4


def test_prompts_of_class_names_go_beside_the_captions_of_another_source(tmp_path: Path) -> None:
    labelled = _rows(tmp_path, "labelled", 20, text=None, label=lambda row: ("cat", "dog")[row % 2])
    captioned = _rows(tmp_path, "captioned", 20)
    train = [
        {"path": str(labelled), "weight": 1},
        {"path": str(captioned), "weight": 1, "columns": {"text": "text"}},
    ]
    data = _data(train, caption_templates=("a {}.", "my {}!"), validation=0)
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for batch in _draw(data, 20):
        for row, text in zip(batch.sample_ids.tolist(), texts_of(batch.texts[0]), strict=True):
            seen[row < 20].add(text)
    assert seen[True] == {"a cat.", "a dog.", "my cat!", "my dog!"}
    assert seen[False] == {f"captioned {row}" for row in range(20)}


def test_prompts_of_class_names_need_no_captions_and_a_source_without_labels_has_none(tmp_path: Path) -> None:
    labelled = _rows(tmp_path, "labelled", 20, text=None, label=lambda row: ("cat", "dog")[row % 2])
    bare = _rows(tmp_path, "bare", 20, text=None)
    data = _data([str(labelled), str(bare)], CLIP, SIMCLR, caption_templates=("a {}.",), validation=0)
    assert [each.roles.described() for each in data.sources] == [
        "image <- image   label <- label   text <- 1 templates of label",
        "image <- image",
    ]
    with pytest.raises(UserError, match=r"caption_templates are filled with the label, and bare.jsonl .* no column"):
        _data([str(bare), str(bare)], CLIP, SIMCLR, caption_templates=("a {}.",), validation=0)
