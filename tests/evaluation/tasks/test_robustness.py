"""Zero-shot classification of corrupted pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import (
    CachedEmbedder,
    EvaluationError,
    RobustnessTask,
    TaskResult,
    ZeroShotClassificationTask,
    write_report,
)
from evaluation.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from tests.evaluation.fakes import COLOURS, CollapsedEmbedder, ColourEmbedder, LazyPictures, picture

LABELS = ["red", "green", "blue", "yellow", "cyan", "white"] * 2


def task_of(corruptions: tuple[str, ...] = ("contrast", "pixelate"), **fields: Any) -> RobustnessTask:
    given: dict[str, Any] = {"images": LazyPictures(LABELS), "labels": LABELS, "dataset": "colours", "resamples": 50}
    return RobustnessTask(zeroshot=ZeroShotClassificationTask(**{**given, **fields}), corruptions=corruptions)


class TakesNoiseForWhite(ColourEmbedder):
    def encode_images(self, images: Any) -> np.ndarray:
        rows = super().encode_images(images)
        for row in range(len(images)):
            if np.asarray(images[row]).std(axis=(0, 1)).max() > 30:
                rows[row] = 3**-0.5
        return rows


def test_accuracies_are_those_of_each_corrupted_picture() -> None:
    result = task_of(("brightness", "gaussian_noise")).evaluate(TakesNoiseForWhite())
    plain = task_of().zeroshot.evaluate(TakesNoiseForWhite())
    assert result.metrics["acc1"] == plain.metrics["acc1"] == 1
    for name in ("brightness", "gaussian_noise"):
        each = [result.metrics[f"{name}/acc1@{strength}"] for strength in STRENGTHS]
        for strength, accuracy in zip(STRENGTHS, each, strict=True):
            images = [corrupt(picture(label), name, strength, 0, row) for row, label in enumerate(LABELS)]
            again = task_of(images=images).zeroshot.evaluate(TakesNoiseForWhite())
            assert accuracy == again.metrics["acc1"]
        assert result.metrics[f"{name}/acc1"] == pytest.approx(np.mean(each))
    noisy = [result.metrics[f"gaussian_noise/acc1@{strength}"] for strength in STRENGTHS]
    assert noisy[0] == 1 > noisy[-1] == pytest.approx(1 / 6)
    mean = (result.metrics["brightness/acc1"] + result.metrics["gaussian_noise/acc1"]) / 2
    assert result.metrics["mean_corruption_acc1"] == pytest.approx(mean)
    assert result.metrics["relative_drop"] == pytest.approx(1 - mean)
    assert result.headline == ("acc1", "mean_corruption_acc1")
    assert set(result.chance.values()) == {1 / 6}


def test_pictures_are_decoded_once_for_each_corruption_and_strength() -> None:
    images, embedder = LazyPictures(LABELS), ColourEmbedder()
    task_of(images=images).evaluate(CachedEmbedder(embedder))
    assert embedder.num_images == (1 + 2 * 5) * len(LABELS)
    assert embedder.num_texts == len(COLOURS), "prompts are encoded once"


def test_a_collapsed_model_stays_at_chance() -> None:
    result = task_of().evaluate(CollapsedEmbedder())
    assert [result.metrics[name] for name in ("acc1", "mean_corruption_acc1")] == pytest.approx([1 / 6, 1 / 6])
    assert result.metrics["relative_drop"] == pytest.approx(0)


def test_without_a_right_picture_there_is_no_drop() -> None:
    wrong = {"red": "green", "green": "red", "blue": "yellow", "yellow": "blue", "cyan": "white", "white": "cyan"}
    result = task_of(class_names=wrong).evaluate(ColourEmbedder())
    assert (result.metrics["acc1"], result.metrics["relative_drop"]) == (0, None)
    assert result.reasons["relative_drop"] == "no picture is right as it is"


def test_intervals_draw_groups_and_results_are_whole(tmp_path: Path) -> None:
    result = task_of(groups=[row % 6 for row in range(12)], ids=[f"p{row}" for row in range(12)]).evaluate(
        ColourEmbedder()
    )
    assert {one.num_units for one in result.intervals.values()} == {6}
    assert set(result.intervals) == set(result.metrics)
    assert result.examples["id"][3] == "p3"
    assert result.examples["mean_corruption_acc1"].mean() == pytest.approx(result.metrics["mean_corruption_acc1"])
    json.loads(result.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert TaskResult.read(result.write(tmp_path / "result.json")) == result
    assert write_report(tmp_path / "report.html", "t", [result]).stat().st_size > 1000


def test_all_corruptions_are_the_default() -> None:
    task = RobustnessTask(zeroshot=task_of().zeroshot)
    assert (tuple(task.corruptions), task.dataset) == (tuple(CORRUPTIONS), "colours")


@pytest.mark.parametrize("wrong", [(), ("snow",), ("fog", "fog")])
def test_corruptions_that_are_none_are_refused(wrong: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError, match=r"colours: corruptions must be one or more of gaussian_noise, .*got"):
        task_of(wrong)
