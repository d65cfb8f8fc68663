"""How a recipe is laid over its base, and overrides over both."""

from __future__ import annotations

from typing import Any

import pytest

from mmcl.recipe_merge import apply_overrides, merge
from mmcl.recipe_sections import expand
from mmcl.recipe_yaml import BASE, FILE, Node, Origin, at_origin

PAIR = {"image": {"name": "a/vit"}, "text": {"config": {"model_type": "bert"}, "tokenizer": "glyphs"}}


def node(value: dict[str, Any], layer: int = FILE) -> Node:
    return expand(at_origin(value, Origin("f.yaml", 1, layer)))


def over(base: dict[str, Any], child: dict[str, Any]) -> Any:
    return merge(node(base, BASE), node(child)).plain()


def overridden(root: dict[str, Any], *overrides: str) -> Any:
    result, problems = apply_overrides(node(root), overrides)
    assert not problems
    return result.plain()


def test_mappings_merge_and_lists_and_scalars_replace():
    merged = over(
        {"lr": 1, "betas": [0.9, 0.999], "data": {"columns": {"text": "t", "image": "i"}}},
        {"lr": 2, "betas": [0.5], "data": {"columns": {"text": "u"}}},
    )
    assert merged == {"lr": 2, "betas": [0.5], "data": {"columns": {"text": "u", "image": "i"}}}


def test_another_name_of_a_role_pushes_out_the_one_before():
    named = {"data": {"columns": {"text": "t", "positive": "p"}}}
    merged = {"data": {"columns": {"anchor": "a", "positive": "p"}}}
    assert over(named, {"data": {"columns": {"anchor": "a"}}}) == merged
    assert over(merged, {"data": {"columns": {"text": "t"}}}) == named


def test_a_short_form_keeps_what_the_base_says_beside_it():
    merged = over({"data": {"train": "a.csv", "columns": {"text": "t"}}}, {"data": "b.csv"})
    assert merged == {"data": {"train": {"path": "b.csv"}, "columns": {"text": "t"}}}


@pytest.mark.parametrize(
    ("base", "child", "merged"),
    [
        (PAIR, "b/clip", {"name": "b/clip"}),
        (PAIR, {"name": "b/clip"}, {"name": "b/clip"}),
        ({"name": "a/clip"}, PAIR, PAIR),
        (
            {"config": {"model_type": "clip"}, "tokenizer": "t", "pretrained": False},
            "b",
            {"name": "b", "pretrained": False},
        ),
        (
            {"name": "a", "temperature": 0.1, "pretrained": False},
            "b",
            {"name": "b", "temperature": 0.1, "pretrained": False},
        ),
        ({"name": "a", "tokenizer": "t"}, {"temperature": 1}, {"name": "a", "tokenizer": "t", "temperature": 1}),
        (
            {**PAIR, "text": {"name": "a", "tokenizer": "t", "pooling": "cls"}},
            {"text": "b"},
            {**PAIR, "text": {"name": "b", "pooling": "cls"}},
        ),
        (
            {"name": "a", "tokenizer": "t"},
            {"name": "a", "temperature": 1},
            {"name": "a", "tokenizer": "t", "temperature": 1},
        ),
        (PAIR, {"text": "c/bert"}, {"image": {"name": "a/vit"}, "text": {"name": "c/bert"}}),
        (PAIR, {"image": {"config": {"model_type": "vit"}}}, {**PAIR, "image": {"config": {"model_type": "vit"}}}),
        (PAIR, {"embedding_dim": 8}, {**PAIR, "embedding_dim": 8}),
        (
            {"config": {"model_type": "clip", "a": 1, "b": {"c": 1}}},
            {"config": {"b": {"d": 2}}},
            {"config": {"model_type": "clip", "a": 1, "b": {"c": 1, "d": 2}}},
        ),
        (
            {"config": {"model_type": "clip", "a": 1}},
            {"config": {"model_type": "siglip"}},
            {"config": {"model_type": "siglip"}},
        ),
    ],
)
def test_another_way_to_name_a_model_pushes_out_the_others(base, child, merged):
    assert over({"model": base}, {"model": child}) == {"model": merged}


def test_an_image_size_pushes_out_what_was_scaled_to_for_the_old_one():
    base = {"model": {"image": {"config": {"model_type": "resnet"}, "image_size": 16, "resize_to": 24}}}
    bigger = over(base, {"model": {"image": {"image_size": 224}}})["model"]["image"]
    assert bigger == {"config": {"model_type": "resnet"}, "image_size": 224}
    both = overridden(base, "model.image.resize_to=256", "model.image.image_size=224")["model"]["image"]
    assert (both["image_size"], both["resize_to"]) == (224, 256)
    base = {"model": {"image": {"name": "a/vit", "image_size": 16, "resize_to": 24}}}
    assert "resize_to" not in over(base, {"model": {"image": {"name": "a/vit", "image_size": 32}}})["model"]["image"]


def test_another_path_is_another_source():
    base = {"data": {"train": {"path": "a.csv", "delimiter": ";", "limit": 3}}}
    assert over(base, {"data": "b.parquet"}) == {"data": {"train": {"path": "b.parquet"}}}
    assert over(base, {"data": {"train": {"limit": 5}}})["data"]["train"] == {
        "path": "a.csv",
        "delimiter": ";",
        "limit": 5,
    }
    assert over(base, {"data": {"train": {"path": "a.csv", "limit": 5}}})["data"]["train"]["delimiter"] == ";"


