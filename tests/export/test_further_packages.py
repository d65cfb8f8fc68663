from __future__ import annotations

import pytest
from open_clip.tokenizer import SimpleTokenizer

from mmcl.export.further_packages import further_packages
from mmcl.model import build_model
from mmcl.text.tokenizer import OpenClipTokenizer
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair


def test_timms_towers_need_timm(tokenizer: str) -> None:
    timms = [build_model(pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer)), build_model(lone_image(tiny.TIMM_RESNET))]
    assert all("pip install timm" in said for model in timms for said in further_packages(model, "dual_encoder"))
    assert [len(further_packages(model, "dual_encoder")) for model in timms] == [1, 1]
    assert further_packages(timms[0], "open_clip") == [
        "open_clip opens its tokenizer by transformers: `pip install transformers` too."
    ], "open_clip brings timm along"
    assert further_packages(build_model(joint("clip", tokenizer)), "joint") == []
    assert further_packages(build_model(lone_text(tiny.BERT, tokenizer)), "single") == []


@pytest.mark.parametrize("is_own", [True, False])
def test_open_clip_needs_transformers_for_tokenizers_that_are_not_its_own(tokenizer: str, is_own: bool) -> None:
    model = build_model(joint("clip", tokenizer))
    if is_own:
        model.tokenizer = OpenClipTokenizer(SimpleTokenizer(context_length=12), 0, pads_to_max_length=False)
    assert bool(further_packages(model, "open_clip")) == (not is_own)
