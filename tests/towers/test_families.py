"""Every family of checkpoints gives the embeddings of the library that it comes from.

From raw pictures and strings: resizing, cropping, normalising, tokenising, padding, cutting, activation and pooling are
all part of what is compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils.import_utils import is_protobuf_available

from mmcl.embedder import ModelEmbedder
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import joint_families, open_clip_families, tower_families
from tests.towers.joint_families import JointFamily
from tests.towers.open_clip_families import OpenClipFamily
from tests.towers.samples import TEXTS, pictures
from tests.towers.tower_families import ImageFamily, TextFamily

TOLERANCE = 1e-5


def embedder(**fields: Any) -> ModelEmbedder:
    # Batches other than those of the library that is compared with: how wide one is must not matter.
    return ModelEmbedder(build_model(ModelConfig.model_validate(fields)), "tiny", batch_size=2)


def assert_equal(found: Any, expected: torch.Tensor) -> None:
    """Equal, where being equal says something: rows of different inputs are a hundred times further apart at least."""
    difference = (torch.as_tensor(found) - expected).abs().max().item()
    assert difference <= TOLERANCE, f"largest difference {difference:.1e}"
    assert (expected - expected.mean(dim=0)).abs().amax(dim=1).min() > 100 * TOLERANCE


def needs(name: str) -> Any:
    """Leave SigLIP's own tokenizer out where transformers cannot build it."""
    lacks = name == "siglip" and not is_protobuf_available()
    return pytest.param(name, marks=pytest.mark.skipif(lacks, reason="SigLIP's tokenizer needs protobuf"))


@pytest.mark.parametrize("name", [*map(needs, joint_families.FAMILIES)])
def test_joint_models_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    family: JointFamily = joint_families.FAMILIES[name]
    joint_families.save(family, tmp_path)
    images, texts = joint_families.encode(family, tmp_path)
    ours = embedder(name=str(tmp_path))
    assert_equal(ours.encode_images(pictures()), images)
    assert_equal(ours.encode_texts(family.texts), texts)


@pytest.mark.parametrize("name", ["clipseg", "owlvit", "flava"])
def test_what_a_checkpoint_has_for_another_task_is_left_aside(tmp_path: Path, name: str) -> None:
    family = joint_families.FAMILIES[name]
    joint_families.save_for_its_task(family, tmp_path)
    images, texts = joint_families.encode(family, tmp_path)
    ours = embedder(name=str(tmp_path))
    assert_equal(ours.encode_images(pictures()), images)
    assert_equal(ours.encode_texts(family.texts), texts)


@pytest.mark.parametrize("name", tower_families.IMAGES)
def test_image_towers_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    family: ImageFamily = tower_families.IMAGES[name]
    tower_families.save_image_tower(family, tmp_path)
    ours = embedder(image={"name": str(tmp_path)})
    assert_equal(ours.encode_images(pictures()), tower_families.encode_pictures(tmp_path))


@pytest.mark.parametrize(
    "transform",
    [
        {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"},
        {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"},
    ],
)
def test_timm_models_are_those_of_timm(tmp_path: Path, transform: dict[str, Any]) -> None:
    model = tower_families.save_timm(tmp_path, input_size=[3, 32, 32], **transform)
    ours = embedder(image={"name": str(tmp_path)})
    assert_equal(ours.encode_images(pictures()), tower_families.encode_by_timm(model))
    assert_equal(ours.encode_images(pictures()), tower_families.encode_pictures(tmp_path))


@pytest.mark.parametrize("name", tower_families.TEXT)
def test_text_towers_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    family: TextFamily = tower_families.TEXT[name]
    tower_families.save_text_tower(family, tmp_path)
    ours = embedder(text={"name": str(tmp_path)})
    assert_equal(ours.encode_texts(TEXTS), tower_families.encode_texts(tmp_path))


def test_a_pair_has_the_features_of_its_towers(tmp_path: Path) -> None:
    tower_families.save_image_tower(tower_families.IMAGES["swin"], tmp_path / "swin")
    tower_families.save_text_tower(tower_families.TEXT["xlm-roberta"], tmp_path / "xlm-roberta")
    model = build_model(
        ModelConfig.model_validate({"image": str(tmp_path / "swin"), "text": str(tmp_path / "xlm-roberta")})
    ).eval()
    assert model.preprocessing is not None
    assert model.tokenizer is not None
    pixels = torch.stack([model.preprocessing.resize(picture) for picture in pictures()])
    images, texts = model.encode_image(pixels).features, model.encode_text(model.tokenizer(TEXTS)).features
    normalize = torch.nn.functional.normalize
    assert_equal(normalize(images, dim=-1), tower_families.encode_pictures(tmp_path / "swin"))
    assert_equal(normalize(texts, dim=-1), tower_families.encode_texts(tmp_path / "xlm-roberta"))


@pytest.mark.parametrize("name", open_clip_families.FAMILIES)
def test_open_clip_models_are_those_of_open_clip(tmp_path: Path, name: str) -> None:
    family: OpenClipFamily = open_clip_families.FAMILIES[name]
    open_clip_families.save(family, tmp_path)
    images, texts = open_clip_families.encode(tmp_path)
    ours = embedder(name=f"local-dir:{tmp_path}")
    assert_equal(ours.encode_images(pictures()), images)
    assert_equal(ours.encode_texts(TEXTS), texts)
