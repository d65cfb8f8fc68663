from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model, export_to_open_clip
from mmcl.export.forms import Form
from mmcl.model import build_model
from mmcl.towers.bias_of import has_siglip_bias
from tests.export.siglip_of_timm import register_tiny_siglip
from tests.export.test_to_open_clip import configured
from tests.tiny import save_tokenizer, vit_bert_pair


def test_open_clips_models_say_it_in_their_configuration() -> None:
    assert has_siglip_bias("ViT-B-16-SigLIP2,webli")
    assert not has_siglip_bias("ViT-B-32,openai")


def test_a_hub_model_says_it_by_its_type(tmp_path: Path) -> None:
    for family, expected in [("siglip", True), ("siglip2", True), ("clip", False), ("chinese_clip", False)]:
        folder = tmp_path / family
        folder.mkdir()
        (folder / "config.json").write_text(f'{{"model_type": "{family}"}}')
        assert has_siglip_bias(str(folder)) == expected


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_run_says_it_in_its_description(has_bias: bool, tmp_path: Path) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path / "words")))
    if has_bias:
        model.logit_bias = nn.Parameter(torch.tensor(-12.9))
    export_model(model, tmp_path / "run/model", ModelCardFacts("x"))
    assert has_siglip_bias(str(tmp_path / "run")) == has_bias


@pytest.mark.parametrize("form", ["joint", "open_clip"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_an_exported_joint_model_says_it_as_its_library_does(form: Form, family: str, tmp_path: Path) -> None:
    with register_tiny_siglip():
        vision = {"intermediate_size": 64}  # as timm's tiny one has it
        model = build_model(configured(family, save_tokenizer(tmp_path / "words"), vision, {}))
        if form == "joint":
            export_model(model, tmp_path / "model", ModelCardFacts("x"))
        else:
            export_to_open_clip(model, tmp_path / "model", ModelCardFacts("x"))
    assert has_siglip_bias(str(tmp_path / "model")) == (family == "siglip")


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        has_siglip_bias(str(tmp_path / "nowhere"))
