from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmcl.cli.train import format_plan
from mmcl.embedder import load
from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.objectives.configs.cross_modal import CLIPConfig, SigLIPConfig
from mmcl.recipe import Recipe
from mmcl.recipe_files import load_recipe
from mmcl.recipe_model import ModelConfig
from mmcl.training.observer import Observer
from mmcl.training.plan import plan_recipe
from mmcl.training.run import run_recipe
from mmcl.training.settle import settle_objectives
from tests.tiny import tiny_recipe
from tests.towers import joint_families


class Listener(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, str]:
    """Folders of a SigLIP and of a CLIP."""
    for name in ("siglip 2", "clip"):
        joint_families.save(joint_families.FAMILIES[name], tmp_path / name)
    return {"siglip": str(tmp_path / "siglip 2"), "clip": str(tmp_path / "clip")}


def recipe(folder: Path, model: str, **fields: Any) -> Recipe:
    views = {"train": str(folder / "data" / "pairs.csv"), "validation": 0, "image_views": [{}]}
    whole = tiny_recipe(folder, model={"name": model}, max_steps=2, ema=None, evaluate=[], **fields)
    return Recipe.model_validate({**whole.model_dump(exclude_unset=True), "data": views})


@pytest.mark.parametrize("family", ["siglip", "clip"])
def test_the_objective_is_the_checkpoints(checkpoints: dict[str, str], family: str) -> None:
    left = Recipe.model_validate({"data": "x.csv", "model": checkpoints[family]})
    assert left.objectives is None
    settled, said = settle_objectives(left, build_model(left.model))
    assert settled.objectives == ((SigLIPConfig(),) if family == "siglip" else (CLIPConfig(),))
    assert said is not None
    assert said.startswith(f"trains by {family}: ")


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_what_the_recipe_names_wins(checkpoints: dict[str, str], objective: str) -> None:
    for model in checkpoints.values():
        named = Recipe.model_validate({"data": "x.csv", "model": model, "objectives": [objective]})
        assert settle_objectives(named, build_model(named.model)) == (named, None)


def test_a_siglip_goes_on_with_its_own_loss_bias_and_temperature(checkpoints: dict[str, str], tmp_path: Path) -> None:
    before = build_model(ModelConfig(name=checkpoints["siglip"]))
    assert before.logit_bias is not None
    listener = Listener()
    run = run_recipe(recipe(tmp_path, checkpoints["siglip"]), observer=listener)
    saved = load_recipe(run.path / "recipe.yaml")
    assert saved.objectives == (SigLIPConfig(),), "the saved recipe says which"
    assert listener.lines[0] == f"trains by siglip: the model has SigLIP's bias, {before.logit_bias.item():.4g}"
    first = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])
    # One step at the end of a warm-up from 0 has not moved it yet.
    assert first["logit_scale"] == pytest.approx(before.logit_scale().item(), rel=0.05)
    after = load(run.path).model
    assert after.logit_bias is not None
    assert after.logit_bias.item() != before.logit_bias.item(), "the bias is trained, and exported"


def test_a_run_is_resumed_by_the_recipe_that_left_it_open(checkpoints: dict[str, str], tmp_path: Path) -> None:
    left = recipe(tmp_path, checkpoints["siglip"])
    run = run_recipe(left)
    assert run_recipe(left, resume=True).path == run.path
    assert run_recipe(load_recipe(run.path / "recipe.yaml"), resume=True).path == run.path
    other = left.model_copy(update={"objectives": (CLIPConfig(),)})
    with pytest.raises(UserError, match=r"was started with another recipe: .*objectives\.0\.type \(was 'siglip'"):
        run_recipe(other, resume=True)


def test_a_dry_run_says_what_is_minimised(checkpoints: dict[str, str], tmp_path: Path) -> None:
    plan = plan_recipe(recipe(tmp_path, checkpoints["siglip"]))
    assert plan.objectives == ("siglip",)
    assert "minimises   siglip (the model has SigLIP's bias, " in format_plan(plan)
    named = plan_recipe(recipe(tmp_path, checkpoints["clip"], objectives=["clip", {"info_nce": 0.5}]))
    assert "minimises   clip + info_nce\n" in format_plan(named)
