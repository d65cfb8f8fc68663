"""Results to compare: classifiers of a known accuracy, on the same pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation import TaskResult

CLASSES = ("cat", "dog", "hat", "shirt", "shoe")


def judged(model: str, accuracy: float, *, seed: int = 0, num_examples: int = 200, **fields: Any) -> TaskResult:
    """A result whose predictions are right by chance, each with a probability of ``accuracy``."""
    labels = np.arange(num_examples) % len(CLASSES)
    is_right = np.random.default_rng(seed).random(num_examples) < accuracy
    return answered(model, labels, np.where(is_right, labels, (labels + 1) % len(CLASSES)), **fields)


def answered(model: str, labels: np.ndarray, predictions: np.ndarray, **fields: Any) -> TaskResult:
    """A result with these very predictions."""
    metrics = fields.pop("metrics", {"acc1": float((labels == predictions).mean()), "ties": 0.0})
    examples = {"id": np.arange(len(labels)).astype(str), "label": labels, "prediction": predictions}
    return TaskResult(
        **{
            "dataset": "photos",
            "model": model,
            "task": "knn",
            "metrics": metrics,
            "units": {"ties": "count"},
            "num_examples": len(labels),
            "fingerprint": f"weights of {model}",
            "class_names": CLASSES,
            "headline": tuple(metrics)[:1],
            "examples": examples,
            **fields,
        }
    )
