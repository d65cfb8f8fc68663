from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_files import list_recipes, load_recipe
from mmcl.recipe_model import ModelConfig
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


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ViT-B-32,openai", "clip"),
        ("convnext_base,laion400m_s13b_b51k", "clip"),
        ("ViT-B-16-SigLIP,webli", "siglip"),
        ("runs/vit-test", "clip"),
        ("facebook/flava-full", "clip"),
        ("microsoft/xclip-base-patch32", "clip"),
    ],
)
def test_a_joint_model_of_a_family_that_does_not_do_becomes_a_clip(name: str, family: str) -> None:
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": name})).model
    assert tiny.config is not None
    assert tiny.config["model_type"] == family
    assert tiny.embedding_dim == 32
    build_model(tiny)


def test_a_fresh_joint_model_of_another_kind_becomes_a_clip() -> None:
    model = {"config": {"model_type": "flava"}, "tokenizer": "glyphs"}
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": model})).model
    assert tiny.config is not None
    assert tiny.config["model_type"] == "clip"


@pytest.mark.parametrize(
    ("image", "text", "families"),
    [
        (
            "openai/clip-vit-base-patch32",
            "openai/clip-vit-base-patch32",
            ("clip_vision_model", "clip_text_model"),
        ),
        (
            "google/siglip-base-patch16-224",
            "google/siglip-base-patch16-224",
            ("siglip_vision_model", "clip_text_model"),
        ),
        ("timm/resnet50.a1_in1k", "google-bert/bert-base-uncased", ("timm_wrapper", "bert")),
        ("google/t5-v1_1-small", "google-t5/t5-small", ("vit", "bert")),
    ],
)
def test_a_tower_that_a_pair_cannot_have_as_it_is(image: str, text: str, families: tuple[str, str]) -> None:
    recipe = Recipe.model_validate({"data": "x", "model": {"image": image, "text": text}})
    tiny = smoke_recipe(recipe).model
    assert tiny.image is not None
    assert tiny.image.config is not None
    assert tiny.text is not None
    assert tiny.text.config is not None
    assert (tiny.image.config["model_type"], tiny.text.config["model_type"]) == families
    assert sum(parameter.numel() for parameter in build_model(tiny).parameters()) < 500_000


@pytest.mark.parametrize(("num_processes", "batch_size"), [("1", 16), ("3", 18), ("24", 24)])
def test_the_batch_divides_over_the_processes(
    num_processes: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", num_processes)
    assert smoke_recipe(Recipe.model_validate({"data": "x"})).batch_size == batch_size
