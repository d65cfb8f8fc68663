"""Watches a run for what a falling loss does not show: collapse, a gap between modalities, a loss stuck at chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation import EvaluationError
from evaluation.metrics import alignment, effective_rank, modality_gap, spread, uniformity
from mmcl.objectives.views import modality_of, number_of

MAX_ROWS = 1024
"""Rows of each view that are looked at."""

MIN_SPREAD = 0.1
"""Collapsed below: unit vectors even on the sphere have 1, vectors whose mean has norm 0.995 have 0.1."""

MIN_EFFECTIVE_RANK = 2.0
"""Collapsed below, where rows and dimensions allow for at least `_MIN_POSSIBLE_RANK`."""

CHANCE_TOLERANCE = 0.02
"""How near its chance level, as a share of it, a loss counts as stuck."""

_MIN_POSSIBLE_RANK = 8
_WHAT = {"image": "pictures", "text": "texts"}

_MINING = "semi-hard instead of hard mining, a lower lr"
_LABELS = "another lr, a look at the labels and at how many rows of a class a batch holds"
_PAIRS = "a look at whether pictures and texts match (mmcl data)"

COLLAPSE_REMEDIES = {
    "clip": "a lower lr, a longer warm-up, a larger batch",
    "siglip": "a lower lr, a longer warm-up, a bias that starts at -10",
    "byol": "a momentum nearer 1, a predictor with batch norm, a lower lr",
    "swav": "a lower lr, prototypes frozen for longer, a smaller epsilon",
    "barlow_twins": "a larger batch, a larger off-diagonal weight, a wider projector",
    "moco": "a lower lr, a momentum nearer 1, batch norm over all processes",
    "moco_v3": "a lower lr, a momentum nearer 1, a longer warm-up",
    "triplet": f"{_MINING}, a larger margin",
    "margin": f"{_MINING}, a larger margin",
}
"""By objective; of the others it is `COLLAPSE_REMEDY`."""

COLLAPSE_REMEDY = "a lower lr, a longer warm-up, a lower temperature, a head between the embeddings and the loss"

STUCK_REMEDIES = {
    "clip": f"another lr, a larger batch, {_PAIRS}",
    "siglip": f"another lr, a bias that starts at -10, {_PAIRS}",
    "distillation": "a lower temperature for the teacher, a teacher that knows such pairs, another lr",
    "simclr": "a lower temperature, weaker augmentation, another lr, a longer warm-up",
    "simcse": "another lr, some dropout in the text model, a look at whether many texts are the same",
    "supcon": _LABELS,
    "cross_entropy": _LABELS,
    "moco": "a lower lr, a momentum nearer 1, a shorter queue, weaker augmentation",
    "swav": "a lower lr, prototypes frozen for longer, a smaller epsilon, fewer prototypes",
    "triplet": f"{_MINING}, a smaller margin",
}
"""By objective; of the others it is `STUCK_REMEDY`."""

STUCK_REMEDY = "another lr, a longer warm-up, a lower temperature, a larger batch, a look at the data (mmcl data)"


class Watched(Protocol):
    """What has to be known of an objective: its recipe entry has it."""

    @property
    def type(self) -> str: ...
    @property
    def views(self) -> tuple[str, ...]: ...


class HealthMonitor:
    """Turns the embeddings of a step into numbers for the log, and a run gone wrong into warnings, each given once.

    Its counters need not survive a resume; a warning may then come a second time.

    Args:
        objectives: by their names in the log.
        warmup_steps: steps of learning-rate warm-up, during which nothing is wrong yet.
        window: logged steps in a row after which a loss at chance counts as stuck.
        patience: logged steps in a row after which embeddings count as collapsed.
    """

    def __init__(
        self, objectives: Mapping[str, Watched], *, warmup_steps: int = 0, window: int = 20, patience: int = 3
    ) -> None:
        self.objectives = dict(objectives)
        self.warmup_steps, self.window, self.patience = warmup_steps, window, patience
        self._num_in_a_row: dict[str, int] = {}
        self._said: set[str] = set()

    def observe(
        self,
        step: int,
        record: Mapping[str, Any],
        views: Mapping[str, Tensor],
        rows: Mapping[str, Tensor | None] | None = None,
    ) -> tuple[dict[str, float | None], list[str]]:
        """Look at one logged step.

        Args:
            step: optimiser steps done.
            record: of the log: ``loss`` and ``chance``, and of several objectives ``loss/<name>`` and
                ``chance/<name>``; what is missing or null is not watched.
            views: ``(n, D)`` embeddings by view name (``image.0``); the first `MAX_ROWS` rows are looked at.
            rows: for views that not every row of the batch has, the ascending batch rows that have it.

        Returns:
            Entries for the log, None where a value does not exist (never NaN), and warnings that are new.
            ``health/<modality>/spread``, ``uniformity`` and ``effective_rank`` are of the modality's first view,
            ``health/modality_gap`` of the first of each, ``health/<objective>/alignment`` of the first two views that
            the objective compares, where they are two.
        """
        embeddings = {name: _unit_norm(view) for name, view in views.items()}
        first = _first_views(embeddings)
        entries: dict[str, float | None] = {}
        for modality, name in first.items():
            entries |= _of_modality(modality, embeddings[name])
        if len(first) == 2:
            entries["health/modality_gap"] = _value(modality_gap, embeddings[first["image"]], embeddings[first["text"]])
        for name, objective in self.objectives.items():
            pair = objective.views[:2]
            if len(set(pair)) == 2 and all(view in embeddings for view in pair):
                entries[f"health/{name}/alignment"] = _value(alignment, *_shared_rows(embeddings, pair, rows or {}))
        if step <= self.warmup_steps:
            return entries, []
        return entries, [*self._collapsed(entries, embeddings, first), *self._stuck(record)]

    def _collapsed(
        self,
        entries: Mapping[str, float | None],
        embeddings: Mapping[str, NDArray[np.float64]],
        first: Mapping[str, str],
    ) -> list[str]:
        warnings = []
        for modality, view in first.items():
            may_have_rank = min(embeddings[view].shape) >= _MIN_POSSIBLE_RANK
            even, rank = entries[f"health/{modality}/spread"], entries[f"health/{modality}/effective_rank"]
            if even is None or rank is None:
                continue
            is_collapsed = even < MIN_SPREAD or (may_have_rank and rank < MIN_EFFECTIVE_RANK)
            if self._lasts(f"collapse/{modality}", is_collapsed, self.patience):
                warnings.append(
                    f"embeddings of {_WHAT[modality]} have collapsed: spread {even:.2g} (even on the sphere: 1), "
                    f"effective rank {rank:.2g} of {embeddings[view].shape[1]}. "
                    f"The usual remedies: {self._collapse_remedies(modality)}"
                )
        return warnings

    def _collapse_remedies(self, modality: str) -> str:
        types = {
            one.type for one in self.objectives.values() if any(modality_of(view) == modality for view in one.views)
        }
        return "; ".join(dict.fromkeys(COLLAPSE_REMEDIES.get(name, COLLAPSE_REMEDY) for name in sorted(types)))

    def _stuck(self, record: Mapping[str, Any]) -> list[str]:
        warnings = []
        for name, objective in self.objectives.items():
            suffix = f"/{name}" if len(self.objectives) > 1 else ""
            loss, chance = _number(record.get(f"loss{suffix}")), _number(record.get(f"chance{suffix}"))
            is_at_chance = abs(loss - chance) <= CHANCE_TOLERANCE * abs(chance)  # false for NaN
            if self._lasts(f"stuck/{name}", is_at_chance, self.window):
                remedies = STUCK_REMEDIES.get(objective.type, STUCK_REMEDY)
                warnings.append(
                    f"{name}: the loss has stayed at chance for {self.window} logged steps "
                    f"({loss:.4g}, chance {chance:.4g}): nothing is learnt from it. The usual remedies: {remedies}"
                )
        return warnings

    def _lasts(self, what: str, holds: bool, times: int) -> bool:
        """Count how often in a row something holds; true once in a run, when it does for so many times."""
        self._num_in_a_row[what] = self._num_in_a_row.get(what, 0) + 1 if holds else 0
        if self._num_in_a_row[what] < times or what in self._said:
            return False
        self._said.add(what)
        return True


def _unit_norm(view: Tensor) -> NDArray[np.float64]:
    """The first rows, of unit norm; as they are where they cannot be, which leaves the numbers without a value."""
    rows = view.detach()[:MAX_ROWS].to("cpu", torch.float64).numpy()
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / norms if np.isfinite(norms).all() and (norms > 0).all() else rows


def _first_views(embeddings: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
    """The first view of each modality, pictures first."""
    order = sorted(embeddings, key=lambda name: (modality_of(name), -number_of(name)))
    return {modality_of(name): name for name in order}


def _of_modality(modality: str, rows: NDArray[np.float64]) -> dict[str, float | None]:
    metrics: tuple[tuple[str, Callable[..., float]], ...] = (
        ("spread", spread),
        ("uniformity", uniformity),
        ("effective_rank", effective_rank),
    )
    return {f"health/{modality}/{name}": _value(metric, rows) for name, metric in metrics}


def _shared_rows(
    embeddings: Mapping[str, NDArray[np.float64]], pair: tuple[str, ...], rows: Mapping[str, Tensor | None]
) -> list[NDArray[np.float64]]:
    """The embeddings of the batch rows that have both views, row by row beside each other."""
    positions = []
    for view in pair:
        present = rows.get(view)
        count = len(embeddings[view])
        numbers = range(count) if present is None else present[:count].tolist()
        positions.append({number: position for position, number in enumerate(numbers)})
    shared = [number for number in positions[0] if number in positions[1]]
    return [embeddings[view][[at[number] for number in shared]] for view, at in zip(pair, positions, strict=True)]


def _value(metric: Callable[..., float], *rows: NDArray[np.float64]) -> float | None:
    try:
        value = metric(*rows)
    except EvaluationError:  # too few rows, a zero or non-finite one, two widths
        return None
    return value if math.isfinite(value) else None


def _number(value: object) -> float:
    """A finite number as it is, anything else as NaN."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan
