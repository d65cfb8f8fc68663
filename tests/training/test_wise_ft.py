from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from evaluation import TaskResult, compare_results
from mmcl.cli.train import format_run
from mmcl.interpolation import interpolate
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.training.guard import Judges
from mmcl.training.run import Run, run_recipe
from mmcl.training.wise_ft import sweep_alphas
from tests.tiny import save_pairs, save_tokenizer, tiny_recipe, vit_bert_pair

ALPHAS = (0.0, 0.4, 1.0)
NUM_GROUPS = 40


def result(dataset: str, right: float, seed: int = 0) -> TaskResult:
    """A classification of which about a share is right, more for one half of the examples than for the other."""
    drawn = np.random.default_rng(seed).random(NUM_GROUPS)
    labels = np.zeros(NUM_GROUPS, dtype=np.int64)
    predictions = (drawn > right).astype(np.int64)
    metrics = {"acc1": float((predictions == 0).mean())}
    examples = {"label": labels, "prediction": predictions}
    return TaskResult(dataset, "m", "zeroshot_classification", metrics, NUM_GROUPS, examples=examples)


def found_at(target: float, guard: float) -> list[TaskResult]:
    return [result("mine", target), result("other", guard, seed=1)]


FOUND = {0.0: found_at(0.2, 0.9), 0.4: found_at(0.6, 0.8), 1.0: found_at(0.7, 0.3)}


def swept(tmp_path: Path, max_guard_drop: float | None = None, found: Any = None) -> Any:
    """A sweep over three alphas whose results are given; returns it with the model, its start and its end."""
    given = found or FOUND
    config = vit_bert_pair(save_tokenizer(tmp_path))
    model, start = build_model(config, seed=1), build_model(config, seed=0).state_dict()
    end = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one: Any = object()
    asked: list[dict[str, torch.Tensor]] = []

    def judge() -> list[TaskResult]:
        asked.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return given[0.4]

    known = {0.0: given[0.0], 1.0: given[1.0]}
    sweep = sweep_alphas(model, start, ALPHAS, Judges([one], [one]), judge, known, max_guard_drop)
    assert len(asked) == 1
    assert all(torch.equal(asked[0][name], tensor) for name, tensor in interpolate(start, end, 0.4).items())
    return sweep, model, start, end


def test_the_best_for_tasks_and_guard_together_is_taken(tmp_path: Path) -> None:
    sweep, model, start, end = swept(tmp_path)
    assert sweep.alpha == 0.4
    assert sweep.results == tuple(FOUND[0.4])
    for name, tensor in interpolate(start, end, 0.4).items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_what_is_reported_is_of_the_half_that_did_not_choose(tmp_path: Path) -> None:
    sweep = swept(tmp_path)[0]
    for point in sweep.points:
        (target,) = compare_results(FOUND[0.0][:1], FOUND[point.alpha][:1], half=1)
        (guard,) = compare_results(FOUND[0.0][1:], FOUND[point.alpha][1:], half=1)
        assert (point.target, point.guard) == (target.after, guard.after)
    assert [change.after for change in sweep.changes] == [sweep.points[1].target, sweep.points[1].guard]
    assert [change.is_guard for change in sweep.changes] == [False, True]


def test_a_small_guard_weighs_as_much_as_a_large_task(tmp_path: Path) -> None:
    """By the sum the last would be best."""
    found = {0.0: found_at(0.2, 0.2), 0.4: found_at(0.6, 0.15), 1.0: found_at(0.9, 0.0)}
    assert swept(tmp_path, None, found)[0].alpha == 0.4


def test_a_guard_may_not_fall_further_than_is_allowed(tmp_path: Path) -> None:
    best_at_the_end = {0.0: found_at(0.1, 0.9), 0.4: found_at(0.2, 0.88), 1.0: found_at(1.0, 0.5)}
    assert swept(tmp_path / "free", None, best_at_the_end)[0].alpha == 1.0
    assert swept(tmp_path / "bound", 0.2, best_at_the_end)[0].alpha == 0.4


