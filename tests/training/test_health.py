"""What the log says of embeddings, and the warnings of a run gone wrong."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from evaluation.metrics import alignment, effective_rank, modality_gap, spread, uniformity
from mmcl.objectives.configs import AnyObjective
from mmcl.training.health import COLLAPSE_REMEDIES, MAX_ROWS, STUCK_REMEDIES, HealthMonitor


@dataclass(frozen=True)
class Entry:
    type: str
    views: tuple[str, ...]


CLIP = Entry("clip", ("image.0", "text.0"))
SIMCLR = Entry("simclr", ("image.0", "image.1"))
SWAV = Entry("swav", ("image.0", "image.1", "image.2"))


def even(num_rows: int = 32, width: int = 16, seed: int = 0) -> Tensor:
    return normalize(torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def at_a_point(num_rows: int = 32, width: int = 16, noise: float = 1e-2) -> Tensor:
    return normalize(torch.ones(num_rows, width) + noise * even(num_rows, width), dim=1)


def on_a_line(num_rows: int = 32, width: int = 16) -> Tensor:
    signs = torch.tensor([1.0, -1.0]).repeat(num_rows // 2)[:, None]
    return normalize(signs * torch.ones(num_rows, width) + 1e-3 * even(num_rows, width), dim=1)


def test_entries_are_the_metrics_of_the_embeddings() -> None:
    views = {"image.1": even(seed=1), "image.0": even(seed=0), "text.0": even(seed=2)}
    entries, warnings = HealthMonitor({"clip": CLIP, "simclr": SIMCLR}).observe(10, {"loss": 1.0}, views)
    image, second, text = (views[name].double().numpy() for name in ("image.0", "image.1", "text.0"))
    assert entries == pytest.approx(
        {
            "health/image/spread": spread(image),
            "health/image/uniformity": uniformity(image),
            "health/image/effective_rank": effective_rank(image),
            "health/text/spread": spread(text),
            "health/text/uniformity": uniformity(text),
            "health/text/effective_rank": effective_rank(text),
            "health/modality_gap": modality_gap(image, text),
            "health/clip/alignment": alignment(image, text),
            "health/simclr/alignment": alignment(image, second),
        },
        rel=1e-5,
    )
    assert warnings == []


def test_one_modality_has_no_gap_and_one_view_no_alignment() -> None:
    monitor = HealthMonitor({"simcse": Entry("simcse", ("text.0", "text.0"))})
    entries, _ = monitor.observe(1, {}, {"text.0": even()})
    assert set(entries) == {f"health/text/{name}" for name in ("spread", "uniformity", "effective_rank")}


def test_alignment_is_of_rows_that_have_both_views() -> None:
    images, texts = even(6), even(4, seed=1)
    rows = {"image.0": torch.tensor([0, 1, 3, 4, 6, 9]), "text.0": torch.tensor([1, 2, 6, 7])}
    entries, _ = HealthMonitor({"clip": CLIP}).observe(1, {}, {"image.0": images, "text.0": texts}, rows)
    expected = alignment(images[[1, 4]].double().numpy(), texts[[0, 2]].double().numpy())
    assert entries["health/clip/alignment"] == pytest.approx(expected, rel=1e-6)
    rows = {"image.0": torch.tensor([0, 1, 3, 4, 6, 9]), "text.0": None}
    entries, _ = HealthMonitor({"clip": CLIP}).observe(1, {}, {"image.0": images, "text.0": even(10)}, rows)
    expected = alignment(images.double().numpy(), even(10)[rows["image.0"]].double().numpy())
    assert entries["health/clip/alignment"] == pytest.approx(expected, rel=1e-6)


def test_the_first_rows_of_a_large_batch_are_looked_at() -> None:
    view = torch.cat([even(MAX_ROWS), at_a_point(500)])
    entries, _ = HealthMonitor({}).observe(1, {}, {"image.0": view})
    assert entries["health/image/spread"] == pytest.approx(spread(view[:MAX_ROWS].double().numpy()), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_gradients_are_taken(dtype: torch.dtype) -> None:
    view = even().to(dtype).requires_grad_()
    entries, _ = HealthMonitor({}).observe(1, {}, {"image.0": view})
    assert entries["health/image/spread"] == pytest.approx(spread(even().double().numpy()), rel=1e-2)


@pytest.mark.parametrize(
    "view", [even(1), torch.zeros(8, 16), even().index_fill(0, torch.tensor([3]), math.nan), torch.empty(0, 16)]
)
def test_what_has_no_value_is_none_and_the_log_never_holds_nan(view: Tensor) -> None:
    monitor = HealthMonitor({"clip": CLIP, "simclr": SIMCLR})
    views = {"image.0": view, "text.0": even(7, width=5), "image.1": even(3)}
    for step in range(30):
        entries, warnings = monitor.observe(step, {"loss/clip": math.nan, "chance/clip": None}, views)
        assert warnings == []
    json.dumps(entries, allow_nan=False)
    assert entries["health/image/spread"] is None
    assert entries["health/modality_gap"] is None
    assert entries["health/clip/alignment"] is None
    assert entries["health/text/spread"] is not None


@pytest.mark.parametrize("view", [at_a_point(), on_a_line()])
def test_collapse_is_told_once_after_some_steps_in_a_row(view: Tensor) -> None:
    monitor = HealthMonitor({"clip": CLIP, "swav": SWAV}, patience=3)
    said = [monitor.observe(step, {}, {"image.0": view, "text.0": even()})[1] for step in range(1, 8)]
    assert [len(warnings) for warnings in said] == [0, 0, 1, 0, 0, 0, 0]
    assert "embeddings of pictures have collapsed: spread" in said[2][0]
    assert "of 16. The usual remedies:" in said[2][0]
    assert "prototypes frozen for longer" in said[2][0]
    assert "a longer warm-up" in said[2][0]


def test_collapse_is_counted_per_modality_and_anew_after_a_healthy_step() -> None:
    monitor = HealthMonitor({"clip": CLIP}, patience=2)
    steps = [at_a_point(), even(), at_a_point(), at_a_point()]
    said = [monitor.observe(step, {}, {"image.0": even(), "text.0": view})[1] for step, view in enumerate(steps, 1)]
    assert [len(warnings) for warnings in said] == [0, 0, 0, 1]
    assert said[3][0].startswith("embeddings of texts have collapsed")


def test_few_rows_or_dimensions_are_no_collapse() -> None:
    monitor = HealthMonitor({}, patience=1)
    assert monitor.observe(1, {}, {"image.0": even(32, width=2)})[1] == []
    assert monitor.observe(2, {}, {"image.0": on_a_line(4)})[1] == []


def test_nothing_is_wrong_during_warm_up() -> None:
    monitor = HealthMonitor({"clip": CLIP}, warmup_steps=20, window=3, patience=3)
    views, record = {"image.0": at_a_point()}, {"loss": 5.0, "chance": 5.0}
    said = [monitor.observe(step, record, views)[1] for step in range(10, 60, 10)]
    assert [len(warnings) for warnings in said] == [0, 0, 0, 0, 2]


def test_a_loss_at_chance_is_told_once_with_the_remedies_of_its_method() -> None:
    chance = math.log(300)
    monitor = HealthMonitor({"swav": SWAV}, window=4)
    said = [monitor.observe(step, {"loss": 0.99 * chance, "chance": chance}, {})[1] for step in range(1, 8)]
    assert [len(warnings) for warnings in said] == [0, 0, 0, 1, 0, 0, 0]
    assert said[3] == [
        "swav: the loss has stayed at chance for 4 logged steps (5.647, chance 5.704): nothing is learnt from it. "
        "The usual remedies: a lower lr, prototypes frozen for longer, a smaller epsilon, fewer prototypes"
    ]


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_loss_away_from_chance_even_once_is_not_stuck(share: float) -> None:
    monitor = HealthMonitor({"clip": CLIP}, window=3)
    shares = [1.0, 1.0, share, 0.99, 1.01, 1.0]
    said = [monitor.observe(step, {"loss": 4.0 * now, "chance": 4.0}, {})[1] for step, now in enumerate(shares, 1)]
    assert [len(warnings) for warnings in said] == [0, 0, 0, 0, 0, 1]


def test_of_several_objectives_each_is_read_against_its_own_chance() -> None:
    monitor = HealthMonitor({"clip": CLIP, "simclr": SIMCLR}, window=2)
    record = {
        "loss": 9.0,
        "chance": 9.0,
        "loss/clip": 1.0,
        "chance/clip": 4.0,
        "loss/simclr": 5.0,
        "chance/simclr": 5.0,
    }
    monitor.observe(1, record, {})
    (warning,) = monitor.observe(2, record, {})[1]
    assert warning.startswith("simclr: the loss has stayed at chance for 2 logged steps")


def test_a_loss_without_a_chance_level_is_not_watched() -> None:
    monitor = HealthMonitor({"byol": Entry("byol", ("image.0", "image.1"))}, window=1)
    assert monitor.observe(1, {"loss": 0.0, "chance": None}, {})[1] == []
    assert monitor.observe(2, {"loss": 0.0}, {})[1] == []


def test_remedies_are_for_objectives_that_exist() -> None:
    types = {config.model_fields["type"].default for config in get_args(get_args(AnyObjective)[0])}
    assert set(COLLAPSE_REMEDIES) | set(STUCK_REMEDIES) <= types
    without_chance = {"byol", "barlow_twins", "margin"}
    assert not set(STUCK_REMEDIES) & without_chance
