"""Which pictures models differ on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from evaluation import RetrievalTask, TaskResult, ZeroShotClassificationTask
from evaluation.report.disagreements import Disagreements, disagreements
from evaluation.report.standings import contests
from tests.evaluation.fakes import COLOURS, CollapsedEmbedder, ColourEmbedder, picture, unit

NAMES = list(COLOURS)


class Blind(ColourEmbedder):
    """Sees the colours of the first pictures alone; all others are red."""

    def __init__(self, name: str, num_seen: int) -> None:
        super().__init__()
        self.name, self.num_seen = name, num_seen

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = super().encode_images(images)
        rows[self.num_seen :] = unit([np.array([1.0, 0, 0])])
        return rows


def classified(embedder: ColourEmbedder, groups: Sequence[int] | None = None) -> TaskResult:
    return ZeroShotClassificationTask(
        images=[picture(name) for name in NAMES],
        labels=NAMES,
        templates=["{}"],
        dataset="d",
        groups=groups,
        resamples=20,
    ).evaluate(embedder)


def found_in(*results: TaskResult) -> Disagreements | None:
    (contest,) = contests(results)
    return disagreements(contest)


def test_patterns_come_by_how_many_pictures_they_have_and_say_who_answered_what() -> None:
    panel = found_in(classified(Blind("A", 6)), classified(Blind("B", 5)), classified(Blind("C", 2)))
    assert panel is not None
    assert (panel.metric, panel.num_pictures, panel.num_all_right, panel.num_all_wrong) == ("acc1", 6, 2, 0)
    first, second = panel.patterns
    assert (first.right, first.wrong, first.count) == (("A", "B"), ("C",), 3)
    assert (second.right, second.wrong, second.count) == (("A",), ("B", "C"), 1)
    (case,) = second.cases
    assert case.item.text == NAMES[5]
    assert [(one.model, one.text, one.is_right) for one in case.answers] == [
        ("A", "white", True),
        ("B", "red", False),
        ("C", "red", False),
    ]


def test_no_two_pictures_of_one_group_are_shown() -> None:
    groups = [0, 1, 2, 2, 2, 2]
    panel = found_in(classified(Blind("A", 6), groups), classified(Blind("B", 2), groups))
    assert panel is not None
    assert panel.patterns[0].count == 4
    assert len(panel.patterns[0].cases) == 1


def test_retrieval_says_where_the_right_caption_came() -> None:
    task = RetrievalTask.from_captions(
        [picture(name) for name in NAMES], [[name] for name in NAMES], dataset="d", resamples=20
    )
    panel = found_in(task.evaluate(ColourEmbedder()), task.evaluate(CollapsedEmbedder()))
    assert panel is not None
    assert panel.metric == "text_retrieval_recall@1"
    assert [answer.text for answer in panel.patterns[0].cases[0].answers] == ["rank 1", "rank 6"]


def test_models_that_agree_have_no_patterns() -> None:
    panel = found_in(classified(Blind("A", 6)), classified(Blind("B", 6)))
    assert panel is not None
    assert panel.patterns == ()


def test_nothing_is_said_without_pictures_or_of_other_examples() -> None:
    one, other = classified(Blind("A", 6)), classified(Blind("B", 2))
    assert found_in(one) is None
    assert found_in(one, replace(other, examples={})) is None
    stored = [replace(result, exhibits=replace(result.exhibits, judged=None)) for result in (one, other)]
    assert found_in(*stored) is None
    assert found_in(stored[0], other) is not None  # one of them has the pictures
