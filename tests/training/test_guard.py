from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evaluation import TaskResult
from mmcl.cli.train import format_plan, format_run
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.training.guard import fallen, starts_from_a_trained_model, warn_of_no_guard
from mmcl.training.observer import Observer
from mmcl.training.plan import plan_recipe
from mmcl.training.run import Run, run_recipe
from tests.tiny import save_pairs, tiny_recipe


class Listener(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def guarded(folder: Path, **fields: Any) -> Recipe:
    """A run that is guarded by retrieval on other rows."""
    other = str(save_pairs(folder / "other", num_rows=30, num_groups=20))
    columns = {"image": "image", "text": "text", "group": "group"}
    guard = [{"task": "retrieval", "name": "other", "data": other, "columns": columns}]
    return tiny_recipe(folder, **{"guard": guard, "ema": None, "max_steps": 4, **fields})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(guarded(tmp_path_factory.mktemp("guard"), eval_every=2))


def test_the_guard_is_judged_before_during_and_after(finished: Run) -> None:
    after = TaskResult.read(finished.path / "results/other-retrieval.json")
    before = TaskResult.read(finished.path / "results/before/other-retrieval.json")
    assert before.metrics != after.metrics
    log = [json.loads(line) for line in (finished.path / "metrics.jsonl").read_text().splitlines()]
    (during,) = [record for record in log if "guard/other/text_retrieval_recall@1" in record]
    assert during["step"] == 2
    assert [result.dataset for result in finished.results] == ["pairs.csv", "other"]


def test_what_changed_is_said_and_opens_the_report(finished: Run) -> None:
    assert [(change.dataset, change.is_guard) for change in finished.changes] == [
        ("pairs.csv", False),
        ("pairs.csv", False),
        ("other", True),
        ("other", True),
    ]
    before = TaskResult.read(finished.path / "results/before/other-retrieval.json")
    change = finished.changes[2]
    assert change.before == before.metrics[change.metric]
    assert change.after == finished.results[1].metrics[change.metric]
    said = format_run(finished)
    assert "guard other text_retrieval_recall@1" in said
    page = (finished.path / "report.html").read_text()
    assert page.index("Before and after") < page.index(">Results<")


def test_a_model_from_nothing_has_nothing_to_forget(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    assert not starts_from_a_trained_model(recipe)
    assert warn_of_no_guard(recipe) == []
    run = run_recipe(recipe.model_copy(update={"max_steps": 1}))
    assert run.changes == ()
    assert not (run.path / "results/before").exists()


def test_a_trained_model_without_a_guard_is_warned_of(finished: Run, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, model={"name": str(finished.path)}, max_steps=1, ema=None)
    assert starts_from_a_trained_model(recipe)
    listener = Listener()
    run = run_recipe(recipe, observer=listener)
    assert any(line.startswith("warning: no guard: what fine-tuning") for line in listener.lines)
    assert [change.is_guard for change in run.changes] == [False, False]


def test_training_ends_where_the_guard_has_fallen_too_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    recipe = guarded(tmp_path, eval_every=1, max_guard_drop=0.05, max_steps=5)
    asked: list[float] = []

    def at_the_second(before: Any, now: Any, limit: float) -> str | None:
        asked.append(limit)
        return "enough" if len(asked) == 2 else None

    monkeypatch.setattr("mmcl.training.run.fallen", at_the_second)
    run = run_recipe(recipe, observer=listener)
    assert asked == [0.05, 0.05]
    assert "step 2: enough" in listener.lines
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-00000002"]
    assert run.report.is_file()


def result(value: float) -> TaskResult:
    return TaskResult("cifar", "m", "zeroshot_classification", {"acc1": value}, 10)


def test_a_guard_falls_by_more_than_is_allowed() -> None:
    said = fallen([result(0.7)], [result(0.6)], 0.05)
    assert said is not None
    assert said.startswith("the guard cifar acc1 has fallen by 10.0 points, more than max_guard_drop allows (5)")
    assert fallen([result(0.7)], [result(0.66)], 0.05) is None
    assert fallen([result(0.7)], [result(0.9)], 0.05) is None


def test_the_dry_run_names_the_guard(tmp_path: Path) -> None:
    plan = plan_recipe(guarded(tmp_path))
    assert plan.guard == ("retrieval: other",)
    assert "guarded by  retrieval: other" in format_plan(plan).splitlines()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guard": ["retrieval"]}, "guard.0: retrieval needs data of its own"),
        ({"max_guard_drop": 0.1}, "max_guard_drop needs a guard, and eval_every"),
        ({"max_guard_drop": 0.1, "guard": [{"task": "retrieval", "data": "x"}]}, "max_guard_drop needs a guard"),
    ],
)
def test_what_guards_nothing_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({"data": "x", **fields})


def test_a_guard_of_a_tasks_name_is_refused(tmp_path: Path) -> None:
    recipe = guarded(tmp_path)
    guard = recipe.guard[0].model_copy(update={"name": "pairs.csv"})
    with pytest.raises(UserError, match=r'guard.0: a task of evaluate is called "pairs.csv" too'):
        run_recipe(recipe.model_copy(update={"guard": (guard,)}))
    assert not (tmp_path / "runs").exists()
