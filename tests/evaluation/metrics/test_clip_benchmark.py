"""Our numbers beside those of CLIP_benchmark's own functions, on the same embeddings: equal, or different for a reason.

Every difference shown here is a line of the table in docs/evaluation.md.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import image_caption_selection, zeroshot_classification, zeroshot_retrieval

from evaluation import EvaluationError
from evaluation.metrics import (
    average_precisions,
    class_weights,
    confusion_matrix,
    image_text_ranks,
    mean_average_precision,
    mean_per_class_recall,
    rank_labels,
    recall_at_k,
    similarity,
    top_k_accuracy,
)

NUM_CASES = 200

pytestmark = [  # scikit-learn, of classes without an example
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
]


@pytest.fixture(autouse=True)
def _floats_of_one_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their code takes the float of arrays of one element, which NumPy has stopped allowing."""
    plain = lambda value: builtins.float(value.item() if hasattr(value, "item") else value)  # noqa: E731
    monkeypatch.setattr(zeroshot_classification, "float", plain, raising=False)


class Stored:
    """A model of theirs whose pictures and tokens are embeddings already."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


class Batches:
    """A loader of theirs."""

    def __init__(self, first: torch.Tensor, second: Any, num_classes: int = 0, batch_size: int = 16) -> None:
        self.first, self.second, self.batch_size = first, second, batch_size
        self.dataset = SimpleNamespace(classes=[str(index) for index in range(num_classes)])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        for start in range(0, len(self.first), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self.first[rows], self.second[rows]


def unit(rng: np.random.Generator, num_rows: int, width: int) -> np.ndarray:
    rows = rng.normal(size=(num_rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def their_classification(images: np.ndarray, prompts: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Their whole evaluation of ``(N, D)`` pictures with ``(K, T, D)`` prompts."""
    num_classes, num_templates, _ = prompts.shape
    return zeroshot_classification.evaluate(
        Stored(),
        Batches(torch.from_numpy(images), torch.from_numpy(targets), num_classes),
        lambda texts: torch.from_numpy(np.stack([prompts[tuple(map(int, text.split()))] for text in texts])),
        [str(index) for index in range(num_classes)],
        [f"{{c}} {index}" for index in range(num_templates)],
        "cpu",
        amp=False,
    )


