"""Numbers that change over a run, and how a recipe writes them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field, ValidationError

from mmcl.recipe import Recipe
from mmcl.recipe_errors import misplaced_booleans
from mmcl.recipe_merge import apply_overrides
from mmcl.recipe_schema import recipe_schema
from mmcl.recipe_sections import expand
from mmcl.recipe_yaml import Origin, at_origin, read_yaml
from mmcl.schedules import (
    MomentumSchedule,
    Schedule,
    ScheduledMomentum,
    ScheduledWeight,
    WeightSchedule,
    lr_factor,
    value_at,
)
from mmcl.section import Section
from tests.test_recipe_errors import mistakes


@pytest.mark.parametrize(("start", "num_steps"), [(0.996, 1000), (0.99, 300), (0.9, 7), (0.996, 1)])
def test_a_cosine_to_one_is_byols_momentum_at_every_step(start: float, num_steps: int) -> None:
    schedule = Schedule(start=start, end=1.0)
    for k in range(num_steps):
        tau = 1 - (1 - start) * (math.cos(math.pi * k / num_steps) + 1) / 2
        assert value_at(schedule, k, num_steps) == tau


def test_a_number_stays_as_it_is() -> None:
    assert {value_at(0.3, step, 5) for step in range(5)} == {0.3}


def test_a_cosine_begins_at_its_start_and_is_half_way_in_the_middle() -> None:
    schedule = Schedule(start=0.2, end=1.0, shape="cosine")
    values = [value_at(schedule, step, 4) for step in range(6)]
    quarter = 0.2 + 0.8 * (1 - math.sqrt(0.5)) / 2
    assert values == pytest.approx([0.2, quarter, 0.6, 1.2 - quarter, 1.0, 1.0])
    assert values[4:] == [1.0, 1.0]


def test_a_line_moves_evenly_up_or_down() -> None:
    assert [value_at(Schedule(start=0, end=1, shape="linear"), k, 4) for k in range(4)] == [0, 0.25, 0.5, 0.75]
    assert [value_at(Schedule(start=3, end=1, shape="linear"), k, 4) for k in range(5)] == [3, 2.5, 2, 1.5, 1]


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_a_ramp_over_a_share_of_the_run_then_stays_at_its_end(shape: Literal["cosine", "linear"]) -> None:
    schedule = WeightSchedule(start=0, end=0.5, shape=shape, ramp_ratio=0.25)
    values = [value_at(schedule, step, 16) for step in range(16)]
    assert values[0] == 0
    assert values[2] == pytest.approx(0.25)
    assert values[:5] == sorted(set(values[:5]))
    assert values[4:] == [0.5] * 12


def test_a_ramp_shorter_than_a_step_is_over_at_once() -> None:
    schedule = Schedule(start=0, end=1, ramp_ratio=0.01)
    assert [value_at(schedule, step, 10) for step in range(3)] == [0, 1, 1]


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


class Gamma(Section):
    """An objective."""

    type: Literal["gamma"] = "gamma"
    weight: ScheduledWeight = 1.0
    """Weight."""


class Delta(Section):
    """Another objective, with an average."""

    type: Literal["delta"] = "delta"
    weight: ScheduledWeight = 1.0
    """Weight."""
    momentum: ScheduledMomentum = MomentumSchedule(start=0.996, end=1.0)
    """Momentum."""


class Scheduling(Recipe):
    """A recipe of several objectives."""

    objectives: tuple[Annotated[Gamma | Delta, Field(discriminator="type")], ...] = ()
    """Objectives."""


@pytest.fixture
def scheduling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a recipe be one of objectives with schedules."""
    for module in ("recipe_sections", "recipe_merge", "recipe_schema"):
        monkeypatch.setattr(f"mmcl.{module}.Recipe", Scheduling)


def read(text: str, *overrides: str) -> Any:
    root, problems = apply_overrides(expand(read_yaml(text, "f.yaml")[0], (Scheduling,)), overrides)
    assert not problems
    return Scheduling.model_validate(root.plain())


@pytest.mark.usefixtures("scheduling")
def test_objectives_take_numbers_and_schedules_in_short_and_long_form() -> None:
    text = "data: x\nobjectives: [{gamma: 0.5}, {delta: {weight: {start: 0, end: 2, ramp_ratio: 0.1}, momentum: 0.99}}]"
    gamma, delta = read(text).objectives
    assert gamma.weight == 0.5
    assert delta.weight == WeightSchedule(start=0, end=2, ramp_ratio=0.1)
    assert delta.momentum == 0.99
    assert read("data: x\nobjectives: [delta]").objectives[0].momentum == MomentumSchedule(start=0.996, end=1.0)


