"""Results of many models in folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation import EvaluationError, read_results
from tests.evaluation.compared import judged


def save_run(folder: Path, seed: int, **settings: object) -> Path:
    """A run's folder, with what it exports, what it started from, and files that are no results."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    recipe = {"seed": seed, "name": folder.name, "output_dir": str(folder.parent), "lr": 0.1, **settings}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    judged(folder.name, 0.8, seed=seed).write(folder / "results" / "photos-knn.json")
    judged(folder.name, 0.3, seed=seed, fingerprint="before").write(folder / "results" / "before" / "photos-knn.json")
    (folder / "results" / "list.json").write_text("[1]")
    (folder / "results" / "torn.json").write_text("{")
    return folder


def test_a_study_is_walked_and_what_is_no_result_is_passed_over(tmp_path: Path) -> None:
    for model in ("a", "b"):
        judged(model, 0.8).write(tmp_path / model / "results" / "photos-knn.json")
        judged(model, 0.8, dataset="digits").write(tmp_path / model / "results" / "digits-knn.json")
    (tmp_path / "notes.json").write_text('{"dataset": "x"}')
    found = read_results(tmp_path)
    assert {name: [result.dataset for result in several] for name, several in found.items()} == {
        "a": ["digits", "photos"],
        "b": ["digits", "photos"],
    }
    assert "id" in found["a"][0].examples
    assert list(read_results(tmp_path / "b" / "results" / "photos-knn.json")) == ["b"]


def test_of_a_run_what_it_started_from_is_left_out_unless_given(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", seed=0)
    (result,) = read_results(run)["run"]
    assert result.fingerprint == "weights of run"
    assert list(read_results(run, run / "results" / "before")) == [f"run, {run}", f"run, {run}/results/before"]


def test_runs_that_differ_in_the_seed_alone_are_one_model(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / str(seed) / f"run-{seed}", seed=seed) for seed in range(3)]
    other = save_run(tmp_path / "other", seed=3, lr=0.2)
    found = read_results(*runs, other)
    assert {name: len(several) for name, several in found.items()} == {"run-0": 3, "other": 1}
    again = save_run(tmp_path / "again", seed=0)  # the same seed once more is no further seed
    assert len(read_results(runs[0], again)) == 2


@pytest.mark.parametrize("text", ["seed: [", "- a list", "\x00"])
def test_a_recipe_that_cannot_be_read_makes_a_run_a_model_of_its_own(tmp_path: Path, text: str) -> None:
    runs = [save_run(tmp_path / f"run-{seed}", seed=seed) for seed in range(2)]
    (runs[0] / "recipe.yaml").write_text(text)
    assert len(read_results(*runs)) == 2


def test_an_evaluation_of_a_run_is_known_by_the_runs_recipe(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / f"run-{seed}", seed=seed) for seed in range(2)]
    for run in runs:
        judged(str(run), 0.5, dataset="digits").write(tmp_path / "judged" / run.name / "digits-knn.json")
    assert [len(several) for several in read_results(tmp_path / "judged").values()] == [2]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"pretrained": "openai"}, ["m, laion", "m, openai"]),
        ({"precision": "bf16"}, ["m, fp32", "m, bf16"]),
        ({}, ["m, {}/0", "m, {}/1"]),
    ],
)
def test_models_of_one_name_are_told_apart_by_what_differs(
    tmp_path: Path, fields: dict[str, str], names: list[str]
) -> None:
    first = {"pretrained": "laion", "precision": "fp32"}
    for number, changes in enumerate(({}, fields)):
        judged("m", 0.5, fingerprint=f"f{number}", **{**first, **changes}).write(tmp_path / str(number) / "r.json")
    assert list(read_results(tmp_path / "0", tmp_path / "1")) == [name.format(tmp_path) for name in names]


def test_one_model_judged_in_two_places_is_one(tmp_path: Path) -> None:
    judged("m", 0.5).write(tmp_path / "0" / "r.json")
    judged("m", 0.5, dataset="digits").write(tmp_path / "1" / "r.json")
    assert [len(several) for several in read_results(tmp_path).values()] == [2]


def test_what_leaves_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"nothing: no such file or folder"):
        read_results(tmp_path / "nothing")
    with pytest.raises(EvaluationError, match=r"no results below it; mmcl train and mmcl evaluate --output write them"):
        read_results(tmp_path)
    for name in ("one", "two"):
        judged("m", 0.5).write(tmp_path / name / "r.json")
    with pytest.raises(
        EvaluationError, match=r"m has 2 results of knn on photos in .*/one, .*/two; which one counts\?"
    ):
        read_results(tmp_path / "one", tmp_path / "two")
