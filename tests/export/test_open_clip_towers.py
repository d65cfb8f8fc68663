from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch

from mmcl.errors import UserError
from mmcl.export.open_clip_towers import NoFormError, text_tower, vision_tower
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from tests.export.siglip_of_timm import register_tiny_siglip
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, scramble


@pytest.fixture(autouse=True)
def tiny_siglip() -> Iterator[None]:
    with register_tiny_siglip():
        yield


def whole(model_type: str, tokenizer: str, vision: dict[str, Any], text: dict[str, Any]) -> Any:
    """A joint model, whose towers differ from the tiny ones in some fields."""
    fields = {
        "model_type": model_type,
        "vision_config": {**tiny.PATCHES, **vision},
        "text_config": {**tiny.POSITIONS, **text},
        **({} if model_type == "siglip" else {"projection_dim": 8}),
    }
    model = build_model(ModelConfig.model_validate({"config": fields, "tokenizer": tokenizer}))
    scramble(model)
    return model.towers.model.eval()


def test_fields_of_a_clip_tower_say_what_open_clip_cannot_see_in_the_weights(tokenizer: str) -> None:
    vision = {"num_hidden_layers": 2, "intermediate_size": 40, "layer_norm_eps": 1e-3, "hidden_act": "gelu"}
    model = whole("clip", tokenizer, vision, {"eos_token_id": 3, "hidden_act": "gelu_pytorch_tanh"})
    image = vision_tower(model.vision_model, model.visual_projection.weight)
    assert image.config == {
        "image_size": 32,
        "patch_size": 8,
        "head_width": 8,
        "width": 16,
        "layers": 2,
        "mlp_ratio": 2.5,
        "norm_kwargs": {"eps": 1e-3},
    }
    assert image.quick_gelu is False
    text = text_tower(model.text_model, model.text_projection.weight, 9)
    assert text.config["act_kwargs"] == {"approximate": "tanh"}
    assert (text.config["pool_type"], text.config["eos_id"]) == ("eos", 3)
    assert (text.config["context_length"], text.config["vocab_size"], text.config["heads"]) == (9, 18, 2)
    assert text.state["positional_embedding"].shape == (9, 16)


def test_queries_keys_and_values_become_one_matrix_in_this_order(tokenizer: str) -> None:
    model = whole("clip", tokenizer, {}, {"eos_token_id": 3})
    state = vision_tower(model.vision_model, model.visual_projection.weight).state
    attention = model.vision_model.encoder.layers[0].self_attn
    joined = state["transformer.resblocks.0.attn.in_proj_weight"]
    for part, layer in zip(joined.split(16), (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
        assert torch.equal(part, layer.weight)
    assert torch.equal(state["proj"], model.visual_projection.weight.T)


def test_the_end_token_of_clips_first_configurations_is_the_largest_id(tokenizer: str) -> None:
    old = whole("clip", tokenizer, {}, {})
    old.text_model.config.eos_token_id = 2
    text = text_tower(old.text_model, old.text_projection.weight, 12)
    assert text.config["pool_type"] == "argmax"
    assert "eos_id" not in text.config


def test_every_ratio_gives_back_the_width_it_was_made_of() -> None:
    from mmcl.export.open_clip_towers import _mlp_ratio

    for width in (48, 384, 768, 1024, 1152, 1408):
        for inner in (*range(width, 4 * width, 131), 4304, 6144):
            assert int(width * _mlp_ratio(width, inner)) == inner


def test_a_siglip_image_tower_is_found_by_its_shapes(tokenizer: str) -> None:
    model = whole("siglip", tokenizer, {"intermediate_size": 64}, {"hidden_act": "gelu_pytorch_tanh"})
    image = vision_tower(model.vision_model, None)
    assert image.config["timm_model_name"] == "vit_tiny_patch8_siglip_32"
    trunk = timm.create_model("vit_tiny_patch8_siglip_32", num_classes=0).eval()
    trunk.load_state_dict({name.removeprefix("trunk."): tensor for name, tensor in image.state.items()})
    pixels = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        cosines = torch.cosine_similarity(trunk(pixels), model.vision_model(pixels).pooler_output)
    assert cosines.min() > 0.99999


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"intermediate_size": 32}, "timm has no SigLIP image tower of this size .*patch8_siglip_32 are vit_tiny"),
        ({"intermediate_size": 64, "num_attention_heads": 4}, "no SigLIP image tower of this size .*4 heads"),
        ({"intermediate_size": 64, "patch_size": 4}, "timm has no .*_patch4_siglip_32"),
        ({"intermediate_size": 64, "layer_norm_eps": 1e-5}, "eps 1e-06 and gelu; this one has 1e-05"),
        ({"intermediate_size": 64, "hidden_act": "quick_gelu"}, "this one has 1e-06 and quick_gelu"),
    ],
)
def test_a_siglip_image_tower_that_timm_has_not_is_refused(
    tokenizer: str, vision: dict[str, Any], message: str
) -> None:
    model = whole("siglip", tokenizer, vision, {})
    with pytest.raises(NoFormError, match=message):
        vision_tower(model.vision_model, None)


def test_activations_that_open_clip_lacks_are_refused(tokenizer: str) -> None:
    model = whole("clip", tokenizer, {"hidden_act": "relu"}, {"hidden_act": "silu"})
    with pytest.raises(NoFormError, match="its activation is relu, and open_clip has gelu, quick_gelu"):
        vision_tower(model.vision_model, model.visual_projection.weight)
    with pytest.raises(UserError, match="its activation is silu"):
        text_tower(model.text_model, model.text_projection.weight, 12)


def test_towers_of_other_kinds_are_named(tokenizer: str) -> None:
    model = build_model(joint("chinese_clip", tokenizer)).towers.model
    with pytest.raises(NoFormError, match="its image tower is a chinese_clip_vision_model"):
        vision_tower(model.vision_model, model.visual_projection.weight)
    with pytest.raises(NoFormError, match="its text tower is a chinese_clip_text_model"):
        text_tower(model.text_model, model.text_projection.weight, 12)
