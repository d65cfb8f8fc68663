"""What the name of a tower leads to; what is loaded from there is in `test_transfer`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmcl.errors import UserError
from mmcl.export import sentence_transformers_files as st
from mmcl.towers.description import Description
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.source import TowerSource, locate_tower, resolve_folder

PIXELS = ImagePreprocessing(32)
IMAGE = {"modality": "image", "pooling": "flattened_pooler", "dim": 4, "max_length": None, "has_head": False}
TEXT = {"modality": "text", "pooling": "cls", "dim": 4, "max_length": 9, "has_head": True}
PAIR = {
    "image": {"pooling": "pooler", "dim": 4},
    "text": {"pooling": "mean", "dim": 4},
    "embedding_dim": 4,
    "max_length": 9,
}


def run(folder: Path, description: Description) -> str:
    (folder / "model").mkdir(parents=True)
    description.write(folder / "model", "test")
    return str(folder)


def test_a_run_stands_for_its_model(tmp_path: Path) -> None:
    assert resolve_folder(str(tmp_path)) == str(tmp_path)
    (tmp_path / "model").mkdir()
    assert resolve_folder(str(tmp_path)) == str(tmp_path / "model")
    (tmp_path / "config.json").write_text("{}")
    assert resolve_folder(str(tmp_path)) == str(tmp_path), "a model with a folder called model in it"


def test_names_of_others_are_left_to_them(tmp_path: Path) -> None:
    assert locate_tower("google/vit-base", "image") == TowerSource("google/vit-base")
    assert locate_tower(str(tmp_path), "text") == TowerSource(str(tmp_path))


def test_a_run_of_one_tower_says_how_it_was_trained(tmp_path: Path) -> None:
    image = run(tmp_path / "image", Description("single", "x", PIXELS, 0.0, None, None, IMAGE))
    assert locate_tower(image, "image") == TowerSource(f"{image}/model", "pooler", PIXELS)
    text = run(tmp_path / "text", Description("single", "x", None, 0.0, None, None, TEXT))
    modules = [{"type": st.TRANSFORMER, "path": ""}, {"type": st.DENSE, "path": "head"}]
    (tmp_path / "text" / "model" / "modules.json").write_text(json.dumps(modules))
    assert locate_tower(text, "text") == TowerSource(f"{text}/model", "cls", None, (Path(text) / "model" / "head",))


def test_a_run_of_a_pair_has_a_folder_per_tower(tmp_path: Path) -> None:
    name = run(tmp_path / "x", Description("router", "x", PIXELS, 0.0, None, PAIR))
    assert locate_tower(name, "image") == TowerSource(f"{name}/model/image", "pooler", PIXELS)
    assert locate_tower(name, "text") == TowerSource(f"{name}/model/text", "mean")


def test_a_run_without_the_tower_says_what_it_has(tmp_path: Path) -> None:
    image = run(tmp_path / "image", Description("single", "x", PIXELS, 0.0, None, None, IMAGE))
    with pytest.raises(UserError, match=r"is a model of images alone: it has no text tower; give it as model.image"):
        locate_tower(image, "text")
    static = run(tmp_path / "static", Description("static", "x", None, 0.0, None, None, {"max_length": 9}))
    with pytest.raises(UserError, match=r"is a model of texts alone: it has no image tower; give it as model.text"):
        locate_tower(static, "image")
    assert locate_tower(static, "text").is_static


def test_open_clip_models_are_not_taken_apart(tmp_path: Path) -> None:
    name = run(tmp_path / "x", Description("open_clip", "x", PIXELS))
    with pytest.raises(UserError, match="is an open_clip model, whose towers cannot be taken one by one"):
        locate_tower(name, "image")
