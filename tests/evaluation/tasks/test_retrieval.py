"""The retrieval task from pictures to a result."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluation import EvaluationError, RetrievalTask, TaskResult
from evaluation.tasks.ranked_examples import NUM_CANDIDATES
from tests.evaluation.fakes import COLOURS, CollapsedEmbedder, ColourEmbedder, LazyPictures, picture

NAMES = list(COLOURS)


def colour_task(**options: object) -> RetrievalTask:
    """Two pictures of each colour, one name for both, and one wrong name: white is called cyan and cyan white."""
    shown = [name for name in NAMES for _ in range(2)]
    swapped = {"white": "cyan", "cyan": "white"}
    return RetrievalTask.from_captions(
        LazyPictures(shown),
        [[f"a {swapped.get(name, name)} thing"] for name in shown],
        dataset="colours",
        groups=[NAMES.index(name) for name in shown],
        same_pictures=shown,
        resamples=200,
        **options,
    )


def test_numbers_of_a_case_worked_by_hand() -> None:
    result = colour_task().evaluate(ColourEmbedder())
    # 4 of 6 names find their pictures, 8 of 12 pictures their name.
    assert result.metrics["image_retrieval_recall@1"] == pytest.approx(4 / 6)
    assert result.metrics["text_retrieval_recall@1"] == pytest.approx(8 / 12)
    assert result.metrics["image_retrieval_recall@10"] == 1.0
    assert result.metrics["image_retrieval_median_rank"] == 1.0
    # The two wrong names rank the other's two pictures before their own.
    assert result.metrics["image_retrieval_mean_rank"] == pytest.approx((4 * 1 + 2 * 3) / 6)
    assert result.metrics["text_retrieval_mean_rank"] == pytest.approx((8 * 1 + 4 * 2) / 12)
    assert result.metrics["image_retrieval_ties"] == 0
    assert result.chance["image_retrieval_recall@1"] == pytest.approx(2 / 12)
    assert result.chance["text_retrieval_recall@1"] == pytest.approx(1 / 6)
    assert result.num_examples == 12
    assert result.headline[0] == "image_retrieval_recall@1"
    assert len(result.headline) == 6
    assert [result.unit(name) for name in ("image_retrieval_mean_rank", "text_retrieval_ties")] == ["rank", "count"]


def test_names_shared_by_a_group_are_one_candidate() -> None:
    task = colour_task()
    assert len(task.texts) == 6
    assert list(task.text_groups) == [0, 1, 2, 3, 4, 5]


def test_several_captions_of_one_picture_are_candidates_each() -> None:
    task = RetrievalTask.from_captions(
        [picture("red"), picture("blue")], [["red", "not green"], ["blue"]], dataset="pairs", resamples=50
    )
    assert list(task.texts) == ["red", "not green", "blue"]
    assert list(task.text_groups) == [0, 0, 1]
    result = task.evaluate(ColourEmbedder())
    assert result.metrics["text_retrieval_recall@1"] == 1.0
    assert "only 2 candidates" in " ".join(result.notes)


def test_intervals_resample_groups_not_rows() -> None:
    result = colour_task().evaluate(ColourEmbedder())
    assert {one.num_units for one in result.intervals.values()} == {6}
    for name, interval in result.intervals.items():
        assert interval.low <= result.metrics[name] <= interval.high
    assert set(result.intervals) == set(result.headline)


def test_a_collapsed_model_reaches_nothing_and_the_ties_are_told() -> None:
    result = colour_task().evaluate(CollapsedEmbedder())
    assert result.metrics["image_retrieval_recall@1"] == 0
    assert result.metrics["text_retrieval_recall@5"] == 0
    assert result.metrics["text_retrieval_ties"] == 12
    assert "for 12 of 12 pictures a wrong candidate scored exactly as high" in " ".join(result.notes)


def test_numbers_do_not_depend_on_the_order_of_rows() -> None:
    task = colour_task()
    order = np.random.default_rng(0).permutation(12).tolist()
    moved = replace(
        task,
        images=[task.images[index] for index in order],
        image_groups=[task.image_groups[index] for index in order],
        texts=task.texts[::-1],
        text_groups=task.text_groups[::-1],
        picture_ids=[task.picture_ids[index] for index in order],
        own_texts=[(picture, len(task.texts) - 1 - text) for picture, text in task.own_texts],
    )
    first, second = task.evaluate(ColourEmbedder()), moved.evaluate(ColourEmbedder())
    assert first.metrics == pytest.approx(second.metrics)
    assert first.chance == pytest.approx(second.chance)


def test_the_same_task_gives_the_same_result_and_valid_json() -> None:
    first, second = (colour_task().evaluate(ColourEmbedder()) for _ in range(2))
    assert first == second
    assert first.exhibits.text_queries == second.exhibits.text_queries
    np.testing.assert_array_equal(first.exhibits.similarity.scores, second.exhibits.similarity.scores)
    json.loads(first.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_exhibits_show_successes_failures_and_the_right_answer() -> None:
    result = colour_task(image_kinds=[name for name in NAMES for _ in range(2)]).evaluate(ColourEmbedder())
    shown = result.exhibits.text_queries
    assert [example.rank for example in shown] == [1, 1, 1, 1, 3, 3]
    for example in shown:
        assert len(example.candidates) == NUM_CANDIDATES
        assert example.wanted.is_relevant
        assert example.candidates[0].is_relevant == (example.rank == 1)
        scores = [candidate.score for candidate in example.candidates]
        assert scores == sorted(scores, reverse=True)
        assert all(candidate.item.picture.startswith(b"\x89PNG") for candidate in example.candidates)
    by_picture = result.exhibits.image_queries[0]
    assert by_picture.query.picture
    assert by_picture.candidates[0].item.text.startswith("a ")
    assert result.exhibits.similarity.scores.shape == (6, 6)
    sample = result.exhibits.embeddings
    assert len(sample.images) == len(sample.texts) == len(sample.image_kinds) == 6
    np.testing.assert_array_equal(result.examples["image_retrieval_rank"].shape, (6,))


def test_thumbnails_are_made_of_what_is_shown_only() -> None:
    pictures = LazyPictures(["red", "blue", "green", "white"] * 200)
    task = RetrievalTask(
        images=pictures,
        texts=["red", "blue", "green", "white"],
        image_groups=[0, 1, 2, 3] * 200,
        text_groups=[0, 1, 2, 3],
        dataset="many",
        resamples=20,
    )
    task.evaluate(ColourEmbedder())
    assert pictures.num_decoded < 800 + 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [], "image_groups": []}, "colours: retrieval needs pictures, got none"),
        ({"texts": [], "text_groups": []}, "colours: retrieval needs captions, got none"),
        ({"image_groups": [0]}, "colours: 12 pictures must have as many groups, got 1"),
        ({"text_groups": [0, 1, 2, 3, 4, 9]}, "colours: every image must have at least one caption"),
        ({"texts": ["a", "b", None, "d", "e", "f"]}, "every caption must be a text, got None for caption 2"),
        ({"texts": ["a", "b", " ", "d", "e", "f"]}, "every caption must be a text, got ' ' for caption 2"),
        ({"image_kinds": ["x"]}, "image_kinds must be empty or one per picture"),
        ({"picture_ids": [1]}, "picture_ids must be empty or one per picture"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        replace(colour_task(), **changes)


def test_pictures_without_captions_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"x: 1 of 2 pictures have no caption, first: 1"):
        RetrievalTask.from_captions([picture("red")] * 2, [["red"], []], dataset="x")
    with pytest.raises(EvaluationError, match=r"must be as many, got 2, 1 and 2"):
        RetrievalTask.from_captions([picture("red")] * 2, [["red"]], dataset="x")


def strict_result(rows: list[tuple[str, list[str], int]], **options: object) -> TaskResult:
    """The result of rows of a colour, captions and a group."""
    colours, captions, groups = zip(*rows, strict=True)
    pictures = [picture(colour) for colour in colours]
    task = RetrievalTask.from_captions(pictures, captions, groups=groups, dataset="x", resamples=50, **options)
    return task.evaluate(ColourEmbedder())


def test_by_the_strict_protocol_a_candidate_of_the_group_alone_is_no_hit() -> None:
    result = strict_result(
        [("red", ["yellow"], 0), ("yellow", ["red"], 0), ("blue", ["blue"], 1), ("cyan", ["cyan"], 2)]
    )
    for direction in ("image", "text"):
        name = f"{direction}_retrieval_recall@1"
        assert result.metrics[name] == 1.0
        assert result.metrics[f"{name}_strict"] == 2 / 4
        assert result.chance[name] == pytest.approx((2 * 2 / 4 + 2 * 1 / 4) / 4)
        assert result.chance[f"{name}_strict"] == 1 / 4
        assert result.intervals[f"{name}_strict"].num_units == 3
        assert result.metrics[f"{direction}_retrieval_mean_rank_strict"] == (2 + 2 + 1 + 1) / 4
        assert result.unit(f"{direction}_retrieval_ties_strict") == "count"
    assert result.headline[6:] == tuple(
        f"{way}_retrieval_recall@{k}_strict" for way in ("image", "text") for k in (1, 5, 10)
    )


def test_a_title_that_pictures_share_is_asked_for_each_of_them() -> None:
    shared = ["red thing"]
    result = strict_result([("red", shared, 0), ("yellow", shared, 0), ("blue", shared, 0), ("white", ["white"], 1)])
    assert result.metrics["image_retrieval_recall@1"] == 1.0
    assert result.metrics["image_retrieval_recall@1_strict"] == 2 / 4
    # A picture's one text is all that its group has: the strict protocol says nothing else.
    assert "text_retrieval_recall@1_strict" not in result.metrics


def test_captions_of_one_picture_are_all_its_own_and_strict_numbers_are_not_shown_twice() -> None:
    result = strict_result([("red", ["red", "not blue"], 0), ("blue", ["blue"], 1)])
    assert not [name for name in result.metrics if name.endswith("_strict")]
    rows = [("red", ["red"], 0), ("red", ["not blue"], 0), ("blue", ["blue"], 1)]
    assert strict_result(rows).metrics["image_retrieval_recall@1_strict"] < 1, "two pictures that look the same"
    result = strict_result(rows, same_pictures=["a", "a", "b"])
    assert not [name for name in result.metrics if name.endswith("_strict")]


def test_captions_of_several_pictures_of_a_group_are_told_apart() -> None:
    rows = [("red", ["red", "a red thing"], 0), ("yellow", ["red or blue", "yellow"], 0), ("blue", ["blue"], 1)]
    result = strict_result(rows)
    assert result.metrics["text_retrieval_recall@1_strict"] == 1.0
    assert result.metrics["image_retrieval_recall@1_strict"] == 4 / 5, "red or blue is nearest to the red one"


def test_groups_alone_know_no_strict_protocol() -> None:
    task = colour_task()
    bare = replace(task, picture_ids=(), own_texts=())
    assert bare.evaluate(ColourEmbedder()).metrics == task.evaluate(ColourEmbedder()).metrics


def test_a_caption_is_known_by_the_picture_it_stands_first_with() -> None:
    task = RetrievalTask.from_captions(
        [picture("red"), picture("blue"), picture("blue")],
        [["red", "warm red"], ["blue"], ["blue", "cold blue"]],
        dataset="pairs",
        groups=[0, 1, 1],
        ids=["r", "b", "c"],
        resamples=50,
    )
    examples = task.evaluate(ColourEmbedder()).examples
    assert examples["image_id"].tolist() == ["r", "b", "c"]
    assert examples["text_id"].tolist() == ["r.0", "r.1", "b.0", "c.1"]
    with pytest.raises(EvaluationError, match="pairs: 4 examples must have as many ids, got 1"):
        replace(task, text_ids=["x"])
