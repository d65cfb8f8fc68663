"""Linear classifiers on frozen embeddings: logistic regression, its weight decay chosen on held-out rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.rows import check_labels, unit_rows

C_GRID = tuple(10.0**power for power in range(-2, 6))
"""Inverse weight decays to choose from: 0.01 to 100,000."""

VALIDATION_FRACTION = 0.2
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class LinearProbe:
    """What a linear probe answers and how it was chosen.

    Attributes:
        predictions: ``(M,)`` int64 classes of the test rows.
        c: the inverse weight decay chosen.
        validation_accuracy: by inverse weight decay, fractions.
        is_converged: whether the last fit ended before the largest number of iterations.
    """

    predictions: NDArray[np.int64]
    c: float
    validation_accuracy: dict[float, float]
    is_converged: bool


def linear_probe(
    train: NDArray[np.floating],
    train_labels: NDArray[np.int64],
    test: NDArray[np.floating],
    num_classes: int,
    *,
    c_grid: Sequence[float] = C_GRID,
    validation_fraction: float = VALIDATION_FRACTION,
    max_iterations: int = MAX_ITERATIONS,
    seed: int = 0,
) -> LinearProbe:
    """Fit a linear classifier on training rows and answer for test rows, which choose nothing.

    Rows are L2-normalised and not standardised. ``C`` of scikit-learn's `LogisticRegression` (lbfgs, L2 penalty,
    multinomial; its loss is ``||W||^2 / 2 + C * sum of cross-entropies``, the intercept free) is the one of highest
    accuracy on validation rows, of equal ones the smallest; then all training rows are fitted again with it. Choosing
    weight decay so is what CLIP does (arXiv:2103.00020, appendix A.3).

    Args:
        train: ``(N, D)`` float.
        train_labels: ``(N,)`` int64 in 0 .. num_classes - 1, of at least two classes.
        test: ``(M, D)`` float.
        num_classes: K.
        c_grid: inverse weight decays to choose from; with one, nothing is chosen and no row is held out.
        validation_fraction: of each class's training rows, see `validation_split`.
        max_iterations: of lbfgs, per fit.
        seed: of the validation split.

    Raises:
        EvaluationError: rows or labels that do not fit, fewer than two classes, an empty grid or values that are not
            positive, or no class with rows enough to hold one out.
    """
    check_labels(train, train_labels, num_classes)
    if not len(c_grid) or min(c_grid) <= 0:
        raise EvaluationError(f"C must be one or more values > 0, got {list(c_grid)}")
    features, answers = unit_rows(train, "training rows"), unit_rows(test, "test rows")
    accuracies: dict[float, float] = {}
    if len(c_grid) > 1:
        fitted, held_out = validation_split(train_labels, validation_fraction, seed)
        for c in sorted(c_grid):
            predictions, _ = logistic_regression(
                features[fitted], train_labels[fitted], features[held_out], c, max_iterations
            )
            accuracies[float(c)] = float((predictions == train_labels[held_out]).mean())
    chosen = max(accuracies, key=accuracies.__getitem__) if accuracies else float(c_grid[0])
    predictions, is_converged = logistic_regression(features, train_labels, answers, chosen, max_iterations)
    return LinearProbe(predictions, chosen, accuracies, is_converged)


def logistic_regression(
    train: NDArray[np.float64],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float64],
    c: float,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[NDArray[np.int64], bool]:
    """Return the ``(M,)`` classes of test rows by logistic regression on training rows, and whether it converged.

    Features are taken as they are. Of two classes it is the binary form, which is the multinomial one with twice the
    penalty's weight.

    Raises:
        EvaluationError: training rows of a single class.
    """
    if len(np.unique(train_labels)) < 2:
        raise EvaluationError("a linear probe needs training rows of at least two classes, got one")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, solver="lbfgs", max_iter=max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is returned instead
        # One label of each class is what was asked for.
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        model.fit(train, train_labels)
    predictions = model.predict(test) if len(test) else np.empty(0)
    return predictions.astype(np.int64), bool(model.n_iter_.max() < max_iterations)


def validation_split(
    labels: NDArray[np.int64], fraction: float = VALIDATION_FRACTION, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ascending row numbers to fit on and to validate on, a share of every class.

    Of a class of n rows the nearest whole number to ``fraction * n`` is held out, but at least one and not all; of a
    class of one row none is.

    Raises:
        EvaluationError: a fraction outside (0, 1), or no class of two rows.
    """
    if not 0 < fraction < 1:
        raise EvaluationError(f"the validation share must lie between 0 and 1, got {fraction}")
    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            is_held_out[rows[: min(max(1, round(fraction * len(rows))), len(rows) - 1)]] = True
    if not is_held_out.any():
        raise EvaluationError(
            "weight decay is chosen on held-out rows: a class of at least two training rows is needed"
        )
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
