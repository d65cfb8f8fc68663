"""Which classes are shown, and which are taken for each other."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import TaskResult, ZeroShotClassificationTask
from evaluation.class_scores import scores_by_class
from evaluation.report.class_panels import class_panel, confusions
from tests.evaluation.fakes import ColourEmbedder, picture


def result_of(labels: list[int], predictions: list[int], num_classes: int) -> TaskResult:
    names = [f"class {number:02}" for number in range(num_classes)]
    scores = scores_by_class(np.array(labels), np.array(predictions), names)
    return TaskResult("d", "m", "t", {"acc1": 0.5}, len(labels), per_class=scores)


def test_each_class_has_the_recall_of_every_model() -> None:
    one, other = result_of([0, 0, 1, 1], [0, 1, 1, 1], 3), result_of([0, 0, 1, 1], [0, 0, 0, 1], 3)
    panel = class_panel([one, other], ["A", "B"])
    assert panel is not None
    assert [row.name for row in panel.rows] == ["class 00", "class 01"]  # the third has no pictures
    assert [[(bar.name, bar.at) for bar in row.bars] for row in panel.rows] == [
        [("A", 50), ("B", 100)],
        [("A", 100), ("B", 50)],
    ]
    first = panel.rows[0]
    assert (first.support, first.precision, first.f1) == (2, "100.0", "66.7")
    assert first.bars[0].low < 50 < first.bars[0].high


def test_of_many_classes_the_worst_and_the_best_are_shown() -> None:
    labels = [number for number in range(30) for _ in range(30)]
    predictions = [number if case < number else 0 for number in range(30) for case in range(30)]
    panel = class_panel([result_of(labels, predictions, 30)], ["A"])
    assert panel is not None
    assert panel.num_classes == 30
    recalls = [row.bars[0].at for row in panel.rows]
    assert len(recalls) == 20
    assert recalls == sorted(recalls, key=float)
    assert recalls[9] == pytest.approx(100 * 10 / 30)
    assert recalls[10] == pytest.approx(100 * 21 / 30)


def test_a_result_without_classes_has_no_panel() -> None:
    assert class_panel([TaskResult("d", "m", "t", {"acc1": 0.5}, 4)], ["A"]) is None
    assert confusions(TaskResult("d", "m", "t", {"acc1": 0.5}, 4), 3, 3) == ()


def test_the_commonest_confusion_comes_first_with_pictures_of_its_cases() -> None:
    named = ["red", "green", "green", "white", "white", "white", "white"]
    shown = ["red", "red", "green", "blue", "blue", "blue", "white"]
    task = ZeroShotClassificationTask(
        images=[picture(name) for name in shown],
        labels=named,
        class_names={name: name for name in ("red", "green", "blue", "white")},
        templates=["{}"],
        dataset="d",
        resamples=20,
    )
    first, second = confusions(task.evaluate(ColourEmbedder()), num_pairs=5, num_pictures=2)
    assert (first.true_class, first.predicted, first.count, first.share) == ("white", "blue", 3, "75.0")
    assert (second.true_class, second.predicted, second.count, second.share) == ("green", "red", 1, "50.0")
    assert [item.text for item in first.pictures] == ["white", "white"]
    assert len(second.pictures) == 1
    assert len(confusions(task.evaluate(ColourEmbedder()), num_pairs=1, num_pictures=2)) == 1
