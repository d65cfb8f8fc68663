"""The classifier made of class names, and how it orders classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.errors import EvaluationError
from evaluation.metrics import class_weights, fill_templates, rank_labels


def unit_rows(rng: np.random.Generator, num_rows: int, width: int) -> np.ndarray:
    rows = rng.normal(size=(num_rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_templates_are_filled_class_by_class() -> None:
    assert fill_templates(["cat", "dog"], ["a {}.", "the {c}, a {}"]) == [
        "a cat.",
        "the cat, a cat",
        "a dog.",
        "the dog, a dog",
    ]


@pytest.mark.parametrize("name", ["{}", "{c} and {}", r"\1 \g<0>", "50%", "ا"])
def test_class_names_are_taken_literally(name: str) -> None:
    assert fill_templates([name], ["see {} now"]) == [f"see {name} now"]


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ([], ["{}"], "needs class names"),
        (["a"], [], "at least one template"),
        (["a"], ["{}", "no place"], 'got "no place"'),
        (["a", " "], ["{}"], "empty one for class 1"),
    ],
)
def test_prompts_that_cannot_be_made_are_refused(names: list[str], templates: list[str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        fill_templates(names, templates)


def test_weights_by_hand() -> None:
    # Each prompt is normalised before the mean, so the length of (8, 0) does not matter.
    weights = class_weights(np.array([[8.0, 0.0], [0.0, 1.0], [3.0, 4.0], [3.0, 4.0]]), num_classes=2)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(weights, [[half, half], [0.6, 0.8]], rtol=1e-6)
    assert weights.dtype == np.float32


def test_predictions_are_those_of_the_usual_torch_code() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        num_classes, num_templates = int(rng.integers(5, 12)), int(rng.integers(1, 4))
        prompts = rng.normal(size=(num_classes * num_templates, 24)).astype(np.float32)
        images, labels = unit_rows(rng, 60, 24), rng.integers(0, num_classes, size=60)
        normal = torch.nn.functional.normalize
        columns = normal(
            normal(torch.from_numpy(prompts), dim=-1).reshape(num_classes, num_templates, -1).mean(dim=1), dim=-1
        )
        logits = 100.0 * torch.from_numpy(images) @ columns.T
        top = logits.topk(5, dim=1).indices == torch.from_numpy(labels)[:, None]
        ranked = rank_labels(images, class_weights(prompts, num_classes), labels, max_elements=50)
        np.testing.assert_array_equal(ranked.predictions, logits.argmax(dim=1).numpy())
        assert (ranked.ranks == 1).mean() == top[:, :1].any(dim=1).double().mean()
        assert (ranked.ranks <= 5).mean() == top.any(dim=1).double().mean()


def test_among_equal_scores_the_first_class_wins_and_ties_are_told() -> None:
    weights = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    ranked = rank_labels(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), weights, np.array([0, 2, 1]))
    assert ranked.predictions.tolist() == [0, 0, 1]
    assert ranked.ranks.tolist() == [1, 2, 1]
    assert ranked.tied.tolist() == [True, True, False]


def test_a_collapsed_model_is_right_by_chance_only() -> None:
    same = np.repeat(unit_rows(np.random.default_rng(1), 1, 65), 30, axis=0)
    ranked = rank_labels(same, same[:10], np.arange(30) % 10)
    assert (ranked.ranks == 1).mean() == pytest.approx(0.1)
    assert ranked.tied.all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(EvaluationError, match="cancel out"):
        class_weights(np.array([[1.0, 0.0], [-1.0, 0.0]]), num_classes=1)
    with pytest.raises(EvaluationError, match="got 3"):
        class_weights(np.ones((3, 2)), num_classes=2)
    with pytest.raises(EvaluationError, match="one label per image"):
        rank_labels(np.ones((2, 2)), np.ones((2, 2)), np.array([0]))
    with pytest.raises(EvaluationError, match=r"labels must lie in 0 \.\. 1, got 0 \.\. 2"):
        rank_labels(np.ones((2, 2)), np.ones((2, 2)), np.array([0, 2]))
