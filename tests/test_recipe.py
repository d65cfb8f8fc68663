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
from mmcl.recipe_tasks import RetrievalConfig
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


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({}, {"betas": (0.9, 0.98), "eps": 1e-6, "momentum": None, "trust_coefficient": None}),
        ({"betas": None, "eps": 0.1}, {"betas": (0.9, 0.98), "eps": 0.1, "momentum": None, "trust_coefficient": None}),
        ({"optimizer": "sgd"}, {"betas": None, "eps": None, "momentum": 0.9, "trust_coefficient": None}),
        (
            {"optimizer": "sgd", "momentum": 0.0, "betas": None},
            {"betas": None, "eps": None, "momentum": 0.0, "trust_coefficient": None},
        ),
        ({"optimizer": "lars"}, {"betas": None, "eps": None, "momentum": 0.9, "trust_coefficient": 0.001}),
    ],
)
def test_an_optimiser_has_its_own_fields_and_null_for_the_others(given, resolved):
    recipe = Recipe(data="x", **given)
    assert {name: getattr(recipe, name) for name in resolved} == resolved
    whole = recipe.model_dump(mode="json")
    assert Recipe.model_validate(whole) == recipe


@pytest.mark.parametrize(
    ("scaling", "peak_lr"),
    [("none", 0.3), ("linear", 0.3 * 4096 / 256), ("sqrt", 0.3 * 4)],
    ids=lambda value: str(value),
)
def test_the_peak_rate_follows_the_batch_as_stated(scaling, peak_lr):
    recipe = Recipe(data="x", lr=0.3, batch_size=4096, lr_scaling=scaling)
    assert recipe.peak_lr == pytest.approx(peak_lr)
    assert recipe.lr == 0.3


def test_the_rate_is_as_stated_at_the_batch_it_is_meant_for_and_less_below():
    assert Recipe(data="x", lr=0.2, batch_size=64, lr_batch_size=64, lr_scaling="linear").peak_lr == 0.2
    assert Recipe(data="x", lr=0.2, batch_size=64, lr_batch_size=128, lr_scaling="linear").peak_lr == 0.1


def test_a_micro_batch_may_be_as_large_as_the_batch_or_left_to_the_machine():
    assert Recipe(data="x", batch_size=8, micro_batch_size=8).micro_batch_size == 8
    assert Recipe(data="x", batch_size=8, micro_batch_size="auto").micro_batch_size == "auto"


RETRIEVAL = (RetrievalConfig(),)


@pytest.mark.parametrize(
    ("model", "evaluate"),
    [
        ("a/clip", RETRIEVAL),
        ({"config": {"model_type": "clip"}, "tokenizer": "t"}, RETRIEVAL),
        ({"image": "a/vit", "text": "b/bert"}, RETRIEVAL),
        ({"image": "a/vit"}, ()),
        ({"text": "b/bert"}, ()),
    ],
    ids=["joint", "fresh joint", "pair", "image alone", "text alone"],
)
def test_a_model_is_judged_by_retrieval_where_it_has_both_towers(model, evaluate):
    recipe = Recipe(data="x", model=model)
    assert recipe.evaluate == evaluate
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert Recipe(data="x", model=model, evaluate=["retrieval"]).evaluate == RETRIEVAL
    assert Recipe(data="x", model=model, evaluate=[]).evaluate == ()


def test_without_a_model_it_is_judged_by_retrieval():
    assert Recipe(data="x").evaluate == RETRIEVAL


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
        (
            "data: x\nmodel: {name: a, temperature: 0.02, max_logit_scale: 20}",
            "model: temperature must be >= 0.05, which is 1 / max_logit_scale, got 0.02",
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


@pytest.mark.parametrize(
    ("negatives", "num_negatives"), [(None, 1), (False, 0), ("n", 1), (["n", "m"], 2), (["n", "m", "o"], 3)]
)
def test_supervised_simcse_takes_all_hard_negatives_that_the_columns_name(negatives, num_negatives):
    data = {"train": "a.csv", "columns": {"negatives": negatives}}
    recipe = Recipe.model_validate({"data": data, "objectives": ["clip", "simcse_supervised"]})
    expected = ("text.0", "text.1", "text.2", "text.3", "text.4")[: 2 + num_negatives]
    assert recipe.objectives[1].views == expected
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_of_several_sources_the_one_with_most_hard_negatives_counts():
    sources = [{"path": "a.csv"}, {"path": "b.csv", "columns": {"negatives": ["n", "m"]}}]
    data = {"train": sources, "columns": {"negatives": "n"}}
    recipe = Recipe.model_validate({"data": data, "objectives": ["simcse_supervised"]})
    assert recipe.objectives[0].views == ("text.0", "text.1", "text.2", "text.3")


def test_views_that_are_named_stay_whatever_the_columns():
    views = ["text.0", "text.1", "text.2"]
    data = {"train": "a.csv", "columns": {"negatives": ["n", "m"]}}
    recipe = Recipe.model_validate({"data": data, "objectives": [{"type": "simcse_supervised", "views": views}]})
    assert recipe.objectives[0].views == tuple(views)
