"""Line charts as coordinates for an inline SVG: drawn by the browser, sharp on paper, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 26
_MAX_POINTS = 300

Role: TypeAlias = Literal["line-1", "line-2", "line-3", "line-4", "reference"]


@dataclass(frozen=True)
class Series:
    """One line before it is drawn: ``(n,)`` x and y values in order of x, its name, and the class of its colour."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    role: Role = "line-1"


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the drawing and what it says."""

    position: float
    label: str


@dataclass(frozen=True)
class DrawnLine:
    """A line in drawing coordinates: an SVG ``points`` attribute, where it ends, and what it is."""

    points: str
    end: tuple[float, float]
    name: str
    role: Role
    last_value: str


@dataclass(frozen=True)
class LineChart:
    """A chart ready for the template."""

    title: str
    lines: tuple[DrawnLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw_lines(title: str, series: Sequence[Series], *, from_zero: bool = False) -> LineChart | None:
    """Return the chart of all series that have at least two finite points, or None when none has.

    Args:
        title: above the chart.
        series: what to draw; a long one is averaged down to `_MAX_POINTS` bins.
        from_zero: let the y axis start at 0 instead of near the smallest value.
    """
    kept = [one for one in map(_thinned, series) if len(one.x) >= 2]
    if not kept:
        return None
    x_all, y_all = np.concatenate([one.x for one in kept]), np.concatenate([one.y for one in kept])
    x_low, x_high = float(x_all.min()), float(x_all.max())
    y_values = nice_ticks(0.0 if from_zero else float(y_all.min()), float(y_all.max()), 5)
    y_low, y_high = min(y_values[0], float(y_all.min())), max(y_values[-1], float(y_all.max()))

    def place_x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - x_low) / ((x_high - x_low) or 1.0)

    def place_y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - y_low) / ((y_high - y_low) or 1.0)

    def drawn(one: Series) -> DrawnLine:
        places = [(round(place_x(x), 1), round(place_y(y), 1)) for x, y in zip(one.x, one.y, strict=True)]
        return DrawnLine(
            points=" ".join(f"{x},{y}" for x, y in places),
            end=places[-1],
            name=one.name,
            role=one.role,
            last_value=_short(one.y[-1]),
        )

    x_values = [value for value in nice_ticks(x_low, x_high, 5) if x_low <= value <= x_high]
    return LineChart(
        title=title,
        lines=tuple(drawn(one) for one in kept),
        x_ticks=tuple(Tick(round(place_x(value), 1), short(value)) for value in x_values),
        y_ticks=tuple(Tick(round(place_y(value), 1), short(value)) for value in y_values),
    )


def nice_ticks(low: float, high: float, num_wanted: int) -> list[float]:
    """Return about ``num_wanted`` round values, evenly spaced, that enclose ``low`` and ``high``."""
    if high <= low:
        margin = abs(low) * 0.5 or 0.5
        low, high = low - margin, low + margin
    rough = (high - low) / max(1, num_wanted - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number as an axis has it: ``12k``, ``0.25``, ``2e-05``."""
    if value and abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _thinned(one: Series) -> Series:
    """Leave out what is not finite, and average a long series down to bins of equal length."""
    keep = np.isfinite(one.x) & np.isfinite(one.y)
    x, y = one.x[keep], one.y[keep]
    if len(x) > _MAX_POINTS:
        bins = np.linspace(0, len(x), _MAX_POINTS + 1).astype(int)[:-1]
        sizes = np.diff(np.append(bins, len(x)))
        x, y = np.add.reduceat(x, bins) / sizes, np.add.reduceat(y, bins) / sizes
    return Series(one.name, x, y, one.role)


def _short(value: float) -> str:
    """Three significant digits, and no exponent for thousands."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
