"""Awkward pictures have the same pixels in training, in evaluation and in other libraries that open the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.loader import build_train_data
from mmcl.embedder import ModelEmbedder
from mmcl.export.forms import form_of, write_form
from mmcl.model import Encoded, TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from tests import documents
from tests.data.awkward import pictures, rotten
from tests.data.builders import recipe, write_lines
from tests.towers import joint_families, open_clip_families, tower_families

PICTURES = pictures()
KINDS = ["shortest side and crop", "squashed", "open_clip", "timm"]


def build(kind: str, folder: Path) -> TwoTower:
    """A model whose pictures are scaled in one of the ways that there are."""
    if kind == "open_clip":
        open_clip_families.save(open_clip_families.FAMILIES["clip"], folder)
        return build_model(ModelConfig(name=f"local-dir:{folder}"))
    if kind == "timm":
        tower_families.save_timm(folder, input_size=[3, 32, 32], crop_pct=0.875)
        tower_families.save_text_tower(tower_families.TEXT["bert"], folder / "bert")
        return build_model(ModelConfig.model_validate({"image": str(folder), "text": str(folder / "bert")}))
    joint_families.save(joint_families.FAMILIES["clip" if kind == KINDS[0] else "siglip 2"], folder)
    return build_model(ModelConfig(name=str(folder)))


def write_table(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return write_lines(folder / "pairs.jsonl", [{"image": name, "text": f"caption of {name}"} for name in files])


def in_training(model: TwoTower, table: Path) -> Tensor:
    """Return the pixels of the plain view of every row, in the order of the table."""
    train = recipe(table, batch_size=len(PICTURES), image_views=[{}])
    batch = next(build_train_data(train, model.preprocessing, model.tokenizer).batches())
    return batch.images[0][batch.sample_ids.argsort()]


def in_evaluation(model: TwoTower, table: Path, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return the pixels that the embedder gives to the model."""
    seen: list[Tensor] = []

    def remember(pixels: Tensor) -> Encoded:
        seen.append(pixels)
        rows = torch.zeros(len(pixels), model.embedding_dim)
        return Encoded(rows, rows, rows)

    monkeypatch.setattr(model, "encode_image", remember)
    ModelEmbedder(model, "tiny", batch_size=7).encode_images([table.parent / name for name in PICTURES])
    return torch.cat(seen)


def documented_opening() -> Callable[[Path], Image.Image]:
    """The function that the guide gives to those who open an export without mmcl."""
    (block,) = (block for block in documents.blocks("python") if "def open_picture" in block.text)
    namespace: dict[str, Any] = {}
    exec(block.text, namespace)
    opening: Callable[[Path], Image.Image] = namespace["open_picture"]
    return opening


def in_export(model: TwoTower, table: Path, folder: Path) -> Tensor:
    """Return the normalised pixels of the library that opens the exported folder."""
    folder.mkdir()
    form = form_of(model)
    write_form(model, folder, form)
    opening = documented_opening()
    opened = [opening(table.parent / name) for name in PICTURES]
    if form == "open_clip":
        with open_clip_families.quiet():
            _, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        return torch.stack([preprocess(picture) for picture in opened])
    processor = AutoImageProcessor.from_pretrained(folder if form == "joint" else folder / "image")
    return torch.cat([processor(picture, return_tensors="pt")["pixel_values"] for picture in opened])


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_the_same_in_training_evaluation_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    assert len(PICTURES) >= 24
    model = build(kind, tmp_path / "checkpoint")
    table = write_table(tmp_path / "data", PICTURES)
    trained = in_training(model, table)
    exported = in_export(model, table, tmp_path / "model")
    assert model.preprocessing is not None
    normalised = model.preprocessing.normalise(trained, model.pixel_mean, model.pixel_std)
    for name, ours, theirs in zip(PICTURES, normalised, exported, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    judged = in_evaluation(model, table, monkeypatch)
    for name, ours, theirs in zip(PICTURES, trained, judged, strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith("turned")])
def test_turned_pictures_stand_upright(name: str) -> None:
    number = int(name.split(".")[0][-1])
    image = decode_image(PICTURES[name])
    assert image.size == ((44, 60) if number >= 5 else (60, 44))


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith(("grey", "turned-grey"))])
def test_grey_pictures_are_kept_in_one_channel_in_training_alone(name: str) -> None:
    has_transparency = name in ("grey-alpha.png", "grey-clear-value.png")
    kept = decode_image(PICTURES[name], keep_grey=True)
    assert kept.mode == ("RGB" if has_transparency else "L")
    np.testing.assert_array_equal(np.asarray(kept.convert("RGB")), np.asarray(decode_image(PICTURES[name])))


@pytest.mark.parametrize("name", ["cmyk-adobe-inverted.jpg", "cmyk.jpg", "ycck.jpg", "cmyk.tif", "profile.jpg"])
def test_colours_survive_however_they_are_stored(name: str) -> None:
    plain = np.asarray(decode_image(PICTURES["plain.bmp"])).astype(int)
    assert np.abs(np.asarray(decode_image(PICTURES[name])) - plain).mean() < 4


ROTTEN = rotten()


@pytest.mark.parametrize("name", ROTTEN)
def test_rotten_pictures_say_why(tmp_path: Path, name: str) -> None:
    content, reason = ROTTEN[name]
    (tmp_path / name).write_bytes(content)
    for keep_grey in (False, True):
        with pytest.raises(UnreadableImage, match=reason):
            decode_image(tmp_path / name, keep_grey=keep_grey)


def test_rotten_pictures_are_left_out_of_training_with_their_reasons(tmp_path: Path) -> None:
    good = {name: content for name, content in PICTURES.items() if name.endswith(".bmp")}
    table = write_table(tmp_path / "data", {**good, **{name: content for name, (content, _) in ROTTEN.items()}})
    joint_families.save(joint_families.FAMILIES["clip"], tmp_path / "clip")
    model = build_model(ModelConfig(name=str(tmp_path / "clip")))
    train = recipe(table, batch_size=len(ROTTEN) + 1, image_views=[{}], max_unreadable=1.0)
    data = build_train_data(train, model.preprocessing, model.tokenizer)
    data.quarantine.write_to(tmp_path)
    assert len(next(data.batches())) == len(good)
    lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert len(lines) == len(ROTTEN)
    assert all(any(name in line for line in lines) for name in ROTTEN)
