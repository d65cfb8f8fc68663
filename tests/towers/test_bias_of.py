from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.towers.bias_of import has_siglip_bias
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


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        has_siglip_bias(str(tmp_path / "nowhere"))
