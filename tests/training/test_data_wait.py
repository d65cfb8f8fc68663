from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mmcl.training import data_wait
from mmcl.training.data_wait import DataWait, num_cores
from tests.tiny import tiny_recipe
from tests.training.test_trainer import Recorder, make_trainer


def lines_of(
    num_workers: int, waited_s: float, spent_s: float = 1.0, image_size: int | None = 224, num_steps: int = 60
) -> list[str]:
    lines: list[str] = []
    watch = DataWait(num_workers, image_size, lines.append)
    for _ in range(num_steps):
        watch.observe(waited_s, spent_s)
    return lines


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_wait, "num_cores", lambda: 8)


@pytest.mark.parametrize(
    ("num_workers", "image_size", "way_out"),
    [
        (0, 224, "set data.num_workers=8, now 0"),
        (4, 224, "set data.num_workers=8, now 4"),
        (
            8,
            224,
            "8 workers do not keep up; save the pictures with a shorter side of 448 pixels (the model takes 224), or"
            " read them from a faster disk",
        ),
        (8, None, "8 workers do not keep up; read from a faster disk"),
    ],
)
def test_the_advice_is_for_the_likely_cause_and_is_told_once(
    num_workers: int, image_size: int | None, way_out: str
) -> None:
    assert lines_of(num_workers, 0.4, image_size=image_size) == [
        f"warning: 40% of training is waiting for data: {way_out}"
    ]


def test_of_many_cores_no_more_than_a_few_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_wait, "num_cores", lambda: 128)
    assert "data.num_workers=16" in lines_of(0, 0.4)[0]


def test_a_small_share_a_short_wait_and_a_few_steps_are_not_worth_a_line() -> None:
    assert lines_of(0, 0.09) == []
    assert lines_of(0, 0.04, spent_s=0.1) == []
    assert lines_of(0, 0.9, num_steps=19) == []


def test_the_first_step_in_which_workers_start_does_not_count() -> None:
    watch = DataWait(0, 224, lambda line: None)
    watch.observe(1000.0, 1000.0)
    for _ in range(100):
        watch.observe(0.05, 1.0)
    assert watch.advice() is None


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert num_cores() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert num_cores() == 3


def test_a_run_that_waits_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_wait, "MIN_STEPS", 3)
    monkeypatch.setattr(data_wait, "MIN_WAIT_S", 0.0)
    recorder = Recorder()
    trainer = make_trainer(tiny_recipe(tmp_path, max_steps=5), tmp_path / "run", recorder)
    next_batch = trainer._next_batch

    def slow(*args: Any) -> Any:
        time.sleep(1.0)
        return next_batch(*args)

    monkeypatch.setattr(trainer, "_next_batch", slow)
    trainer.fit(lambda step: {})
    (line,) = (line for line in recorder.messages if "waiting for data" in line)
    assert "set data.num_workers=8, now 0" in line
    assert (trainer.data_wait.advice() or "").endswith("set data.num_workers=8, now 0")
