"""Curves land where their axes say."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.report.line_chart import Series, draw_lines, nice_ticks, short


def coordinates(points: str) -> np.ndarray:
    return np.array([[float(part) for part in pair.split(",")] for pair in points.split()])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 6.9, [0, 2, 4, 6, 8]),
        (3, 997, [0, 250, 500, 750, 1000]),
        (0, 2e-5, [0, 5e-6, 1e-5, 1.5e-5, 2e-5]),
        (5, 5, [2, 4, 6, 8]),
        (0, 0, [-0.5, -0.25, 0, 0.25, 0.5]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 5) == pytest.approx(ticks)


def test_a_line_runs_between_the_ticks_it_should() -> None:
    chart = draw_lines("Loss", [Series("loss", np.array([0.0, 50.0, 100.0]), np.array([4.0, 2.0, 0.0]))])
    line = coordinates(chart.lines[0].points)
    places = {tick.label: tick.position for tick in chart.y_ticks}
    assert line[:, 1].tolist() == [places["4"], places["2"], places["0"]]
    assert line[:, 0].tolist() == [chart.left, (chart.left + chart.right) / 2, chart.right]
    assert (chart.lines[0].last_value, places["0"]) == ("0", chart.bottom)


def test_what_is_not_finite_is_left_out() -> None:
    chart = draw_lines("x", [Series("x", np.arange(4.0), np.array([1.0, np.nan, np.inf, 2.0]))])
    assert len(coordinates(chart.lines[0].points)) == 2
    assert draw_lines("x", [Series("x", np.arange(2.0), np.array([1.0, np.nan]))]) is None


def test_a_long_curve_is_averaged_not_cut() -> None:
    chart = draw_lines("x", [Series("x", np.arange(10_000.0), np.arange(10_000.0))])
    line = coordinates(chart.lines[0].points)
    assert len(line) == 300
    assert (np.diff(line[:, 0]) > 0).all()
    assert (np.diff(line[:, 1]) < 0).all()


def test_axis_labels_are_short() -> None:
    assert [short(value) for value in (0, 0.25, 2e-5, 9500, 12_500)] == ["0", "0.25", "2e-05", "9500", "12.5k"]
