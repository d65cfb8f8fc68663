from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmcl.objectives.configs.base import HeadConfig
from mmcl.objectives.configs.cross_modal import CLIPConfig, InfoNCEConfig
from mmcl.objectives.configs.labels import SupConConfig
from mmcl.objectives.configs.views import SimCSEConfig


def test_what_a_recipe_does_not_say_of_a_head_is_the_methods_own() -> None:
    simcse = SimCSEConfig.model_validate({"head": {"output_dim": 5}}).head
    assert simcse == HeadConfig(num_layers=1, output_dim=5, batch_norm=False, last_bias=True, tanh=True)
    supcon = SupConConfig.model_validate({"head": {"hidden_dim": 7}}).head
    assert supcon == HeadConfig(hidden_dim=7, batch_norm=False, last_bias=True)


def test_a_method_without_a_head_takes_the_general_one() -> None:
    assert InfoNCEConfig.model_validate({"head": {"output_dim": 5}}).head == HeadConfig(output_dim=5)


def test_a_head_may_be_left_out_or_given_whole() -> None:
    assert SimCSEConfig.model_validate({"head": None}).head is None
    assert SimCSEConfig(head=HeadConfig()).head == HeadConfig()


def test_a_pair_objective_has_two_views() -> None:
    with pytest.raises(ValidationError, match="must be two views"):
        CLIPConfig(views=("image.0",))
