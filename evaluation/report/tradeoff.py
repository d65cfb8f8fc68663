"""The plot of what was gained against what was kept, as coordinates for an inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.changes import TradeOff
from evaluation.report.line_chart import HEIGHT, WIDTH, Tick, nice_ticks, short

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 16, 40


@dataclass(frozen=True)
class Mark:
    """A point in drawing coordinates."""

    x: float
    y: float
    label: str
    is_chosen: bool


@dataclass(frozen=True)
class TradeOffChart:
    """A chart ready for the template; percents."""

    marks: tuple[Mark, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    chosen: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw_trade_off(trade_off: TradeOff) -> TradeOffChart:
    """Return the chart: kept to the right, gained upwards, a line through the points in their order."""
    kept = [100 * point[1] for point in trade_off.points]
    gained = [100 * point[2] for point in trade_off.points]
    x_values, y_values = nice_ticks(min(kept), max(kept), 5), nice_ticks(min(gained), max(gained), 5)

    def place_x(value: float) -> float:
        span = x_values[-1] - x_values[0]
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (value - x_values[0]) / span, 1)

    def place_y(value: float) -> float:
        span = y_values[-1] - y_values[0]
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - y_values[0]) / span, 1)

    marks = tuple(
        Mark(place_x(x), place_y(y), label, label == trade_off.chosen)
        for (label, _, _), x, y in zip(trade_off.points, kept, gained, strict=True)
    )
    return TradeOffChart(
        marks=marks,
        line=" ".join(f"{mark.x},{mark.y}" for mark in marks),
        x_ticks=_ticks(x_values, place_x),
        y_ticks=_ticks(y_values, place_y),
        chosen=trade_off.chosen,
    )


def _ticks(values: Sequence[float], place: Callable[[float], float]) -> tuple[Tick, ...]:
    return tuple(Tick(place(value), short(value)) for value in values)