def test_where_nothing_is_gained_the_start_is_kept(tmp_path: Path) -> None:
    equal = dict.fromkeys(ALPHAS, found_at(0.5, 0.5))
    assert swept(tmp_path, None, equal)[0].alpha == 0.0


def guarded(folder: Path, **fields: Any) -> Recipe:
    other = str(save_pairs(folder / "other", num_rows=30, num_groups=20))
    columns = {"image": "image", "text": "text", "group": "group"}
    guard = [{"task": "retrieval", "name": "other", "data": other, "columns": columns}]
    return tiny_recipe(folder, **{"guard": guard, "ema": None, "max_steps": 4, "wise_ft": [0.5], **fields})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    folder = tmp_path_factory.mktemp("sweep")
    config = {
        "model_type": "clip",
        "projection_dim": 8,
        "text_config": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
        "vision_config": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": 16,
            "patch_size": 8,
        },
    }
    model = {"config": config, "tokenizer": save_tokenizer(folder / "tokenizer")}
    recipe = guarded(folder, model=model, tuning={"image": "lora"}, lr=0.05)
    return recipe, run_recipe(recipe)


def test_a_run_exports_the_recommended_weights(finished: tuple[Recipe, Run]) -> None:
    recipe, run = finished
    assert run.sweep is not None
    assert [point.alpha for point in run.sweep.points] == [0.0, 0.5, 1.0]
    assert run.sweep.alpha in (0.0, 0.5, 1.0)
    assert run.results == run.sweep.results
    assert {result.model for result in run.results} == {run.path.name}
    kept = json.loads((run.path / "wise_ft.json").read_text())
    assert kept["alpha"] == run.sweep.alpha
    assert kept["points"] == [asdict(point) for point in run.sweep.points]
    # The low-rank updates are merged before anything is interpolated.
    exported = build_model(ModelConfig(name=str(run.path))).state_dict()
    start = build_model(recipe.model, recipe.seed).state_dict()
    assert exported.keys() == start.keys()
    moved = {name for name in start if not torch.allclose(exported[name], start[name], atol=1e-6)}
    assert bool(moved) == (run.sweep.alpha > 0)


def test_it_says_what_it_recommends(finished: tuple[Recipe, Run]) -> None:
    _, run = finished
    assert run.sweep is not None
    label = f"alpha = {run.sweep.alpha:g}"
    assert format_run(run).startswith(f"what is exported, {label}\ndataset")
    assert f"recommended and exported: {label}" in format_run(run)
    page = run.report.read_text()
    assert f"Recommended: {label}" in page
    assert f"Of what is exported, {label}, on all examples." in page
    assert page.count('<circle class="mark') == 3


def test_without_a_sweep_the_fine_tuned_weights_are_exported(tmp_path: Path) -> None:
    run = run_recipe(guarded(tmp_path, wise_ft=[]))
    assert run.sweep is None
    assert len(run.changes) == 4


@pytest.mark.parametrize(
    ("fields", "alphas"),
    [
        ({}, ()),
        ({"guard": [{"task": "retrieval", "data": "y"}]}, tuple(number / 10 for number in range(11))),
        ({"guard": [{"task": "retrieval", "data": "y"}], "wise_ft": [0.5]}, (0.0, 0.5, 1.0)),
        ({"guard": [{"task": "retrieval", "data": "y"}], "wise_ft": []}, ()),
        ({"guard": [{"task": "retrieval", "data": "y"}], "evaluate": []}, ()),
    ],
)
def test_tenths_are_tried_where_there_is_a_guard(fields: dict[str, Any], alphas: tuple[float, ...]) -> None:
    assert Recipe.model_validate({"data": "x", **fields}).alphas == alphas


def test_there_is_no_choosing_without_a_guard() -> None:
    with pytest.raises(ValidationError, match="wise_ft needs tasks in evaluate and in guard to choose by"):
        Recipe.model_validate({"data": "x", "wise_ft": [0.5]})
