"""What a recipe may say, given as Python values."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from pydantic import ValidationError

from mmcl.recipe import Recipe
from mmcl.recipe_data import DataConfig, SourceConfig
from mmcl.recipe_model import ModelConfig, TextTowerConfig
from tests.test_recipe_errors import mistakes


def test_only_data_is_required():
    recipe = Recipe(data="x.csv")
    assert recipe.data == DataConfig(train=SourceConfig(path="x.csv"))
    with pytest.raises(ValidationError, match="data"):
        Recipe()


def test_short_forms_mean_their_long_forms():
    short = Recipe(
        data={"train": "x.csv", "validation": "2%"},
        model={"image": "a/vit", "text": "b/bert"},
        objectives=[{"clip": 0.5}],
        evaluate=["retrieval", {"task": "zeroshot_classification", "data": "digits"}],
    )
    long = Recipe(
        data={"train": {"path": "x.csv"}, "validation": 0.02},
        model={"image": {"name": "a/vit"}, "text": {"name": "b/bert"}},
        objectives=[{"type": "clip", "weight": 0.5}],
        evaluate=[{"task": "retrieval"}, {"task": "zeroshot_classification", "data": {"path": "digits"}}],
    )
    assert short == long
    assert Recipe(data="x", model="a/clip") == Recipe(data="x", model={"name": "a/clip"})


def test_validation_may_be_a_source():
    assert DataConfig(train="a", validation="b.csv").validation == SourceConfig(path="b.csv")


def test_a_share_that_is_no_number_is_said_so():
    with pytest.raises(ValidationError, match='a share is a number before the %, got "abc%"'):
        DataConfig(train="a", validation="abc%")


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"name": "a", "image": "b", "text": "c"},
        {"name": "a", "config": {"model_type": "clip"}, "tokenizer": "t"},
        {"image": "b"},
        {"config": {"model_type": "clip"}},
        {"image": "b", "text": {"config": {"model_type": "bert"}}},
        {"image": {"name": "b", "config": {"model_type": "vit"}}, "text": "c"},
        {"image": {"config": {"hidden_size": 3}}, "text": "c"},
    ],
    ids=lambda model: ",".join(model) or "nothing",
)
def test_a_model_is_named_in_one_way(model):
    with pytest.raises(ValidationError):
        ModelConfig(**model)


def test_a_fresh_text_tower_needs_a_tokenizer():
    with pytest.raises(ValidationError, match="needs a tokenizer, for example"):
        TextTowerConfig(config={"model_type": "bert"})
    assert TextTowerConfig(config={"model_type": "bert"}, tokenizer="glyphs").tokenizer == "glyphs"


@pytest.mark.parametrize("lr", [0, -1e-5, math.inf, math.nan])
def test_lr_is_positive_and_finite(lr):
    with pytest.raises(ValidationError, match="lr"):
        Recipe(data="x", lr=lr)


def test_unknown_keys_are_refused_and_recipes_do_not_change():
    with pytest.raises(ValidationError, match="learning_rate"):
        Recipe(data="x", learning_rate=1e-4)
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(data="x").lr = 1.0


def test_reading_a_recipe_does_not_import_torch():
    code = (
        "import sys, mmcl.recipe_files; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("data: {train: x, image_views: []}", "data.image_views: must have at least one entry"),
        ("data: x\nbetas: [0.9, 1]", "betas.1: must be < 1, got 1"),
        ("data: x\nbetas: [-0.1, 0.9]", "betas.0: must be >= 0, got -0.1"),
        (
            "data: x\nmodel: {image: {name: a, image_std: [1, 0, 1]}, text: b}",
            "model.image.image_std.1: must be > 0, got 0",
        ),
    ],
)
def test_values_that_nothing_can_be_done_with_are_refused(text, mistake):
    assert [line.split(" ", 1)[1] for line in mistakes(text)] == [mistake]


@pytest.mark.parametrize(
    ("view", "mistake"),
    [
        ("random_resized_crop: [0, 1]", "random_resized_crop: must be 0 < smallest <= largest <= 1, got [0.0, 1.0]"),
        (
            "random_resized_crop: [0.9, 0.5]",
            "random_resized_crop: must be 0 < smallest <= largest <= 1, got [0.9, 0.5]",
        ),
        ("random_resized_crop: [0.5, 2]", "random_resized_crop: must be 0 < smallest <= largest <= 1, got [0.5, 2.0]"),
        ("color_jitter: [0.1, -1, 0, 0]", "color_jitter.1: must be >= 0, got -1"),
        ("color_jitter: [0, 0, 0, 0.6]", "color_jitter.3: must be <= 0.5, got 0.6"),
        ("affine: {scale: [0, 1]}", "affine.scale: must be 0 < smallest <= largest, got [0.0, 1.0]"),
        ("affine: {scale: [1.2, 0.8]}", "affine.scale: must be 0 < smallest <= largest, got [1.2, 0.8]"),
    ],
)
def test_a_view_that_cannot_be_drawn_is_refused(view, mistake):
    (line,) = mistakes(f"data: {{train: x, image_views: [{{{view}}}]}}")
    assert line == f"f.yaml:1 data.image_views.0.{mistake}"


def test_the_ends_of_the_ranges_are_allowed():
    view = {"random_resized_crop": (1, 1), "color_jitter": (0, 0, 0, 0.5), "affine": {"scale": (2, 2)}}
    assert Recipe(data={"train": "x", "image_views": [view]}, betas=(0, 0)).betas == (0, 0)
