"""What a recipe's mappings are."""

from __future__ import annotations

from typing import get_args

import pytest

from mmcl.recipe import Recipe
from mmcl.recipe_data import SourceConfig
from mmcl.recipe_model import TextTowerConfig
from mmcl.recipe_sections import expand, paths_of_fields, sections_at
from mmcl.recipe_tasks import AnyTask, ZeroShotClassificationConfig
from mmcl.recipe_yaml import Origin, at_origin, read_yaml

SHORT = {
    "model": {"image": "a/vit", "text": {"name": "b/bert"}, "embedding_dim": 64},
    "data": {"train": "x.csv", "validation": "y.csv"},
    "objectives": ["clip", {"clip": 0.5}, {"clip": {"weight": 2}}, {"type": "clip", "weight": 3}, {"type": "clip"}],
    "evaluate": ["retrieval", {"task": "zeroshot_classification", "data": "digits"}],
}


@pytest.mark.parametrize(
    "short",
    [
        SHORT,
        {"data": "x.csv", "model": "a/clip"},
        {"data": {"train": "x", "validation": "2%"}},
        {"data": {"train": ["x", {"path": "y", "weight": 2}]}},
    ],
)
def test_expanding_changes_the_form_and_not_the_meaning(short):
    long = expand(at_origin({"data": "x", **short}, Origin("f"))).plain()
    assert Recipe.model_validate(long) == Recipe.model_validate({"data": "x", **short})


def test_expanded_values_are_whole():
    long = expand(at_origin(SHORT, Origin("f"))).plain()
    assert long["data"] == {"train": {"path": "x.csv"}, "validation": {"path": "y.csv"}}
    assert long["model"]["image"] == {"name": "a/vit"}
    weights = [objective.get("weight") for objective in long["objectives"]]
    assert weights == [None, 0.5, 2, 3, None]
    assert {objective["type"] for objective in long["objectives"]} == {"clip"}
    assert long["evaluate"] == [
        {"task": "retrieval"},
        {"task": "zeroshot_classification", "data": {"path": "digits"}},
    ]
    assert expand(at_origin({"data": "x"}, Origin("f"))).plain() == {"data": {"train": {"path": "x"}}}


def test_sources_in_a_list_are_expanded():
    long = expand(at_origin({"data": {"train": ["x", {"path": "y"}]}}, Origin("f"))).plain()
    assert long == {"data": {"train": [{"path": "x"}, {"path": "y"}]}}


def test_expanding_keeps_lines():
    root, _ = read_yaml("objectives:\n- clip:\n    weight: 2\ndata: x.csv\n", "f.yaml")
    root = expand(root)
    assert root.nearest(("objectives", 0, "weight")).origin.line == 3
    assert root.nearest(("data", "train", "path")).origin.line == 4


def test_free_mappings_and_nonsense_are_left_alone():
    odd = {"model": {"config": {"name": "x", "train": "y"}}, "data": [1], "lr": {"a": 1}, "objectives": "clip"}
    assert expand(at_origin(odd, Origin("f"))).plain() == odd


def test_sections_at_a_path_follow_the_tags():
    root = expand(at_origin({"evaluate": ["zeroshot_classification", {"data": "x"}]}, Origin("f")))
    assert sections_at(("evaluate", 0), root) == (ZeroShotClassificationConfig,)
    assert sections_at(("evaluate", 1), root) == get_args(get_args(AnyTask)[0])
    assert sections_at(("evaluate", 1, "data"), root)[0] is SourceConfig
    assert sections_at(("model", "text"), root) == (TextTowerConfig,)
    assert sections_at(("model", "config"), root) == sections_at(("nothing", "at", "all"), root) == ()


def test_paths_of_fields_stop_at_lists():
    paths = set(paths_of_fields())
    assert {("lr",), ("data", "columns", "text"), ("model", "image", "image_size")} <= paths
    assert ("data", "train", "split") in paths
    assert ("data", "train", "weight") not in paths
    assert not any(path[:1] == ("evaluate",) and len(path) > 1 for path in paths)
