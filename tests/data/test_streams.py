from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mmcl.data.columns import Roles
from mmcl.data.needs import RowNeeds
from mmcl.data.row_reader import RowReader
from mmcl.data.rows import BatchRequest
from mmcl.data.sources import open_source
from mmcl.data.streams import StreamPlan
from mmcl.errors import UserError
from mmcl.recipe_data import SourceConfig
from tests.data.builders import write_lines

pytestmark = pytest.mark.usefixtures("empty_cache")


def _plan(folder: Path, rows: list[Any], batch_size: int = 4, buffer: int = 10, **options: Any) -> StreamPlan:
    lines = [{"image": f"{i}.png", "text": f"t{i}", "group": f"g{i}"} | row for i, row in enumerate(rows)]
    file = write_lines(folder / "a.jsonl", lines)
    source = open_source(SourceConfig(path=str(file), streaming=True))
    reader = RowReader(source, Roles("image", "text", "group", **options.get("roles", {})))
    needs = RowNeeds(options.get("wanted", (frozenset({"image", "text.0"}),)), 1, 1)
    seed, unique_groups = options.get("seed", 0), options.get("unique_groups", False)
    return StreamPlan(source, reader, needs, batch_size, seed, buffer, unique_groups)


def _ids(requests: list[BatchRequest]) -> list[int]:
    return [position for request in requests for position in request.positions.tolist()]


def test_epoch_draws_each_row_once_shuffled_anew(tmp_path: Path) -> None:
    requests = list(islice(_plan(tmp_path, [{}] * 24).requests(0, 0, 1), 12))
    ids = _ids(requests)
    assert sorted(ids[:24]) == sorted(ids[24:]) == list(range(24))
    assert ids[:24] != ids[24:] != sorted(ids[24:])
    assert [(request.step, request.epoch) for request in requests] == [(step, step // 6) for step in range(12)]


def test_order_is_a_function_of_the_seed(tmp_path: Path) -> None:
    first, again, other = (_plan(tmp_path, [{}] * 24, seed=seed) for seed in (1, 1, 2))
    drawn = [_ids(list(islice(plan.requests(0, 0, 1), 6))) for plan in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_shuffling_stays_within_the_buffer(tmp_path: Path) -> None:
    ids = _ids(list(islice(_plan(tmp_path, [{}] * 40, buffer=5).requests(0, 0, 1), 10)))
    assert all(position <= place + 5 for place, position in enumerate(ids))


def test_rows_leave_the_buffer_in_another_order_each_epoch(tmp_path: Path) -> None:
    ids = _ids(list(islice(_plan(tmp_path, [{}] * 40, buffer=5).requests(0, 0, 1), 20)))
    assert ids[:32] != ids[40:72]  # the last rows of an epoch, which are shuffled otherwise, apart


def test_incomplete_last_batch_is_dropped(tmp_path: Path) -> None:
    requests = list(islice(_plan(tmp_path, [{}] * 11).requests(0, 0, 1), 4))
    assert [request.epoch for request in requests] == [0, 0, 1, 1]
    assert all(len(request.positions) == 4 for request in requests)


def test_unusable_rows_are_told_once_by_the_first_rank(tmp_path: Path) -> None:
    rows = [{"text": None} if index in (3, 9) else {} for index in range(18)]
    plan = _plan(tmp_path, rows)
    first, second = (list(islice(plan.requests(0, rank, 2), 4)) for rank in range(2))
    told = [record.sample_id for request in first for record in request.left_out]
    assert told == [3, 9]
    assert not any(request.left_out for request in second)
    assert not {3, 9} & set(_ids(first) + _ids(second))


def test_unique_groups_wait_for_the_next_batch(tmp_path: Path) -> None:
    plan = _plan(tmp_path, [{"group": f"g{index % 6}"} for index in range(36)], unique_groups=True)
    requests = list(islice(plan.requests(0, 0, 1), 8))
    assert all(len(set(request.group_ids.tolist())) == 4 for request in requests)
    ids = _ids([request for request in requests if request.epoch == 0])
    assert len(set(ids)) == len(ids)


def test_too_few_groups_are_said_before_memory_fills(tmp_path: Path) -> None:
    plan = _plan(tmp_path, [{"group": "one"}] * 40, buffer=10, unique_groups=True)
    with pytest.raises(UserError, match=r"data.unique_groups: more than 10 rows wait .* batch_size of 4"):
        next(plan.requests(0, 0, 1))


def test_stream_without_a_full_batch_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.jsonl does not fill one batch of 4"):
        next(_plan(tmp_path, [{}] * 3).requests(0, 0, 1))


def test_error_within_the_stream_is_one_message(tmp_path: Path) -> None:
    plan = _plan(tmp_path, [{}] * 9)
    (tmp_path / "a.jsonl").write_text("{broken\n")
    with pytest.raises(UserError, match=r"cannot read a.jsonl as a stream"):
        next(plan.requests(0, 0, 1))


def test_rows_are_passed_over_that_no_objective_can_use(tmp_path: Path) -> None:
    rows = [{"text": None} if index % 3 == 0 else {"image": None} if index % 3 == 1 else {} for index in range(12)]
    wanted = (frozenset({"image", "text.0"}), frozenset({"image"}))
    requests = list(islice(_plan(tmp_path, rows, wanted=wanted).requests(0, 0, 1), 2))
    assert sorted(_ids(requests)) == [index for index in range(12) if index % 3 != 1]
    told = [(record.sample_id, record.reason) for request in requests for record in request.left_out]
    assert told == [(index, "the picture is missing") for index in (1, 4, 7, 10)]


def test_labels_are_those_of_a_class_column(tmp_path: Path) -> None:
    rows = [{"label": index % 2 - (index == 3)} for index in range(8)]
    plan = _plan(tmp_path, rows, roles={"label": "label", "label_names": ("a", "b")})
    for request in islice(plan.requests(0, 0, 1), 2):
        assert request.labels is not None
        expected = [position % 2 - (position == 3) for position in request.positions.tolist()]
        assert request.labels.tolist() == expected
