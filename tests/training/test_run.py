from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import mmcl
from mmcl.cli.main import main
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_files import dump_recipe, load_recipe
from mmcl.training.run import Run, run_recipe
from tests.tiny import save_pairs, tiny_recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    folder = tmp_path_factory.mktemp("run")
    tasks = ["retrieval", {"task": "zeroshot_classification", "templates": ["a {}"]}]
    recipe = tiny_recipe(folder, evaluate=tasks, eval_every=3)
    return recipe, run_recipe(recipe)


def test_a_run_leaves_what_it_promises(finished: tuple[Recipe, Run]) -> None:
    recipe, run = finished
    held = {path.name for path in run.path.iterdir()}
    assert held == {"recipe.yaml", "metrics.jsonl", "checkpoints", "results", "model", "report.html"}
    settled = recipe.model_copy(update={"objectives": recipe.chosen_objectives})
    assert load_recipe(run.path / "recipe.yaml") == settled
    assert [result.task for result in run.results] == ["retrieval", "zeroshot_classification"]
    for result in run.results:
        assert result.intervals
    stored = [json.loads(path.read_text()) for path in (run.path / "results").glob("*.json")]
    assert sorted(record["task"] for record in stored) == ["retrieval", "zeroshot_classification"]
    judged = [line for line in (run.path / "metrics.jsonl").read_text().splitlines() if "recall@1" in line]
    assert [json.loads(line)["step"] for line in judged] == [3]


def test_the_exported_model_is_the_averaged_one_that_was_judged(finished: tuple[Recipe, Run]) -> None:
    _, run = finished
    result = run.results[0]
    judged = json.loads((run.path / "results" / "pairs.csv-retrieval.json").read_text())
    assert judged["metrics"] == dict(result.metrics)
    checkpoint = next(run.path.glob("checkpoints/*"))
    average = load_file(checkpoint / "average.safetensors")["logit_scale.log_scale"]
    last = load_file(checkpoint / "model.safetensors")["model.logit_scale.log_scale"]
    exported = mmcl.load(run.path).model.logit_scale.log_scale.detach()
    assert not torch.equal(average, last)
    torch.testing.assert_close(exported, average, rtol=1e-6, atol=0)


def test_embeddings_are_unit_vectors_of_pictures_and_paths_alike(finished: tuple[Recipe, Run], tmp_path: Path) -> None:
    embedder = mmcl.load(finished[1].path)
    picture = Image.new("RGB", (40, 25), (200, 10, 10))
    picture.save(tmp_path / "red.png")
    found = embedder.encode_images([picture, tmp_path / "red.png", str(tmp_path / "red.png")])
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_resuming_a_finished_run_changes_no_weights(finished: tuple[Recipe, Run]) -> None:
    recipe, run = finished
    manifest = next(run.path.glob("checkpoints/*/manifest.json"))
    before = manifest.read_text()
    # What the card alone says may have changed since.
    again = run_recipe(recipe.model_copy(update={"license": "mit", "language": ("en", "zh")}), resume=True)
    assert again.path == run.path
    assert "license: mit" in (run.model / "README.md").read_text()
    assert manifest.read_text() == before
    assert [dict(result.metrics) for result in again.results] == [dict(result.metrics) for result in run.results]


def test_resuming_with_another_recipe_is_refused(finished: tuple[Recipe, Run]) -> None:
    recipe, _ = finished
    with pytest.raises(UserError, match=r"was started with another recipe: lr \(was 0.01, now 0.5\)"):
        run_recipe(recipe.model_copy(update={"lr": 0.5}), resume=True)


def test_an_output_folder_of_another_run_is_refused_and_kept(finished: tuple[Recipe, Run]) -> None:
    recipe, run = finished
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(UserError, match="already holds another run"):
        run_recipe(recipe, output=run.path)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"batch_size": 1000}, r"batch_size: 1,000 is more than the \d+ training rows"),
        ({"micro_batch_size": 2}, "batch norm, which is inside the towers"),
        ({"objectives": [{"siglip": {"temperature": 1e-4}}]}, r"siglip.temperature must be >= 0.01"),
    ],
    ids=["data", "caching", "objective"],
)
def test_a_mistake_leaves_no_folder_behind(tmp_path: Path, field: dict[str, Any], message: str) -> None:
    recipe = tiny_recipe(tmp_path, **field)
    with pytest.raises(UserError, match=message):
        run_recipe(recipe)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe(tmp_path)))
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", str(path), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["num_steps"] == 6
    assert plan["num_negatives"] == {"clip": 3}
    assert sum(group["num_parameters"] for group in plan["groups"]) == plan["num_trained"] <= plan["num_parameters"]
    assert any("ends before one pass" in line for line in plan["warnings"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_on_several_sources_is_judged_by_those_it_is_for_and_names_them_all(tmp_path: Path) -> None:
    fields = tiny_recipe(tmp_path, max_steps=2, evaluate=["retrieval"]).model_dump()
    for name in ("shop", "old"):
        save_pairs(tmp_path / name, 20, 20).rename(tmp_path / name / f"{name}.csv")
    train = [
        str(tmp_path / "data" / "pairs.csv"),
        {"path": str(tmp_path / "shop" / "shop.csv"), "weight": 1},
        {"path": str(tmp_path / "old" / "old.csv"), "weight": 2, "replay": True},
    ]
    run = run_recipe(Recipe.model_validate(fields | {"data": fields["data"] | {"train": train}}))
    assert [result.dataset for result in run.results] == ["pairs.csv + shop.csv"]
    assert len(list((run.path / "results").glob("*.json"))) == 1
    card = (run.model / "README.md").read_text()
    for name, share in (("pairs.csv", 1), ("shop.csv", 1), ("old.csv", 2)):
        assert re.search(rf"rows of {name} .* {share} of the 4 in every batch", card)
    assert run_recipe(load_recipe(run.path), resume=True).path == run.path


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=4, batch_size=8, ema=None, lr=1e-3)
    config = {**(recipe.model.text.config or {}), "attention_dropout": 0.0}
    text = recipe.model.text.model_copy(update={"config": config})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"text": text})})
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(recipe))
    assert main(["train", str(path), "--output", str(tmp_path / "one")]) == 0
    assert main(["train", str(path), "--output", str(tmp_path / "two"), "--num-processes", "2"]) == 0
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-3)
    assert [r["batch_size"] for r in two] == [8] * 4
    states = [json.loads(next((tmp_path / n).glob("checkpoints/*/state.json")).read_text()) for n in ("one", "two")]
    assert states[0]["order_hash"] == states[1]["order_hash"]
