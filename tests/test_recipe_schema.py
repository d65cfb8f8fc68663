"""The JSON schema that editors check recipes by."""

from __future__ import annotations

import pytest
import yaml
from jsonschema import Draft202012Validator

from mmcl.recipe import Recipe
from mmcl.recipe_files import dump_recipe, find_recipe, list_recipes, load_recipe
from mmcl.recipe_schema import recipe_schema
from mmcl.recipe_yaml import read_yaml

SCHEMA = recipe_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("listed", list_recipes(), ids=lambda listed: listed.name)
def test_packaged_recipes_conform_as_written_and_whole(listed):
    VALIDATOR.validate(yaml.safe_load(find_recipe(listed.name).path.read_text(encoding="utf-8")))
    recipe = load_recipe(listed.name, dict.fromkeys(listed.needs, "x"))
    VALIDATOR.validate(yaml.safe_load(dump_recipe(recipe)))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{base: clip/finetune, data: x.csv, model: a/clip}",
        "{data: {train: x, validation: 2%}}",
        "{data: {validation: 0.1}}",
        "{data: {train: [x, {path: y, weight: 2, columns: {text: t}}]}}",
        "{data: {validation: {split: test}}}",
        "{model: {image: a/vit, text: {name: b}}}",
        "{objectives: [clip, {clip: 0.5}, {clip: {weight: 2}}, {type: clip}, {weight: 2.0, type: clip}]}",
        "{evaluate: [retrieval, {task: zeroshot_classification, data: digits, columns: {label: l}}]}",
        "{max_grad_norm: null, betas: [0.9, 0.98]}",
    ],
)
def test_short_forms_and_parts_conform(text):
    VALIDATOR.validate(read_yaml(text, "f.yaml")[0].plain())


@pytest.mark.parametrize(
    "text",
    [
        "{learning_rate: 1}",
        "{lr: -1}",
        "{lr: fast}",
        "{base: 3}",
        "{model: 3}",
        "{data: [x]}",
        "{data: {train: [{path: y, weight: 0}]}}",
        "{data: {train: {path: y, weight: 1}}}",
        "{data: {train: x, colums: {}}}",
        "{data: {validation: 1.5}}",
        "{objectives: clip}",
        "{objectives: [clpi]}",
        "{objectives: [{clpi: 1}]}",
        "{evaluate: [retreival]}",
        "{evaluate: [{task: retrieval, templates: [x]}]}",
        "{schedule: cosin}",
    ],
)
def test_mistakes_do_not_conform(text):
    assert not VALIDATOR.is_valid(read_yaml(text, "f.yaml")[0].plain())


def test_every_key_is_explained():
    assert set(SCHEMA["properties"]) == {"base", *Recipe.model_fields}
    unexplained = [
        f"{name}.{key}"
        for name, section in {"Recipe": SCHEMA, **SCHEMA["$defs"]}.items()
        for key, field in section["properties"].items()
        if "description" not in field and key not in {"task", "type"}
    ]
    assert unexplained == []
