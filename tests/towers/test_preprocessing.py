from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    ConvNextImageProcessor,
    DINOv3ViTImageProcessor,
    EfficientNetImageProcessor,
    SiglipImageProcessor,
    TimmWrapperImageProcessor,
)

from mmcl.errors import UserError
from mmcl.export.verify import sample_pictures
from mmcl.towers.preprocessing import ImagePreprocessing

PREPROCESSINGS = [
    ImagePreprocessing(32),
    ImagePreprocessing(32, "squash", "bilinear"),
    ImagePreprocessing(32, "shortest", "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), resize_to=40),
    ImagePreprocessing(30, "squash", "nearest-exact", resize_to=33),
]


def normalised(preprocessing: ImagePreprocessing, picture: Image.Image) -> torch.Tensor:
    return preprocessing.normalise(preprocessing.resize(picture), *preprocessing.pixel_statistics())


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_resized_pictures_are_square_uint8(preprocessing: ImagePreprocessing) -> None:
    for picture in sample_pictures():
        pixels = preprocessing.resize(picture)
        assert pixels.shape == (3, preprocessing.size, preprocessing.size)
        assert pixels.dtype == torch.uint8


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_processor_gives_the_same_pixels(preprocessing: ImagePreprocessing) -> None:
    theirs = preprocessing.to_processor()(sample_pictures(), return_tensors="pt")["pixel_values"]
    ours = torch.stack([normalised(preprocessing, picture) for picture in sample_pictures()])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_reading_a_processor_undoes_writing_it(preprocessing: ImagePreprocessing) -> None:
    assert ImagePreprocessing.from_processor(preprocessing.to_processor(), "x") == preprocessing


def test_dictionary_round_trip() -> None:
    for preprocessing in PREPROCESSINGS:
        assert ImagePreprocessing.from_dict(preprocessing.to_dict()) == preprocessing


def test_an_odd_margin_is_cropped_as_asked() -> None:
    picture = Image.fromarray(np.arange(37 * 32 * 3, dtype=np.uint64).astype(np.uint8).reshape(37, 32, 3))
    rows = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert torch.equal(ImagePreprocessing(32).resize(picture), rows[:, 2:34])
    picture = picture.resize((32, 39))
    rows = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert torch.equal(ImagePreprocessing(32).resize(picture), rows[:, 3:35])
    assert torch.equal(ImagePreprocessing(32, crop_rounding="even").resize(picture), rows[:, 4:36])


def test_siglip_processor_is_read_as_squash() -> None:
    found = ImagePreprocessing.from_processor(SiglipImageProcessor(size={"height": 48, "width": 48}), "x")
    assert (found.size, found.resize_mode, found.interpolation) == (48, "squash", "bicubic")
    assert found.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("divides_twice", [False, True])
def test_a_processor_that_scales_with_an_offset_is_read_right(divides_twice: bool) -> None:
    processor = EfficientNetImageProcessor(
        size={"height": 40, "width": 40}, rescale_factor=1 / 127.5, rescale_offset=True, include_top=divides_twice
    )
    found = ImagePreprocessing.from_processor(processor, "x")
    picture = sample_pictures()[2]
    theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(normalised(found, picture), theirs, rtol=0, atol=1e-4)


def test_timm_transforms_are_read() -> None:
    processor = TimmWrapperImageProcessor(
        pretrained_cfg={
            "input_size": [3, 40, 40],
            "interpolation": "bicubic",
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.3, 0.4],
            "crop_pct": 0.8,
            "crop_mode": "center",
        }
    )
    found = ImagePreprocessing.from_processor(processor, "x")
    assert (found.size, found.resize_to, found.mean) == (40, 50, (0.4, 0.5, 0.6))
    for picture in sample_pictures():
        theirs = processor(picture)["pixel_values"][0]
        torch.testing.assert_close(normalised(found, picture), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("size", "resize_to"), [(224, 256), (32, 33), (288, 288), (224, 235), (7, 300), (48, 59)])
def test_timms_fields_undo_reading_them(size: int, resize_to: int) -> None:
    ours = ImagePreprocessing(
        size, resize_to=None if size == resize_to else resize_to, crop_rounding="even", resampler="pillow"
    )
    assert ImagePreprocessing.from_processor(TimmWrapperImageProcessor(ours.to_timm()), "x") == ours