def our_classification(images: np.ndarray, prompts: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    num_classes = len(prompts)
    ranked = rank_labels(images, class_weights(prompts.reshape(-1, prompts.shape[2]), num_classes), labels)
    counts = confusion_matrix(labels, ranked.predictions, num_classes).astype(float)
    return {
        "acc1": top_k_accuracy(ranked.ranks, 1, num_classes),
        "acc5": top_k_accuracy(ranked.ranks, 5, num_classes),
        "mean_per_class_recall": float(mean_per_class_recall(np.diagonal(counts), counts.sum(axis=1))),
    }


def their_retrieval(images: np.ndarray, captions: list[np.ndarray], ks: list[int]) -> dict[str, float]:
    """Their whole evaluation of ``(N, D)`` pictures with the embeddings of each one's captions."""
    stacked = lambda texts: torch.from_numpy(np.stack(texts))  # noqa: E731
    loader = Batches(torch.from_numpy(images), [list(rows) for rows in captions])
    return zeroshot_retrieval.evaluate(Stored(), loader, stacked, "cpu", amp=False, recall_k_list=ks)


def our_retrieval(images: np.ndarray, captions: list[np.ndarray], ks: list[int]) -> dict[str, float]:
    groups = np.repeat(np.arange(len(images)), [len(rows) for rows in captions])
    found = image_text_ranks(images, np.concatenate(captions), np.arange(len(images)), groups)
    return {
        f"{name}_retrieval_recall@{k}": recall_at_k(ranks.ranks, k)
        for k in ks
        for name, ranks in zip(("image", "text"), found, strict=True)
    }


def in_float32(values: dict[str, float | None]) -> dict[str, float]:
    return {name: float(np.float32(np.nan if value is None else value)) for name, value in values.items()}


def test_classification_is_theirs_exactly() -> None:
    rng = np.random.default_rng(0)
    num_without_acc5 = num_with_empty_classes = 0
    for _ in range(NUM_CASES):
        num_classes, num_images = int(rng.integers(2, 25)), int(rng.integers(1, 60))
        width, num_templates = int(rng.integers(2, 40)), int(rng.integers(1, 5))
        images, labels = unit(rng, num_images, width), rng.integers(0, num_classes, size=num_images)
        prompts = unit(rng, num_classes * num_templates, width).reshape(num_classes, num_templates, width)
        prompts *= rng.uniform(0.1, 10, size=(*prompts.shape[:2], 1)).astype(np.float32)
        theirs, ours = their_classification(images, prompts, labels), our_classification(images, prompts, labels)
        np.testing.assert_equal(in_float32(ours), in_float32(theirs))
        num_without_acc5 += ours["acc5"] is None
        num_with_empty_classes += len(np.unique(labels)) < num_classes
    assert min(num_without_acc5, num_with_empty_classes) > 20


def test_mean_average_precision_is_theirs_to_the_last_digits_of_float32() -> None:
    """Theirs sums in float32, where the order of terms shows; ours is the sum in float64."""
    rng = np.random.default_rng(1)
    for _ in range(NUM_CASES):
        num_classes, num_images, width = int(rng.integers(2, 12)), int(rng.integers(2, 60)), int(rng.integers(4, 40))
        images, prompts = unit(rng, num_images, width), unit(rng, num_classes, width)
        targets = rng.random((num_images, num_classes)) < rng.uniform(0.1, 0.8)
        targets[rng.integers(0, num_images, size=num_classes), np.arange(num_classes)] = True
        theirs = their_classification(images, prompts[:, None], targets.astype(np.int64))
        scores = similarity(images, class_weights(prompts, num_classes))
        assert list(theirs) == ["mean_average_precision"]
        # Each of at most 60 terms, and their mean, is rounded to 24 bits.
        assert mean_average_precision(scores, targets) == pytest.approx(theirs["mean_average_precision"], rel=4e-7)
        by_class = zeroshot_classification.average_precision_per_class(
            torch.from_numpy(scores), torch.from_numpy(targets.astype(np.int64))
        )
        np.testing.assert_allclose(average_precisions(scores, targets)[0], by_class.numpy(), rtol=4e-7)


def test_retrieval_with_up_to_seven_captions_is_theirs_exactly() -> None:
    rng = np.random.default_rng(2)
    for _ in range(NUM_CASES):
        num_images, width = int(rng.integers(1, 40)), int(rng.integers(2, 40))
        images = unit(rng, num_images, width)
        captions = [unit(rng, int(rng.integers(1, 8)), width) for _ in range(num_images)]
        ks = [k for k in (1, 5, 10) if k <= num_images]
        theirs, ours = their_retrieval(images, captions, ks), our_retrieval(images, captions, ks)
        assert in_float32(ours) == in_float32(theirs)


def test_k_above_the_number_of_candidates_makes_theirs_fail_and_finds_all_in_ours() -> None:
    images = unit(np.random.default_rng(3), 4, 8)
    captions = [images[index : index + 1] for index in range(4)]
    with pytest.raises(RuntimeError, match="out of range"):
        their_retrieval(images, captions, [5])
    assert our_retrieval(images, captions, [5]) == {"image_retrieval_recall@5": 1.0, "text_retrieval_recall@5": 1.0}


def test_an_image_without_captions_is_a_miss_in_theirs_and_an_error_in_ours() -> None:
    images = unit(np.random.default_rng(4), 4, 8)
    captions = [images[:1], images[1:2], images[2:3], images[:0]]
    assert their_retrieval(images, captions, [1])["text_retrieval_recall@1"] == 0.75
    with pytest.raises(EvaluationError, match="every image must have at least one caption"):
        our_retrieval(images, captions, [1])


def test_ties_in_retrieval_are_hits_by_place_in_theirs_and_misses_in_ours() -> None:
    """Of equal scores torch.topk takes which it likes, so that the place of a row in the file makes it a hit."""
    images = np.repeat(unit(np.random.default_rng(5), 1, 8), 4, axis=0)
    captions = [images[:1]] * 4
    assert their_retrieval(images, captions, [1])["image_retrieval_recall@1"] == 0.25
    assert their_retrieval(images, captions, [3])["image_retrieval_recall@3"] == 0.75
    assert our_retrieval(images, captions, [1, 3]) == dict.fromkeys(our_retrieval(images, captions, [1, 3]), 0.0)


def test_of_tied_classes_theirs_takes_one_for_accuracy_and_another_for_recall() -> None:
    prompts = np.repeat(unit(np.random.default_rng(6), 1, 8)[:, None], 40, axis=0)
    named = int(torch.ones(1, 40).topk(5, 1, True, True)[1][0, 0])
    assert named != 0
    images, labels = np.repeat(prompts[0], 5, axis=0), np.full(5, named)
    theirs, ours = their_classification(images, prompts, labels), our_classification(images, prompts, labels)
    assert (theirs["acc1"], theirs["mean_per_class_recall"]) == (1.0, 0.0)
    assert (ours["acc1"], ours["mean_per_class_recall"]) == (0.0, 0.0)


def test_of_tied_pictures_theirs_ranks_by_place_and_ours_by_no_order() -> None:
    scores, targets = np.ones((6, 2), np.float32), np.array([[1, 0], [1, 0], [0, 0], [0, 1], [0, 1], [0, 1]])
    theirs = zeroshot_classification.average_precision_per_class(torch.from_numpy(scores), torch.from_numpy(targets))
    assert theirs.tolist() == pytest.approx([1.0, (1 / 4 + 2 / 5 + 3 / 6) / 3])
    assert average_precisions(scores, targets.astype(bool))[0].tolist() == pytest.approx([2 / 6, 3 / 6])


def test_a_class_that_no_picture_has_counts_as_zero_in_theirs_and_not_in_ours() -> None:
    images = np.eye(4, dtype=np.float32)
    prompts, targets = images[:, None], np.eye(4, dtype=np.int64)
    targets[3, 3] = 0
    scores = similarity(images, images)
    assert their_classification(images, prompts, targets) == {"mean_average_precision": 0.75}
    assert mean_average_precision(scores, targets.astype(bool)) == 1.0


def test_embeddings_that_are_not_numbers_get_an_accuracy_in_theirs_and_an_error_in_ours() -> None:
    rng = np.random.default_rng(7)
    images, prompts = unit(rng, 3, 8), unit(rng, 2, 8)[:, None]
    images[1] = np.nan
    assert their_classification(images, prompts, np.zeros(3, np.int64))["acc1"] >= 1 / 3
    with pytest.raises(EvaluationError, match="NaN or infinity in row 1"):
        our_classification(images, prompts, np.zeros(3, np.int64))


def test_prompts_that_cancel_out_name_the_first_class_in_theirs_and_are_an_error_in_ours() -> None:
    images = unit(np.random.default_rng(8), 4, 8)
    prompts = np.stack([np.stack([one, -one]) for one in images[:2]])
    assert their_classification(images, prompts, np.zeros(4, np.int64))["mean_per_class_recall"] == 1.0
    with pytest.raises(EvaluationError, match="must not cancel out, those of class 0 do"):
        our_classification(images, prompts, np.zeros(4, np.int64))


def test_selection_among_equal_scores_is_right_in_theirs() -> None:
    """SugarCrepe: a picture, its caption first and a wrong one after it; who sees no difference gets 100%."""
    same = unit(np.random.default_rng(9), 1, 12).reshape(1, 3, 2, 2)
    embed = SimpleNamespace(
        encode_image=lambda images: images.reshape(len(images), -1),
        encode_text=lambda tokens: tokens.reshape(len(tokens), -1),
    )
    pair = ["right", "wrong"]
    found = image_caption_selection.evaluate(
        embed,
        Batches(torch.from_numpy(same), [pair]),
        lambda texts: torch.from_numpy(np.repeat(same, len(texts), axis=0)),
        "cpu",
        amp=False,
    )
    assert found == {"image_acc": 1.0, "text_acc": 1.0, "acc": 1.0}
