from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcl.data.columns import resolve_roles
from mmcl.data.held_out import HeldOut, hold_out
from mmcl.data.look import look_at_rows
from mmcl.data.sources import open_source
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import write_lines, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")


def _held_out(file: Path, **columns: Any) -> HeldOut:
    source = open_source(SourceConfig(path=str(file)))
    return hold_out(look_at_rows(source, resolve_roles(source, ColumnsConfig(**columns)), "data.columns", 10**6))


def _table(folder: Path, number: int = 240, group_size: int = 2) -> Path:
    name = write_pictures(folder, 1)[0]
    rows = [
        {"image": name, "text": f"hat {row}" if row % 3 else "", "group": f"g{row // group_size}", "label": "x"}
        for row in range(number)
    ]
    return write_lines(folder / "a.jsonl", rows)


def test_whole_groups_of_usable_rows_are_held_out(tmp_path: Path) -> None:
    held = _held_out(_table(tmp_path))
    groups = np.arange(240) // 2
    usable = np.arange(240) % 3 > 0
    assert set(groups[held.rows]).isdisjoint(groups[usable & ~held.rows])
    assert not held.rows[~usable].any()
    assert held.num_train_rows == 160 - held.rows.sum()
    assert held.said == f"Held out: {len(set(groups[held.rows]))} of 120 groups, {held.rows.sum()} of 160 rows."
    assert len(set(groups[held.rows])) >= 10


def test_rows_that_are_groups_of_their_own_are_counted_once(tmp_path: Path) -> None:
    held = _held_out(_table(tmp_path), group=False)
    assert held.said == f"Held out: {held.rows.sum()} of 160 rows."


def test_too_few_groups_hold_nothing_out(tmp_path: Path) -> None:
    held = _held_out(_table(tmp_path, 30, group_size=10))
    assert (held.share, held.rows.any(), held.num_train_rows) == (0.0, False, 20)
    assert held.said == "Nothing is held out: fewer than 10 of 3 groups would be, too few to judge by."


def test_nothing_is_held_out_that_no_task_judges(tmp_path: Path) -> None:
    table = _table(tmp_path)
    alone = [_held_out(table, image=False), _held_out(table, text=False, label=False)]
    assert [(held.share, held.rows.any()) for held in alone] == [(0.0, False)] * 2
    assert [held.said for held in alone] == [
        "Nothing is held out: by default no task judges texts alone.",
        "Nothing is held out: by default no task judges pictures that have neither captions nor labels.",
    ]
    assert _held_out(table, text=False).share > 0
