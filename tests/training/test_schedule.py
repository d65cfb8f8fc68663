from __future__ import annotations

import pytest

from mmcl.training.schedule import lr_factor


def test_warm_up_rises_linearly_to_one() -> None:
    assert [lr_factor(step, 20, 0.2, "cosine") for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert lr_factor(50, 100, 0.0, "cosine") == pytest.approx(0.5)
    assert lr_factor(0, 100, 0.0, "cosine") == 1.0
    assert 0 < lr_factor(99, 100, 0.0, "cosine") < 0.001


def test_linear_falls_evenly_and_constant_stays() -> None:
    assert [lr_factor(step, 4, 0.0, "linear") for step in range(4)] == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert {lr_factor(step, 4, 0.0, "constant") for step in range(4)} == {1.0}


def test_a_warm_up_as_long_as_the_run_never_divides_by_zero() -> None:
    assert lr_factor(3, 4, 1.0, "cosine") == 1.0
    assert lr_factor(0, 1, 1.0, "linear") == 1.0
