from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image
from pydantic import ValidationError

from evaluation import TaskResult
from mmcl.cli.train import format_plan, format_run
from mmcl.errors import UserError
from mmcl.guards import named_guards
from mmcl.recipe import Recipe
from mmcl.training.guard import fallen, starts_from_a_trained_model, warn_of_no_guard
from mmcl.training.observer import Observer
from mmcl.training.plan import plan_recipe
from mmcl.training.run import Run, run_recipe
from tests.tiny import bert_alone, save_pairs, save_tokenizer, tiny_recipe


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
    assert warn_of_no_guard(recipe, {}) == []
    run = run_recipe(recipe.model_copy(update={"max_steps": 1}))
    assert run.changes == ()
    assert not (run.path / "results/before").exists()


def test_a_lone_encoder_is_judged_before_it_is_trained_further(tmp_path: Path) -> None:
    graded = tmp_path / "graded.csv"
    graded.write_text("text,positive,score\nblack knight,a white pawn,1\nred arrow,arrow,4\ntwo dots,dots,3\n")
    fields = {
        "data": {"train": str(graded), "validation": 0.0},
        "objectives": ["simcse"],
        "evaluate": [{"task": "sts", "data": str(graded)}],
        "batch_size": 3,
        "max_steps": 2,
        "output_dir": str(tmp_path / "runs"),
    }
    first = run_recipe(Recipe.model_validate({**fields, "model": bert_alone(save_tokenizer(tmp_path), dropout=0.1)}))
    assert first.changes == ()
    listener = Listener()
    again = {**fields, "name": "again", "model": {"text": {"name": str(first.path)}}}
    second = run_recipe(Recipe.model_validate(again), observer=listener)
    (change,) = second.changes
    assert (change.metric, change.is_guard) == ("cosine_spearman", False)
    assert change.before == pytest.approx(first.results[0].metrics["cosine_spearman"])
    assert "graded.csv cosine_spearman" in format_run(second)
    assert not any("no guard" in line for line in listener.lines)


def test_a_trained_model_without_a_guard_is_warned_of(finished: Run, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, model={"name": str(finished.path)}, max_steps=1, ema=None)
    assert starts_from_a_trained_model(recipe)
    listener = Listener()
    run = run_recipe(recipe, observer=listener)
    assert any(line.startswith("warning: no guard: what fine-tuning") for line in listener.lines)
    assert [change.is_guard for change in run.changes] == [False, False]


def test_what_is_reached_on_the_way_is_said(tmp_path: Path) -> None:
    listener = Listener()
    run_recipe(guarded(tmp_path, eval_every=1, max_steps=2, wise_ft=[]), observer=listener)
    number = r"\d+\.\d"
    both = f"text_retrieval_recall@1 {number}, image_retrieval_recall@1 {number}"
    (said,) = [line for line in listener.lines if line.startswith("step 1: ")]
    assert re.fullmatch(f"step 1: pairs.csv {both}; guard other {both}", said)


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


def serve_cifar10(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the hub answer for CIFAR-10 with twenty small pictures; return what it is asked."""
    load, asked = datasets.load_dataset, []
    names = sorted(named_guards()["cifar10"]["task"]["class_names"])
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    pictures = [Image.new("RGB", (32, 32), (12 * number, 90, 255 - 12 * number)) for number in range(20)]
    rows = datasets.Dataset.from_dict({"img": pictures, "label": [number % 10 for number in range(20)]}, features)

    def answer(path: str, *given: Any, **named: Any) -> Any:
        if path != "uoft-cs/cifar10":
            return load(path, *given, **named)
        asked.append(named)
        return rows

    monkeypatch.setattr("datasets.load_dataset", answer)
    return asked


def test_a_guard_by_name_is_had_from_the_hub_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve_cifar10(monkeypatch)
    run = run_recipe(tiny_recipe(tmp_path, guard=["cifar10"], ema=None, max_steps=2, wise_ft=[0.5]))
    facts = named_guards()["cifar10"]
    assert [(one["split"], one["revision"]) for one in asked] == [("test", facts["task"]["data"]["revision"])]
    judged = TaskResult.read(run.path / "results/cifar10-zeroshot_classification.json")
    assert judged.template_hash == facts["prompts_sha256"]
    assert judged.num_examples == 20
    assert [change.dataset for change in run.changes if change.is_guard] == ["cifar10"]
    assert run.sweep is not None


def test_offline_the_run_goes_on_and_says_everywhere_that_there_is_no_guard(tmp_path: Path) -> None:
    listener = Listener()
    run = run_recipe(tiny_recipe(tmp_path, guard=["cifar10"], ema=None, max_steps=1), observer=listener)
    said = "guard cifar10 cannot be had: Couldn't reach 'uoft-cs/cifar10' on the Hub (OfflineModeIsEnabled)"
    (line,) = [line for line in listener.lines if line.startswith(f"warning: {said}")]
    assert "there is no meaningful guard, and what fine-tuning makes the model forget goes unseen" in line
    assert [change for change in run.changes if change.is_guard] == []
    assert [result.dataset for result in run.results] == ["pairs.csv"]
    assert run.sweep is None, "there is nothing to choose by"
    page = html.unescape((run.path / "report.html").read_text())
    assert f"Warning: {said}" in page
    assert f"- G{said[1:]}" in (run.model / "README.md").read_text()


def test_what_can_be_had_guards_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_cifar10(monkeypatch)
    plan = plan_recipe(tiny_recipe(tmp_path, guard=["stl10", "cifar10"]))
    assert plan.guard == ("zeroshot_classification: cifar10",)
    (line,) = [line for line in plan.warnings if line.startswith("guard stl10 cannot be had")]
    assert line.endswith("Nothing is put in its place: the others alone guard")


@pytest.mark.parametrize(
    ("fields", "key"), [({"wise_ft": [0.5]}, "wise_ft"), ({"max_guard_drop": 0.1, "eval_every": 1}, "max_guard_drop")]
)
def test_what_needs_a_guard_that_cannot_be_had_is_refused(tmp_path: Path, fields: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"guard cifar10 cannot be had: .*; {key} needs it. Get it once with a network"):
        run_recipe(tiny_recipe(tmp_path, guard=["cifar10"], **fields))
    assert not (tmp_path / "runs").exists()


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