def test_another_optimiser_pushes_out_what_it_does_not_have():
    base = {"betas": [0.9, 0.95], "eps": 1e-8, "lr": 1, "weight_decay": 0.1}
    assert over(base, {"optimizer": "lars"}) == {"optimizer": "lars", "lr": 1, "weight_decay": 0.1}
    assert over(base, {"optimizer": "adamw"}) == {"optimizer": "adamw", **base}
    assert over(base, {"optimizer": "lars", "eps": 1})["eps"] == 1
    lars = {"optimizer": "lars", "momentum": 0.8, "trust_coefficient": 0.02}
    assert over(lars, {"optimizer": "sgd"}) == {"optimizer": "sgd", "momentum": 0.8}
    assert overridden(base, "optimizer=sgd", "momentum=0.5")["momentum"] == 0.5


def test_a_validation_share_and_a_validation_source_replace_each_other():
    source = {"data": {"validation": {"path": "v.csv", "split": "s"}}}
    assert over(source, {"data": {"validation": 0.1}}) == {"data": {"validation": 0.1}}
    assert over({"data": {"validation": 0.1}}, source) == source


def test_what_one_file_says_twice_is_not_quietly_resolved():
    merged = over({}, {"model": {"name": "a", **PAIR}})
    assert set(merged["model"]) == {"name", "image", "text"}
    assert set(overridden({}, "model.name=a", "model.image=b")["model"]) == {"name", "image"}


def test_overrides_reach_into_mappings_and_lists():
    root = {"evaluate": ["retrieval", {"task": "zeroshot_classification", "data": "a"}], "betas": [0.9, 0.98]}
    changed = overridden(
        root, "lr=1e-4", "data=x.csv", "evaluate.1.data.split=test", "betas.1=0.999", "model.text.pooling=cls"
    )
    assert changed == {
        "lr": 1e-4,
        "data": {"train": {"path": "x.csv"}},
        "evaluate": [
            {"task": "retrieval"},
            {"task": "zeroshot_classification", "data": {"path": "a", "split": "test"}},
        ],
        "betas": [0.9, 0.999],
        "model": {"text": {"pooling": "cls"}},
    }


def test_overrides_take_short_forms_anywhere():
    changed = overridden(
        {}, "objectives=[{clip: 0.5}]", "evaluate=[retrieval]", "evaluate.0.data=glyphs", "model.image=a/vit"
    )
    assert changed == {
        "objectives": [{"type": "clip", "weight": 0.5}],
        "evaluate": [{"task": "retrieval", "data": {"path": "glyphs"}}],
        "model": {"image": {"name": "a/vit"}},
    }


def test_a_list_that_is_not_given_is_its_default():
    assert overridden({}, "evaluate.0=zeroshot_classification") == {"evaluate": [{"task": "zeroshot_classification"}]}
    views = overridden({}, "data.image_views.0.horizontal_flip=0.5")["data"]["image_views"]
    assert views[0]["horizontal_flip"] == 0.5
    assert views[0]["random_resized_crop"] == [0.9, 1.0]


def test_a_number_is_a_key_where_there_is_no_list():
    root = {"evaluate": [{"task": "zeroshot_classification", "class_names": {"007": "bond"}}]}
    assert overridden(root, "evaluate.0.class_names.007=james")["evaluate"][0]["class_names"] == {"007": "james"}


def test_the_order_of_overrides_matters_only_for_the_same_key():
    root = {"data": {"train": {"path": "a.csv", "delimiter": ";"}}}
    expected = {"path": "b", "split": "s"}
    assert overridden(root, "data.train.split=s", "data.train.path=b")["data"]["train"] == expected
    assert overridden(root, "data.train.path=b", "data.train.split=s")["data"]["train"] == expected
    assert overridden(root, "lr=1", "lr=2")["lr"] == 2


def test_overrides_may_be_python_values():
    root, problems = apply_overrides(node({}), {"batch_size": 64, "model.embedding_dim": 8, "data": "[x].csv"})
    assert not problems
    assert root.plain() == {
        "batch_size": 64,
        "model": {"embedding_dim": 8},
        "data": {"train": {"path": "[x].csv"}},
    }
    assert str(root.nearest(("batch_size",)).origin) == "override batch_size=64"


def test_a_list_that_is_null_has_no_entries_to_change():
    _, problems = apply_overrides(node({}), ["objectives.0.weight=2", "model.image.image_mean.0=0.5"])
    assert [str(problem) for problem in problems] == [
        "override objectives.0.weight=2: objectives is null, which has no entries: write objectives=[...], all of it",
        "override model.image.image_mean.0=0.5: model.image.image_mean is null, which has no entries: write"
        " model.image.image_mean=[...], all of it",
    ]


def test_overrides_that_cannot_be_placed_are_all_told():
    _, problems = apply_overrides(
        node({"evaluate": ["retrieval"]}), ["lr", "=1", "evaluate.1.name=a", "base=b", "lr=[", "lr=1"]
    )
    assert [str(problem) for problem in problems] == [
        "override lr: must be written key=value, for example lr=1e-4",
        "override =1: must be written key=value, for example lr=1e-4",
        "override evaluate.1.name=a: evaluate has no entry 1; it has 1, counted from 0",
        "override base=b: a base can only be given in a recipe's file",
        "override lr=[: not valid YAML: expected the node content, but found '<stream end>'",
    ]
