from __future__ import annotations

import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional as F
from transformers import (
    AlignConfig,
    AutoConfig,
    AutoModel,
    AutoProcessor,
    CLIPImageProcessor,
    Owlv2ImageProcessor,
    ViTConfig,
    ViTModel,
)

from mmcl.errors import UserError
from mmcl.export.verify import sample_pictures
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.joint import JointTowers, build_joint
from tests.towers import joint_families
from tests.towers import tiny_configs as tiny
from tests.towers import tiny_tokenizers as tokenizers
from tests.towers.tiny_configs import joint

PIXELS = torch.rand(3, 3, 32, 32)
TEXTS = ["alpha", "a greek letter", "one two black white"]
JOINT = ["clip", "siglip", "chinese_clip", "altclip"]


def save_joint(model_type: str, tokenizer: str, folder: Path) -> Any:
    """Save a tiny joint model the way a hub repository holds it; return transformers' model."""
    loaded = build_joint(joint(model_type, tokenizer))
    towers = loaded.towers
    assert isinstance(towers, JointTowers)
    bias = -3.0 if towers.temperature.logit_bias is not None else None
    towers.model.save_pretrained(folder, state_dict=towers.state_dict_with(1.5, bias))
    loaded.tokenizer.save(folder)
    CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False).save_pretrained(folder)
    return AutoModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("model_type", JOINT)
def test_embeddings_are_those_of_transformers(tmp_path: Path, tokenizer: str, model_type: str) -> None:
    theirs = save_joint(model_type, tokenizer, tmp_path)
    ours = build_model(ModelConfig(name=str(tmp_path))).eval()
    padding = "max_length" if model_type == "siglip" else True
    tokens = AutoProcessor.from_pretrained(tmp_path)(text=TEXTS, padding=padding, truncation=True, return_tensors="pt")
    expected = F.normalize(theirs.get_text_features(**tokens).pooler_output, dim=-1)
    torch.testing.assert_close(ours.encode_text(ours.tokenizer(TEXTS)).embeddings, expected)
    pixels = torch.stack([ours.preprocessing.resize(picture) for picture in sample_pictures()])
    normalised = ours.preprocessing.normalise(pixels, ours.pixel_mean, ours.pixel_std)
    expected = F.normalize(theirs.get_image_features(pixel_values=normalised).pooler_output, dim=-1)
    torch.testing.assert_close(ours.encode_image(pixels).embeddings, expected)


@pytest.mark.parametrize("model_type", JOINT)
def test_temperature_and_bias_are_taken_from_the_checkpoint(tmp_path: Path, tokenizer: str, model_type: str) -> None:
    save_joint(model_type, tokenizer, tmp_path)
    model = build_model(ModelConfig(name=str(tmp_path)))
    assert model.logit_scale().item() == pytest.approx(math.exp(1.5))
    if model_type == "siglip":
        assert model.logit_bias is not None
        assert model.logit_bias.item() == -3.0
    else:
        assert model.logit_bias is None
    names = [name for name, _ in model.named_parameters() if "logit" in name or "log_scale" in name]
    assert len(names) == (2 if model_type == "siglip" else 1), "one temperature, not the joint model's as well"


@pytest.mark.parametrize("model_type", JOINT)
def test_features_are_what_goes_into_the_projection(tokenizer: str, model_type: str) -> None:
    loaded = build_joint(joint(model_type, tokenizer))
    towers = loaded.towers.eval()
    features, projected = towers.encode_image(PIXELS)
    text_features, text_projected = towers.encode_text(loaded.tokenizer(TEXTS))
    if model_type == "siglip":
        assert features is projected
        assert text_features is text_projected
    else:
        assert torch.equal(towers.model.visual_projection(features), projected)
        assert torch.equal(towers.model.text_projection(text_features), text_projected)
    assert (towers.image_dim, towers.embedding_dim) == (features.shape[1], projected.shape[1])


def test_no_graph_outlives_its_batch(tokenizer: str) -> None:
    towers = build_joint(joint("clip", tokenizer)).towers
    features = weakref.ref(towers.encode_image(PIXELS)[0])
    assert features() is None


def test_fresh_siglip_starts_where_its_paper_does(tokenizer: str) -> None:
    loaded = build_joint(joint("siglip", tokenizer))
    assert loaded.log_scale == pytest.approx(math.log(10))
    assert loaded.logit_bias == -10.0
    assert build_joint(joint("clip", tokenizer)).log_scale is None


def test_siglip_attends_to_its_padding(tokenizer: str) -> None:
    loaded = build_joint(joint("siglip", tokenizer))
    batch = loaded.tokenizer(["alpha"])
    assert batch.input_ids.shape == (1, 12)
    assert loaded.tokenizer.pads_to_max_length
    towers = loaded.towers.eval()
    expected = towers.model.text_model(batch.input_ids).pooler_output
    torch.testing.assert_close(towers.encode_text(batch)[1], expected)


