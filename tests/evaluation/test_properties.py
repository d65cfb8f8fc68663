"""What metrics must not depend on, for whatever rows: hypothesis looks for rows on which they do.

Embeddings are of small whole numbers where products have to be exact: then scores tie as often as they like, and only
for equal rows or equal angles, not by rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation import EvaluationError
from evaluation.class_scores import scores_by_class
from evaluation.metrics import (
    average_precisions,
    class_weights,
    confusion_matrix,
    image_text_ranks,
    knn_predictions,
    linear_probe,
    macro_scores,
    map_at_k,
    mean_average_precision,
    mean_per_class_recall,
    ndcg_at_k,
    rank_best_relevant,
    rank_grades,
    rank_labels,
)

PROPERTY = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
NUMBERS = st.integers(0, 2**32 - 1)
POWERS = st.integers(-8, 8).map(lambda power: np.float32(2.0**power))
"""Factors that change no bit of a number but its exponent's."""


def whole(num_rows: int, width: int = 3) -> st.SearchStrategy[np.ndarray]:
    """Matrices of whole numbers from -3 to 3."""
    return arrays(np.float32, (num_rows, width), elements=st.integers(-3, 3).map(float))


def unit(rng: np.random.Generator, num_rows: int, width: int = 6) -> np.ndarray:
    rows = rng.normal(size=(num_rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def captioned(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """Pictures and captions with groups, every group of both, and a generator for permutations."""
    num_groups = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(NUMBERS))
    image_groups, text_groups = (
        rng.permutation(np.repeat(np.arange(num_groups), rng.integers(1, 4, size=num_groups))) for _ in range(2)
    )
    images, texts = draw(whole(len(image_groups))), draw(whole(len(text_groups)))
    return images, texts, image_groups, text_groups, rng


@PROPERTY
@given(captioned())
def test_retrieval_does_not_depend_on_the_order_of_pictures_and_captions(rows) -> None:
    images, texts, image_groups, text_groups, rng = rows
    of_images, of_texts = rng.permutation(len(images)), rng.permutation(len(texts))
    before = image_text_ranks(images, texts, image_groups, text_groups)
    after = image_text_ranks(images[of_images], texts[of_texts], image_groups[of_images], text_groups[of_texts])
    for was, now, order in zip(before, after, (of_texts, of_images), strict=True):
        np.testing.assert_array_equal(now.ranks, was.ranks[order])
        np.testing.assert_array_equal(now.tied, was.tied[order])


@PROPERTY
@given(captioned(), POWERS, POWERS)
def test_retrieval_does_not_depend_on_the_scale_of_either_side(rows, of_images, of_texts) -> None:
    images, texts, image_groups, text_groups, _ = rows
    before = image_text_ranks(images, texts, image_groups, text_groups)
    after = image_text_ranks(images * of_images, texts * of_texts, image_groups, text_groups)
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(now.ranks, was.ranks)


@PROPERTY
@given(captioned())
def test_retrieval_does_not_depend_on_what_groups_are_called(rows) -> None:
    images, texts, image_groups, text_groups, rng = rows
    names = np.array([f"group {number}" for number in rng.permutation(10)])
    before = image_text_ranks(images, texts, image_groups, text_groups)
    after = image_text_ranks(images, texts, names[image_groups], names[text_groups])
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(now.ranks, was.ranks)


@PROPERTY
@given(captioned(), NUMBERS)
def test_a_second_copy_of_a_picture_is_no_rival_to_its_own_captions_and_one_to_others(rows, number) -> None:
    images, texts, image_groups, text_groups, _ = rows
    copied = number % len(images)
    more, their_groups = np.append(images, images[[copied]], axis=0), np.append(image_groups, image_groups[copied])
    before = rank_best_relevant(texts, images, text_groups, image_groups).ranks
    after = rank_best_relevant(texts, more, text_groups, their_groups).ranks
    is_own = text_groups == image_groups[copied]
    np.testing.assert_array_equal(after[is_own], before[is_own])
    assert set((after - before)[~is_own].tolist()) <= {0, 1}


@st.composite
def classified(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """Pictures, one vector a class, and labels."""
    num_images, num_classes = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(NUMBERS))
    return draw(whole(num_images)), draw(whole(num_classes)), rng.integers(0, num_classes, size=num_images), rng


@PROPERTY
@given(classified())
def test_zero_shot_does_not_depend_on_the_order_of_pictures(rows) -> None:
    images, weights, labels, rng = rows
    order = rng.permutation(len(images))
    before, after = rank_labels(images, weights, labels), rank_labels(images[order], weights, labels[order])
    np.testing.assert_array_equal(after.ranks, before.ranks[order])
    np.testing.assert_array_equal(after.predictions, before.predictions[order])


@PROPERTY
@given(classified())
def test_zero_shot_depends_on_the_order_of_classes_only_where_they_tie(rows) -> None:
    images, weights, labels, rng = rows
    order = rng.permutation(len(weights))
    before, after = rank_labels(images, weights, labels), rank_labels(images, weights[order], np.argsort(order)[labels])
    np.testing.assert_array_equal(after.tied, before.tied)
    np.testing.assert_array_equal(after.ranks[~before.tied], before.ranks[~before.tied])
    is_found = ~before.tied & (before.ranks == 1)
    np.testing.assert_array_equal(order[after.predictions[is_found]], before.predictions[is_found])


@PROPERTY
@given(classified(), POWERS, POWERS)
def test_zero_shot_does_not_depend_on_scale(rows, of_images, of_classes) -> None:
    images, weights, labels, _ = rows
    before, after = rank_labels(images, weights, labels), rank_labels(images * of_images, weights * of_classes, labels)
    np.testing.assert_array_equal(after.ranks, before.ranks)


@PROPERTY
@given(NUMBERS, st.integers(1, 5), st.integers(1, 4))
def test_a_classifier_depends_neither_on_the_norm_nor_the_order_nor_the_copies_of_prompts(
    seed, num_classes, num_templates
) -> None:
    rng = np.random.default_rng(seed)
    prompts = unit(rng, num_classes * num_templates).reshape(num_classes, num_templates, -1)
    weights = class_weights(prompts.reshape(-1, 6), num_classes)
    scaled = prompts * np.float32(2.0) ** rng.integers(-6, 7, size=(num_classes, num_templates, 1))
    for changed in (scaled, prompts[:, rng.permutation(num_templates)], np.repeat(prompts, 2, axis=1)):
        found = class_weights(changed.reshape(-1, 6).astype(np.float32), num_classes)
        np.testing.assert_allclose(found, weights, atol=2e-7)


@PROPERTY
@given(NUMBERS, st.integers(1, 30), st.integers(1, 6))
def test_an_empty_class_changes_no_mean(seed, num_examples, num_classes) -> None:
    labels, predictions = np.random.default_rng(seed).integers(0, num_classes, size=(2, num_examples))
    means = []
    for size in (num_classes, num_classes + 2):
        counts = confusion_matrix(labels, predictions, size).astype(float)
        correct, support, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
        macro = macro_scores(correct, support, predicted)
        means.append([mean_per_class_recall(correct, support), macro.precision, macro.recall, macro.f1])
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    scores = scores_by_class(labels, predictions, [f"{index}" for index in range(num_classes + 1)])
    assert (scores[f"{num_classes}"].support, scores[f"{num_classes}"].f1) == (0, None)


@PROPERTY
@given(NUMBERS, st.integers(1, 30), st.integers(1, 6))
def test_scores_of_classes_go_with_the_classes_and_not_with_the_order_of_examples(
    seed, num_examples, num_classes
) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, num_classes, size=(2, num_examples))
    names = [f"{index}" for index in range(num_classes)]
    before, to, rows = (
        scores_by_class(labels, predictions, names),
        rng.permutation(num_classes),
        rng.permutation(num_examples),
    )
    after = scores_by_class(to[labels][rows], to[predictions][rows], names)
    assert [after[names[to[index]]] for index in range(num_classes)] == [before[name] for name in names]


@PROPERTY
@given(NUMBERS)
def test_of_one_class_every_answer_is_right(seed) -> None:
    rng = np.random.default_rng(seed)
    rows, labels = unit(rng, 7), np.zeros(7, dtype=np.int64)
    assert rank_labels(rows, unit(rng, 1), labels).ranks.tolist() == [1] * 7
    assert knn_predictions(rows, labels, unit(rng, 4), 1).tolist() == [0] * 4
    assert mean_per_class_recall(np.array([7.0]), np.array([7.0])) == 1.0
    with pytest.raises(EvaluationError, match="at least two classes, got one"):
        linear_probe(rows, labels, unit(rng, 4), 1, c_grid=(1.0,))


@PROPERTY
@given(NUMBERS, st.integers(2, 30), st.integers(1, 5), st.integers(1, 25))
def test_neighbours_depend_neither_on_order_nor_scale_nor_what_classes_are_called(
    seed, num_train, num_classes, k
) -> None:
    rng = np.random.default_rng(seed)
    train, test, labels = unit(rng, num_train), unit(rng, 5), rng.integers(0, num_classes, size=num_train)
    found = knn_predictions(train, labels, test, num_classes, k=k)
    rows, others, to = rng.permutation(num_train), rng.permutation(5), rng.permutation(num_classes)
    np.testing.assert_array_equal(knn_predictions(train[rows], labels[rows], test, num_classes, k=k), found)
    np.testing.assert_array_equal(knn_predictions(train, labels, test[others], num_classes, k=k), found[others])
    np.testing.assert_array_equal(knn_predictions(train * 4, labels, test / 8, num_classes, k=k), found)
    np.testing.assert_array_equal(knn_predictions(train, to[labels], test, num_classes, k=k), to[found])
    twice = np.repeat(train, 2, axis=0), np.repeat(labels, 2)  # twice as many neighbours, each twice
    np.testing.assert_array_equal(knn_predictions(*twice, test, num_classes, k=2 * k), found)


@settings(PROPERTY, max_examples=6)
@given(NUMBERS)
def test_a_linear_probe_depends_neither_on_order_nor_scale_nor_what_classes_are_called(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(24) % 3
    train, test = (unit(rng, 3)[labels] * 3 + unit(rng, 24) / 2 for _ in range(2))
    found = linear_probe(train, labels, test, 3, c_grid=(1.0,)).predictions
    rows, others, to = rng.permutation(24), rng.permutation(24), rng.permutation(3)
    for predictions, expected in (
        (linear_probe(train[rows], labels[rows], test, 3, c_grid=(1.0,)).predictions, found),
        (linear_probe(train, labels, test[others], 3, c_grid=(1.0,)).predictions, found[others]),
        (linear_probe(train * 4, labels, test / 8, 3, c_grid=(1.0,)).predictions, found),
        (linear_probe(train, to[labels], test, 3, c_grid=(1.0,)).predictions, to[found]),
    ):
        assert (predictions == expected).mean() >= 23 / 24  # a row may lie on the border of two classes


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Scores with ties, and targets of which every class has one."""
    num_rows, num_classes = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(NUMBERS))
    targets = rng.random((num_rows, num_classes)) < 0.4
    targets[rng.integers(0, num_rows, size=num_classes), np.arange(num_classes)] = True
    return draw(whole(num_rows, num_classes)), targets, rng


@PROPERTY
@given(labelled_scores(), POWERS)
def test_average_precision_depends_on_nothing_but_the_order_of_scores(rows, factor) -> None:
    scores, targets, rng = rows
    order, classes = rng.permutation(len(scores)), rng.permutation(scores.shape[1])
    whole_mean, by_class = mean_average_precision(scores, targets), average_precisions(scores, targets)
    np.testing.assert_allclose(average_precisions(scores[order], targets[order]), by_class, rtol=1e-12)
    np.testing.assert_allclose(average_precisions(scores[:, classes], targets[:, classes]), by_class[:, classes])
    for changed in (scores * factor, np.exp(scores), scores - 5):
        assert mean_average_precision(changed, targets) == pytest.approx(whole_mean, rel=1e-12)
    twice = mean_average_precision(np.repeat(scores, 2, axis=0), np.repeat(targets, 2, axis=0))
    assert twice == pytest.approx(whole_mean, rel=1e-12)


@PROPERTY
@given(NUMBERS, st.integers(1, 12))
def test_graded_ranking_does_not_depend_on_the_order_of_candidates(seed, num_candidates) -> None:
    rng = np.random.default_rng(seed)
    queries, candidates = (rng.integers(-3, 4, size=(rows, 3)).astype(np.float32) for rows in (4, num_candidates))
    grades = [{int(row): 1.0 + int(rng.integers(3)) for row in rng.integers(0, num_candidates, 3)} for _ in queries]
    place = rng.permutation(num_candidates)
    moved = [{int(np.flatnonzero(place == row)[0]): grade for row, grade in each.items()} for each in grades]
    before, after = rank_grades(queries, candidates, grades, 5), rank_grades(queries, candidates[place], moved, 5)
    for metric in (ndcg_at_k, map_at_k):
        np.testing.assert_allclose(metric(after, 5), metric(before, 5), rtol=1e-12)


TEN = np.arange(10)
REFUSING: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "retrieval, a query": lambda bad, good: rank_best_relevant(bad, good, TEN, TEN),
    "retrieval, a candidate": lambda bad, good: rank_best_relevant(good, bad, TEN, TEN),
    "retrieval, graded": lambda bad, good: rank_grades(bad, good, [{0: 1.0}] * 10, 5),
    "zero-shot, a picture": lambda bad, good: rank_labels(bad, good, TEN),
    "zero-shot, a class": lambda bad, good: rank_labels(good, bad, TEN),
    "zero-shot, a prompt": lambda bad, good: class_weights(bad, 5),
    "several labels": lambda bad, good: average_precisions(bad, good > 0),
    "neighbours, training": lambda bad, good: knn_predictions(bad, TEN, good, 10),
    "neighbours, test": lambda bad, good: knn_predictions(good, TEN, bad, 10),
    "linear probe, training": lambda bad, good: linear_probe(bad, TEN, good, 10, c_grid=(1.0,)),
    "linear probe, test": lambda bad, good: linear_probe(good, TEN, bad, 10, c_grid=(1.0,)),
}


@pytest.mark.parametrize("name", REFUSING)
@settings(PROPERTY, max_examples=8)
@given(row=st.integers(0, 9), value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_embeddings_that_are_not_numbers_are_refused_with_their_row(name, row, value) -> None:
    good = unit(np.random.default_rng(row), 10)
    bad = good.copy()
    bad[row, row % 6] = value
    with pytest.raises(EvaluationError, match=f"row {row}"):
        REFUSING[name](bad, good)
