from __future__ import annotations

import pytest

from evaluation import TradeOff
from evaluation.report.tradeoff import draw_trade_off

POINTS = (("alpha = 0", 0.8, 0.2), ("alpha = 0.5", 0.7, 0.5), ("alpha = 1", 0.4, 0.6))


def test_kept_is_to_the_right_and_gained_upwards() -> None:
    chart = draw_trade_off(TradeOff(POINTS, "alpha = 0.5", ()))
    first, middle, last = chart.marks
    assert first.x > middle.x > last.x
    assert first.y > middle.y > last.y  # from the top
    assert [mark.is_chosen for mark in chart.marks] == [False, True, False]
    assert chart.line == " ".join(f"{mark.x},{mark.y}" for mark in chart.marks)


def test_places_are_those_of_the_axes() -> None:
    chart = draw_trade_off(TradeOff(POINTS, "alpha = 1", ()))
    by_label = {tick.label: tick.position for tick in chart.x_ticks}
    assert chart.marks[0].x == pytest.approx(by_label["80"])
    assert chart.marks[2].x == pytest.approx(by_label["40"])
    heights = {tick.label: tick.position for tick in chart.y_ticks}
    assert chart.marks[0].y == pytest.approx(heights["20"])
    assert chart.left == by_label["40"]
    assert chart.right == by_label["80"]


def test_points_that_coincide_have_axes_all_the_same() -> None:
    chart = draw_trade_off(TradeOff((("alpha = 0", 0.5, 0.5), ("alpha = 1", 0.5, 0.5)), "alpha = 0", ()))
    assert all(chart.left <= mark.x <= chart.right for mark in chart.marks)
