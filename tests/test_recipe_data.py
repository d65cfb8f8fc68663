from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mmcl.recipe_data import ColumnsConfig, DataConfig, ImageViewConfig


def test_views_are_written_out_as_often_as_they_count() -> None:
    data = DataConfig.model_validate({"train": "x", "image_views": [{"count": 2}, {"size": 96, "count": 3}]})
    assert [view.size for view in data.expanded_views] == [None, None, 96, 96, 96]
    assert DataConfig.model_validate({"train": "x"}).expanded_views == (
        ImageViewConfig(random_resized_crop=(0.9, 1.0)),
    )


@pytest.mark.parametrize("view", [{"count": 0}, {"size": 0}, {"solarize": 1.5}])
def test_views_that_cannot_be_drawn_are_refused(view: Any) -> None:
    with pytest.raises(ValidationError):
        ImageViewConfig.model_validate(view)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, (None, None)),
        ({"text": "title", "negatives": "hard"}, ("title", "hard")),
        ({"text": False, "negatives": ["a", "b"]}, (False, ("a", "b"))),
        ({"text": ["a", "b"]}, (("a", "b"), None)),
    ],
)
def test_a_role_is_a_column_or_false(columns: Any, expected: Any) -> None:
    config = ColumnsConfig.model_validate(columns)
    assert (config.text, config.negatives) == expected


@pytest.mark.parametrize("columns", [{"group": True}, {"label": 5}, {"image": 0}, {"image": ["a", "b"]}, {"score": ""}])
def test_a_role_is_nothing_else(columns: Any) -> None:
    with pytest.raises(ValidationError, match="must be the name of a column, or false for none, got"):
        ColumnsConfig.model_validate(columns)


@pytest.mark.parametrize("role", ["text", "negatives"])
@pytest.mark.parametrize("columns", [True, 5, ["a", 3], [""], {"a": 1}])
def test_captions_and_negatives_are_one_column_or_several(role: str, columns: Any) -> None:
    with pytest.raises(ValidationError, match="must be the name of a column, several, or false for none, got"):
        ColumnsConfig.model_validate({role: columns})


def test_batches_are_drawn_in_one_way() -> None:
    with pytest.raises(ValidationError, match="unique_groups, which is true, draws batches in a way of its own"):
        DataConfig.model_validate({"train": "x", "unique_groups": True, "paired_per_batch": 4})


@pytest.mark.parametrize("option", [{"unique_groups": True}, {"paired_per_batch": 4}])
def test_weights_draw_batches_alone(option: Any) -> None:
    assert DataConfig.model_validate({"train": ["x", "y"], **option})
    with pytest.raises(ValidationError, match=r"the weights of data.train draw batches in a way of their own"):
        DataConfig.model_validate({"train": ["x", {"path": "y", "weight": 2}], **option})


@pytest.mark.parametrize("template", ["a photo", "{} and {}", ""])
def test_a_template_has_one_place_for_the_class(template: str) -> None:
    with pytest.raises(ValidationError, match=r"a template has one place \{\} for the class name, got"):
        DataConfig.model_validate({"train": "x", "caption_templates": ["a {}", template]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"caption_templates": ["a {}"], "columns": {"text": "title"}}, 'those of columns.text, "title"; give one'),
        ({"class_names": {"0": "cat"}}, "is for caption_templates"),
        (
            {"caption_templates": ["a {}"], "class_names": {"0": " "}},
            'every class needs a name, got .* for "0"',
        ),
    ],
)
def test_captions_come_from_one_place(fields: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate({"train": "x", **fields})
