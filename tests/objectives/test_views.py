from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from mmcl.objectives.configs import CLIPConfig, SimCLRConfig, SimCSEConfig
from mmcl.objectives.views import (
    ViewName,
    modality_of,
    num_passes,
    num_views,
    number_of,
    passes_of,
    required_views,
)

NAME = TypeAdapter(ViewName)


def test_a_modality_alone_is_its_first_view() -> None:
    assert NAME.validate_python("image") == "image.0"
    assert NAME.validate_python("text.2") == "text.2"
    assert (modality_of("text.2"), number_of("text.2")) == ("text", 2)


@pytest.mark.parametrize("name", ["audio.0", "image.first", "image.-1", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"a view is image\.N or text\.N"):
        NAME.validate_python(name)


def test_a_view_is_encoded_as_often_as_one_objective_needs_and_not_once_for_each() -> None:
    objectives = [CLIPConfig(), SimCLRConfig(), SimCSEConfig(), SimCSEConfig()]
    assert num_passes(objectives) == {"image.0": 1, "image.1": 1, "text.0": 2}
    assert required_views(objectives)[:2] == [{"image.0", "text.0"}, {"image.0", "image.1"}]
    assert (num_views(objectives, "image"), num_views(objectives, "text")) == (2, 1)
    assert num_views([SimCSEConfig()], "image") == 0


def test_the_second_naming_of_a_view_is_its_second_pass() -> None:
    assert passes_of(["text.0", "text.1", "text.0"]) == [("text.0", 0), ("text.1", 0), ("text.0", 1)]
