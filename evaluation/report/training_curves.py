"""The curves of a run, from the records of its ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.report.line_chart import LineChart, Role, Series, draw_lines

_WATCHED = (
    *("image_retrieval_recall@1", "text_retrieval_recall@1", "acc1", "acc1@5_labels"),
    *("cosine_spearman", "cosine_ap", "cosine_accuracy", "ndcg_at_10", "f1"),
)
_COLOURS: tuple[Role, ...] = ("line-1", "line-2", "line-3", "line-4")
_MODALITIES: tuple[tuple[str, str, Role], ...] = (("image", "pictures", "line-1"), ("text", "texts", "line-2"))


@dataclass(frozen=True)
class TrainingPanel:
    """The charts there is something to draw for, and the last step recorded."""

    charts: tuple[LineChart, ...]
    num_steps: int


def draw_training(log: Sequence[Mapping[str, Any]]) -> TrainingPanel | None:
    """Return the charts of a training log, or None when it has no curve.

    Args:
        log: records with a ``step``; keys that are missing or not numbers are left out of the curve they belong to.
    """
    watched = [key for key in dict.fromkeys(key for record in log for key in record) if _is_watched(key)]
    evaluated = [
        _series(log, key, key, colour, scale=100)
        for key, colour in zip(watched[: len(_COLOURS)], _COLOURS, strict=False)
    ]
    charts = (
        _loss_chart(log, "Loss", ""),
        draw_lines("Evaluation during training (%)", evaluated, from_zero=True),
        # Each on a scale of its own: the loss of one objective may be a hundred times that of another.
        *(_loss_chart(log, f"Loss of {name}", f"/{name}") for name in _objectives(log)),
        _health_chart(log, "Spread of embeddings (1: even)", "spread"),
        _health_chart(log, "Effective rank of embeddings", "effective_rank"),
        draw_lines("Learning rate", [_series(log, "lr", "lr")], from_zero=True),
        draw_lines("Samples per second", [_series(log, "samples_per_second", "samples/s")], from_zero=True),
        draw_lines("Time waiting for data (%)", [_series(log, "data_wait", "waiting", scale=100)], from_zero=True),
    )
    kept = tuple(chart for chart in charts if chart is not None)
    steps = [record["step"] for record in log if _is_number(record.get("step"))]
    return TrainingPanel(kept, int(max(steps))) if kept else None


def _objectives(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the objectives, where there are several."""
    keys = dict.fromkeys(key for record in log for key in record)
    return [key.removeprefix("loss/") for key in keys if key.startswith("loss/")]


def _loss_chart(log: Sequence[Mapping[str, Any]], title: str, suffix: str) -> LineChart | None:
    chance = _series(log, f"chance{suffix}", "chance", "reference")
    return draw_lines(title, [chance, _series(log, f"loss{suffix}", "loss")])


def _health_chart(log: Sequence[Mapping[str, Any]], title: str, metric: str) -> LineChart | None:
    series = [_series(log, f"health/{modality}/{metric}", name, colour) for modality, name, colour in _MODALITIES]
    return draw_lines(title, series, from_zero=True)


def _is_watched(key: str) -> bool:
    return "/" in key and key.rsplit("/", 1)[1] in _WATCHED


def _series(log: Sequence[Mapping[str, Any]], key: str, name: str, role: Role = "line-1", scale: float = 1.0) -> Series:
    points = [
        (record["step"], record[key])
        for record in log
        if _is_number(record.get("step")) and _is_number(record.get(key))
    ]
    x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return Series(name, x, scale * y, role)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
