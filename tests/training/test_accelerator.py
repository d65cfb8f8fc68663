from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.training.accelerator import build_accelerator, check_trackers
from mmcl.training.run import run_recipe
from tests.tiny import tiny_recipe


class RecordingTracker(GeneralTracker):
    """Keeps what it is told."""

    name = "recording"
    requires_logging_directory = False
    logged: list[tuple[int | None, dict[str, Any]]] = []  # noqa: RUF012 - one for the whole test

    def __init__(self, run_name: str, **_: object) -> None:
        super().__init__()
        self.run_name = run_name

    @property
    def tracker(self) -> RecordingTracker:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.logged.append((None, {"run": self.run_name, **values}))

    def log(self, values: dict[str, Any], step: int | None = None, **_: object) -> None:
        self.logged.append((step, values))


@pytest.fixture
def recording() -> Iterator[type[RecordingTracker]]:
    LOGGER_TYPE_TO_CLASS["recording"] = RecordingTracker
    RecordingTracker.logged.clear()
    yield RecordingTracker
    del LOGGER_TYPE_TO_CLASS["recording"]


def test_a_tracker_gets_the_recipe_and_every_logged_step(tmp_path: Path, recording: type[RecordingTracker]) -> None:
    run_recipe(tiny_recipe(tmp_path, max_steps=4, log_every=2, report_to=["recording"]))
    (_, first), *steps = recording.logged
    assert first["run"] == "tiny"
    assert "batch_size: 4" in first["recipe"]
    assert [step for step, _ in steps] == [2, 4]
    assert all("loss" in values for _, values in steps)


def test_an_unknown_tracker_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'unknown tracker "tensorbord" .* Did you mean "tensorboard"\?'):
        check_trackers(["tensorbord"])


def test_a_missing_tracker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcl.training.accelerator.get_available_trackers", list)
    with pytest.raises(UserError, match="comet_ml is not installed; pip install comet-ml"):
        check_trackers(["comet_ml"])


def test_half_precision_with_loss_scaling_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="precision: fp16 needs a GPU"):
        build_accelerator(Recipe.model_validate({"data": "x", "precision": "fp16"}))


def test_bf16_trains_and_its_losses_are_near_those_of_fp32(tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        run = run_recipe(tiny_recipe(folder, max_steps=3, precision=precision, lr=1e-4, evaluate=[]))
        losses[precision] = [json.loads(line)["loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
