from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.model import build_model
from mmcl.recipe import ModelConfig, Recipe
from mmcl.recipe_files import list_recipes, load_recipe
from mmcl.smoke import smoke_recipe
from mmcl.training.run import run_recipe


@pytest.mark.parametrize("name", [recipe.name for recipe in list_recipes()])
def test_every_packaged_recipe_runs_offline_on_a_cpu(name: str, tmp_path: Path) -> None:
    recipe = smoke_recipe(load_recipe(name, {} if name == "quickstart" else {"data": "missing.csv"}))
    run = run_recipe(recipe, output=tmp_path / "run")
    assert len(run.results) == len(recipe.evaluate)
    assert run.report.is_file()


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai/clip-vit-base-patch16", "clip"),
        ("google/siglip-base-patch16-224", "siglip"),
        ("OFA-Sys/chinese-clip-vit-base-patch16", "chinese_clip"),
        ("somebody/a-model-of-no-known-family", "clip"),
    ],
)
def test_a_joint_model_keeps_its_family(name: str, family: str) -> None:
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": name})).model
    assert tiny.config is not None
    assert tiny.config["model_type"] == family
    assert sum(parameter.numel() for parameter in build_model(tiny).parameters()) < 500_000


@pytest.mark.parametrize(
    ("image", "text", "families"),
    [
        ("google/vit-base-patch16-224", "FacebookAI/xlm-roberta-base", ("vit", "xlm-roberta")),
        ("facebook/dinov2-base", "google-bert/bert-base-uncased", ("dinov2", "bert")),
        ("microsoft/swin-tiny-patch4-window7-224", "distilbert/distilbert-base-uncased", ("swin", "distilbert")),
        ("facebook/convnext-tiny-224", "answerdotai/ModernBERT-base", ("convnext", "modernbert")),
    ],
)
def test_a_pair_keeps_its_families(image: str, text: str, families: tuple[str, str]) -> None:
    config = ModelConfig.model_validate({"image": image, "text": text})
    tiny = smoke_recipe(Recipe(model=config, data={"train": "x"})).model
    assert (tiny.image.config["model_type"], tiny.text.config["model_type"]) == families
    assert sum(parameter.numel() for parameter in build_model(tiny).parameters()) < 500_000