@pytest.mark.parametrize(("side", "found"), [(64, (64, 73, "shortest")), (384, (384, None, "squash"))])
def test_convnext_crops_small_pictures_and_squashes_large_ones(side: int, found: tuple[int, int | None, str]) -> None:
    processor = ConvNextImageProcessor(size={"shortest_edge": side})
    ours = ImagePreprocessing.from_processor(processor, "x")
    assert (ours.size, ours.resize_to, ours.resize_mode) == found
    for picture in sample_pictures():
        theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(normalised(ours, picture), theirs, rtol=0, atol=1e-6)


def test_a_processor_that_resizes_by_pillow_is_matched_exactly() -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    ours = ImagePreprocessing.from_processor(processor, "x")
    assert ours.resampler == "pillow"
    for picture in sample_pictures():
        theirs = torch.as_tensor(processor(picture)["pixel_values"][0])
        torch.testing.assert_close(normalised(ours, picture), theirs, rtol=0, atol=1e-5)


def test_a_processor_that_rounds_otherwise_is_taken_and_said(caplog: pytest.LogCaptureFixture) -> None:
    ImagePreprocessing.from_processor(CLIPImageProcessor(), "x")
    assert not caplog.records
    ImagePreprocessing.from_processor(DINOv3ViTImageProcessor(size={"height": 48, "width": 48}), "model x")
    assert "model x: its DINOv3ViTImageProcessor resizes otherwise than in whole levels of 255" in caplog.text


@pytest.mark.parametrize("resampler", ["torchvision", "pillow"])
def test_a_grey_picture_has_the_pixels_of_its_colour_copy(resampler: Any) -> None:
    for picture in sample_pictures():
        grey = picture.convert("L")
        for mode in ("shortest", "squash"):
            preprocessing = ImagePreprocessing(32, mode, resampler=resampler)
            pixels = preprocessing.resize(grey)
            assert pixels.shape == (1, 32, 32)
            assert torch.equal(pixels.expand(3, -1, -1), preprocessing.resize(grey.convert("RGB")))


def test_a_processor_that_does_something_else_is_refused() -> None:
    class Flipping(CLIPImageProcessor):
        def __call__(self, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
            return {"pixel_values": super().__call__(*args, **kwargs)["pixel_values"].flip(-1)}

    with pytest.raises(UserError, match="model x: the preprocessing of its Flipping is not a resize to a square"):
        ImagePreprocessing.from_processor(Flipping(), "model x")


def test_rectangular_processor_is_refused() -> None:
    with pytest.raises(UserError, match="not a resize to a square"):
        ImagePreprocessing.from_processor(SiglipImageProcessor(size={"height": 48, "width": 32}), "x")


def test_new_size_forgets_the_checkpoints_own_resize() -> None:
    before = ImagePreprocessing(32, resize_to=40)
    assert before.with_fields(None, None, None) == before
    assert before.with_fields(64, None, (1.0, 1.0, 1.0)) == ImagePreprocessing(64, std=(1.0, 1.0, 1.0))


def test_scaling_further_before_the_crop_and_not_below_the_input():
    assert ImagePreprocessing(32).scaled_to(40) == ImagePreprocessing(32, resize_to=40)
    with pytest.raises(UserError, match="at least the 32 pixels of the input, got 31"):
        ImagePreprocessing(32).scaled_to(31)


def test_open_clip_gives_the_same_pixels() -> None:
    config = {
        "size": 32,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    ours = ImagePreprocessing.from_open_clip(config, "x")
    assert ImagePreprocessing.from_open_clip(ours.to_open_clip(), "x") == ours
    theirs = open_clip.image_transform(32, False, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5), "shortest", "bicubic")
    for picture in sample_pictures():
        torch.testing.assert_close(normalised(ours, picture), theirs(picture), rtol=0, atol=1e-6)


def test_open_clips_padding_is_refused() -> None:
    config = {"size": 32, "mean": [0] * 3, "std": [1] * 3, "interpolation": "bicubic", "resize_mode": "longest"}
    with pytest.raises(UserError, match="resize_mode longest; allowed are one side, and shortest or squash"):
        ImagePreprocessing.from_open_clip(config, "x")
