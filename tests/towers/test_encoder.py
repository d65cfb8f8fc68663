"""Two-stage training: a tower that a run has trained is taken by another recipe, as it was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from tests.tiny import random_batch
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble

MEAN = (0.1, 0.2, 0.3)
TEXTS = ["alpha", "a greek letter alpha beta", "two black"]


def trained(config: ModelConfig, run: Path) -> TwoTower:
    """Write a run with weights that no seed draws."""
    model = build_model(config)
    scramble(model)
    export_model(model, run / "model", ModelCardFacts("x"))
    return model.eval()


def configs(tokenizer: str) -> dict[str, ModelConfig]:
    pixels, short = {"image_mean": MEAN}, {"max_length": 9}
    return {
        "image": lone_image(tiny.VIT, pooling="cls", **pixels),
        "flattened": lone_image(tiny.RESNET, **pixels),
        "trained-pooler": lone_image(tiny.VIT, pooling="pooler", **pixels),
        "text": lone_text(tiny.BERT, tokenizer, pooling="cls", **short),
        "router": pair(tiny.VIT, tiny.BERT, tokenizer, {"pooling": "cls", **pixels}, {"pooling": "last", **short}),
        "dual_encoder": pair(tiny.VIT, tiny.BERT, tokenizer, {"pooling": "pooler", **pixels}, {"pooling": "pooler"}),
        "timm-dual_encoder": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer, pixels),
        "clip": joint("clip", tokenizer),
    }


@pytest.mark.parametrize(
    "name", ["image", "flattened", "trained-pooler", "router", "dual_encoder", "timm-dual_encoder", "clip"]
)
def test_the_image_tower_of_a_run_gives_its_features(tmp_path: Path, tokenizer: str, name: str) -> None:
    before = trained(configs(tokenizer)[name], tmp_path / "run")
    batch = random_batch(3, 32)
    expected = before.encode_image(batch.images[0]).features
    text = {"config": tiny.CLIP_TEXT, "tokenizer": tokenizer}
    for fields in ({}, {"text": text}):
        after = build_model(ModelConfig.model_validate({"image": str(tmp_path / "run"), **fields})).eval()
        torch.testing.assert_close(after.encode_image(batch.images[0]).features, expected)
        assert after.preprocessing == before.preprocessing
    assert name == "clip" or after.preprocessing.mean == MEAN


@pytest.mark.parametrize("name", ["text", "router", "dual_encoder", "timm-dual_encoder", "clip"])
def test_the_text_tower_of_a_run_gives_its_features(tmp_path: Path, tokenizer: str, name: str) -> None:
    before = trained(configs(tokenizer)[name], tmp_path / "run")
    expected = before.encode_text(before.tokenizer(TEXTS)).features
    for fields in ({}, {"image": {"config": tiny.VIT, "image_size": 32}}):
        after = build_model(ModelConfig.model_validate({"text": str(tmp_path / "run"), **fields})).eval()
        assert after.tokenizer.max_length == before.tokenizer.max_length
        torch.testing.assert_close(after.encode_text(after.tokenizer(TEXTS)).features, expected)


def test_a_kept_head_goes_with_a_text_tower_alone_and_not_into_a_pair(tmp_path: Path, tokenizer: str) -> None:
    model = build_model(configs(tokenizer)["text"])
    model.keep_text_head()
    scramble(model)
    export_model(model, tmp_path / "run" / "model", ModelCardFacts("x"))
    tokens = model.eval().tokenizer(TEXTS)
    expected = model.encode_text(tokens)
    alone = build_model(ModelConfig.model_validate({"text": str(tmp_path / "run")})).eval().encode_text(tokens)
    assert torch.equal(alone.projected, expected.projected)
    image = {"config": tiny.VIT, "image_size": 32}
    both = build_model(ModelConfig.model_validate({"image": image, "text": str(tmp_path / "run")})).eval()
    assert torch.equal(both.encode_text(tokens).features, expected.features)
    fresh = ModelConfig.model_validate({"text": {"name": str(tmp_path / "run"), "pretrained": False}})
    assert build_model(fresh).towers.head is None


def test_preprocessing_is_exactly_that_of_the_run(tmp_path: Path, tokenizer: str) -> None:
    """Files of image processors cannot say how an odd margin is cut; the description can."""
    for name in ("image", "router"):
        model = build_model(configs(tokenizer)[name])
        model.preprocessing = replace(model.preprocessing, resize_to=37, crop_rounding="even")
        export_model(model, tmp_path / name / "model", ModelCardFacts("x"))
        after = build_model(ModelConfig.model_validate({"image": str(tmp_path / name)}))
        assert after.preprocessing == model.preprocessing


def test_the_recipe_overrides_what_the_run_did(tmp_path: Path, tokenizer: str) -> None:
    trained(configs(tokenizer)["image"], tmp_path / "run")
    fields = {"name": str(tmp_path / "run"), "pooling": "mean", "image_mean": (0.5, 0.5, 0.5), "resize_to": 40}
    after = build_model(ModelConfig.model_validate({"image": fields}))
    assert (after.preprocessing.size, after.preprocessing.resize_to) == (32, 40)
    assert after.towers.pooling == "mean"
    assert after.preprocessing.mean == (0.5, 0.5, 0.5)


def test_the_architecture_of_a_run_keeps_its_pooling_and_takes_new_weights(tmp_path: Path, tokenizer: str) -> None:
    before = trained(configs(tokenizer)["image"], tmp_path / "run")
    config = ModelConfig.model_validate({"image": {"name": str(tmp_path / "run"), "pretrained": False}})
    for after in (build_model(config), build_model(ModelConfig(name=str(tmp_path / "run"), pretrained=False))):
        assert after.towers.pooling == "cls"
        assert after.preprocessing.mean == MEAN
        name = "backbone.layers.0.attention.q_proj.weight"
        weights = [model.towers.state_dict() for model in (before, after)]
        name = next(n for n, tensor in weights[0].items() if "layers.0" in n and tensor.dim() == 2)
        assert not torch.equal(weights[0][name], weights[1][name])


def test_a_run_without_the_modality_is_refused(tmp_path: Path, tokenizer: str) -> None:
    trained(configs(tokenizer)["text"], tmp_path / "run")
    with pytest.raises(UserError, match=r"run is a model of texts alone: it has no image tower; give it as model.text"):
        build_model(ModelConfig.model_validate({"image": str(tmp_path / "run")}))


def test_a_run_that_is_not_there_or_not_done_says_so(tmp_path: Path) -> None:
    (tmp_path / "simclr").mkdir()
    with pytest.raises(UserError, match=r"there is no folder .*simcrl. Did you mean .*simclr"):
        build_model(ModelConfig.model_validate({"image": str(tmp_path / "simcrl")}))
    (tmp_path / "simclr" / "recipe.yaml").write_text("")
    with pytest.raises(UserError, match="is a run that has not written its model yet"):
        build_model(ModelConfig.model_validate({"image": str(tmp_path / "simclr")}))