@pytest.mark.usefixtures("scheduling")
def test_overrides_reach_into_schedules_and_replace_numbers() -> None:
    text = "data: x\nobjectives: [{gamma: {weight: {start: 1, end: 2}}}, {delta: 3}]"
    changed = read(text, "objectives.0.weight.start=0", "objectives.1.weight={start: 0, end: 3, shape: linear}")
    assert changed.objectives[0].weight == WeightSchedule(start=0, end=2)
    assert changed.objectives[1].weight == WeightSchedule(start=0, end=3, shape="linear")
    assert read(text, "objectives.0.weight=4").objectives[0].weight == 4


@pytest.mark.usefixtures("scheduling")
def test_a_dumped_recipe_with_schedules_loads_back_equal() -> None:
    recipe = read("data: x\nobjectives: [{gamma: {weight: {start: 0, end: 1}}}, delta]")
    assert Scheduling.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.usefixtures("scheduling")
@pytest.mark.parametrize(
    ("objective", "mistake"),
    [
        ("{gamma: -1}", "weight: must be > 0, got -1"),
        ("{gamma: fast}", 'weight: must be a number or a mapping, got "fast"'),
        ("{gamma: {weight: {start: -1, end: 1}}}", "weight.start: must be >= 0, got -1"),
        ("{gamma: {weight: {start: 0}}}", "weight.end: is required"),
        ("{gamma: {weight: {start: 0, end: 0}}}", "weight: start and end must not both be 0: the objective would"),
        ("{gamma: {weight: {strat: 0, end: 1, start: 0}}}", 'weight.strat: unknown key. Did you mean "start"?'),
        (
            "{gamma: {weight: {start: 0, end: 1, shape: cosin}}}",
            'weight.shape: unknown name "cosin" (cosine, linear). Did you mean "cosine"?',
        ),
        ("{gamma: {weight: {start: 0, end: 1, ramp_ratio: 0}}}", "weight.ramp_ratio: must be > 0, got 0"),
        ("{delta: {momentum: {start: 0.9, end: 1.1}}}", "momentum.end: must be <= 1, got 1.1"),
        ("{delta: {momentum: 2}}", "momentum: must be <= 1, got 2"),
    ],
)
def test_a_mistake_in_a_schedule_is_one_line_in_plain_words(objective: str, mistake: str) -> None:
    (line,) = mistakes(f"data: x\nobjectives: [{objective}]", Scheduling)
    assert line.startswith(f"f.yaml:2 objectives.0.{mistake}")


@pytest.mark.usefixtures("scheduling")
def test_true_is_no_number_in_a_schedule_either() -> None:
    text = "data: x\nobjectives: [{gamma: true}, {gamma: {weight: {start: yes, end: 1}}}]"
    root = expand(read_yaml(text, "f.yaml")[0], (Scheduling,))
    found = {problem.path for problem in misplaced_booleans(root, (Scheduling,))}
    assert found == {("objectives", 0, "weight"), ("objectives", 1, "weight", "start")}


@pytest.mark.usefixtures("scheduling")
def test_the_json_schema_takes_both_forms() -> None:
    validator = Draft202012Validator(recipe_schema())
    for weight in (0.5, {"start": 0, "end": 1}, {"start": 0}):
        assert validator.is_valid({"objectives": [{"type": "gamma", "weight": weight}, {"gamma": {"weight": weight}}]})
    for weight in (0, "fast", {"strat": 0}, {"start": -1}, {"start": 0, "shape": "cosin"}):
        assert not validator.is_valid({"objectives": [{"type": "gamma", "weight": weight}]})


def test_expanding_leaves_schedules_alone() -> None:
    given = {"objectives": [{"type": "gamma", "weight": {"start": 0, "end": 1}}, {"type": "delta", "weight": 2}]}
    assert expand(at_origin(given, Origin("f")), (Scheduling,)).plain() == given


def test_a_schedule_is_refused_where_a_number_is_meant() -> None:
    with pytest.raises(ValidationError, match="lr"):
        Recipe.model_validate({"data": "x", "lr": {"start": 0, "end": 1}})