def test_align_divides_by_its_temperature(tmp_path: Path, tokenizer: str) -> None:
    vision = {"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 32}
    config = {"model_type": "align", "text_config": tiny.POSITIONS, "vision_config": vision, "projection_dim": 32}
    loaded = build_joint(ModelConfig(config=config, tokenizer=tokenizer))
    towers = loaded.towers
    state = towers.state_dict_with(math.log(20.0), None)
    assert state["temperature"].item() == pytest.approx(0.05)
    towers.model.save_pretrained(tmp_path, state_dict=state)
    loaded.tokenizer.save(tmp_path)
    assert build_model(ModelConfig(name=str(tmp_path))).logit_scale().item() == pytest.approx(20.0)
    assert AlignConfig.from_pretrained(tmp_path).projection_dim == 32


def test_a_checkpoint_without_preprocessing_says_what_it_takes(
    tmp_path: Path, tokenizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    save_joint("clip", tokenizer, tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    assert build_joint(ModelConfig(name=str(tmp_path))).preprocessing.size == 32
    assert "says nothing about preprocessing: 32 px" in caplog.text


def test_one_tower_is_no_joint_model(tmp_path: Path) -> None:
    ViTModel(ViTConfig(**tiny.PATCHES)).save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match="is a vit, which does not encode both pictures and texts; give a joint model, a pair"
    ):
        build_joint(ModelConfig(name=str(tmp_path)))


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("siglip2", r"is a SigLIP 2 of variable resolution \(NaFlex\).* such as google/siglip2-base-patch16-224"),
        ("xclip", "is a xclip, which does not encode both pictures and texts; give a joint model"),
        ("bridgetower", "is a bridgetower, which does not encode both pictures and texts"),
        ("clap", "is a clap, which does not encode both pictures and texts"),
    ],
)
def test_a_family_that_does_not_fit_is_refused_by_its_configuration(
    tmp_path: Path, model_type: str, message: str
) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        build_joint(ModelConfig(name=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_model_that_compares_nothing_is_refused(tmp_path: Path) -> None:
    """BLIP-2 has features of pictures and of texts, in two spaces, for a language model."""
    language = {"model_type": "opt", "vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 1, "ffn_dim": 16}
    language |= {"num_attention_heads": 2, "word_embed_proj_dim": 16}
    config = AutoConfig.for_model(
        "blip-2",
        vision_config=tiny.PATCHES,
        text_config=language,
        qformer_config={**tiny.SIZES, "encoder_hidden_size": 16, "vocab_size": 100},
    )
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tokenizers.bert().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a blip-2 has no temperature: it was not made to compare pictures with texts"):
        build_joint(ModelConfig(name=str(tmp_path)))


@pytest.mark.parametrize("saved_as", ["BlipForImageTextRetrieval", "CLIPForImageClassification"])
def test_a_checkpoint_of_something_else_says_what_it_was_saved_from(tmp_path: Path, saved_as: str) -> None:
    name = "blip" if saved_as.startswith("Blip") else "clip"
    joint_families.save(joint_families.FAMILIES[name], tmp_path, getattr(transformers, saved_as))
    with pytest.raises(UserError, match=rf"lacks \d+ weights of its model, such as logit_scale.*from a {saved_as}$"):
        build_joint(ModelConfig(name=str(tmp_path)))


def test_pictures_that_are_padded_to_a_square_are_refused(tmp_path: Path) -> None:
    joint_families.save(joint_families.FAMILIES["owlvit"], tmp_path)
    (tmp_path / "processor_config.json").unlink()
    Owlv2ImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="preprocessing of its Owlv2ImageProcessor is not a resize to a square"):
        build_joint(ModelConfig(name=str(tmp_path)))


def test_the_longest_text_is_the_processors_where_it_says_one(tmp_path: Path) -> None:
    joint_families.save(joint_families.FAMILIES["align"], tmp_path)
    assert build_joint(ModelConfig(name=str(tmp_path))).tokenizer.max_length == 64, "not the 80 that the model takes"


def test_preprocessing_of_the_first_checkpoints_is_read(tmp_path: Path) -> None:
    """As OpenAI's repositories on the hub have it."""
    joint_families.save(joint_families.FAMILIES["clip"], tmp_path)
    before = build_joint(ModelConfig(name=str(tmp_path))).preprocessing
    (tmp_path / "processor_config.json").unlink()
    fields = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "resample": 3}
    fields |= dict.fromkeys(("do_center_crop", "do_normalize", "do_resize"), True)
    fields |= {"image_mean": list(before.mean), "image_std": list(before.std)}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    assert build_joint(ModelConfig(name=str(tmp_path))).preprocessing == before


def test_misspelt_field_of_a_tower_is_named_with_its_place(tokenizer: str) -> None:
    config = joint("clip", tokenizer).config
    assert config is not None
    config = {**config, "vision_config": {**config["vision_config"], "patchsize": 8}}
    with pytest.raises(UserError, match=r'config\.vision_config: clip_vision_model has no "patchsize". Did you mean'):
        build_joint(ModelConfig(config=config, tokenizer=tokenizer))
