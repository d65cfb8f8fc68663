from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mmcl.data.views import ImageView
from mmcl.recipe_data import ImageViewConfig
from mmcl.towers.preprocessing import ImagePreprocessing
from tests.data.builders import picture

AFFINE = {"degrees": 20, "translate": 0.1, "scale": (0.8, 1.2), "shear": 10}
EVERY_OPTION = {
    "random_resized_crop": (0.3, 1.0),
    "affine": AFFINE,
    "horizontal_flip": 0.5,
    "color_jitter": (0.4, 0.4, 0.4, 0.1),
    "grayscale": 0.5,
    "gaussian_blur": 0.5,
    "solarize": 0.5,
}


@pytest.fixture(autouse=True)
def _random_state() -> Any:
    with torch.random.fork_rng(devices=[]):
        yield


def _view(size: int = 16, mode: Any = "shortest", **options: Any) -> ImageView:
    return ImageView(ImageViewConfig(**options), ImagePreprocessing(size, mode, "bilinear"))


def _draw(view: ImageView, image: Image.Image, seed: int = 0) -> Tensor:
    pixels = view(image, seed)
    size = view.preprocessing.size
    assert (pixels.shape, pixels.dtype) == ((3, size, size), torch.uint8)
    return pixels


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_without_options_it_is_the_plain_resize(mode: str) -> None:
    view, image = _view(mode=mode), picture(size=(40, 30))
    assert torch.equal(_draw(view, image), view.preprocessing.resize(image))


@pytest.mark.parametrize("option", EVERY_OPTION)
def test_each_option_is_drawn_by_the_seed_alone(option: str) -> None:
    view, image = _view(**{option: EVERY_OPTION[option]}), picture(size=(40, 30))
    draws = [_draw(view, image, seed) for seed in range(12)]
    torch.rand(5)
    assert all(torch.equal(draw, _draw(view, image, seed)) for seed, draw in enumerate(draws))
    assert len({draw.numpy().tobytes() for draw in draws}) > 1


@pytest.mark.parametrize("options", [{}, {"affine": AFFINE}, {"random_resized_crop": (0.3, 1.0)}, EVERY_OPTION])
@pytest.mark.parametrize("size", [(12, 12), (40, 30), (90, 200)])
def test_grey_picture_gives_the_pixels_of_its_colour_copy(options: dict[str, Any], size: tuple[int, int]) -> None:
    view, grey = _view(**options), picture(size=size).convert("L")
    assert torch.equal(_draw(view, grey, 5), _draw(view, grey.convert("RGB"), 5))


def test_affine_is_torchvisions_before_the_resize() -> None:
    view, image = _view(affine=AFFINE), picture(size=(30, 24))
    torch.manual_seed(3)
    reference = v2.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10, InterpolationMode.BILINEAR, fill=255)(image)
    assert torch.equal(_draw(view, image, 3), view.preprocessing.resize(reference))


def test_crop_is_torchvisions() -> None:
    view, image = _view(random_resized_crop=(0.3, 0.9)), picture(size=(50, 40))
    torch.manual_seed(3)
    crop = v2.RandomResizedCrop(16, (0.3, 0.9), interpolation=InterpolationMode.BILINEAR, antialias=True)
    reference = crop(v2.functional.pil_to_tensor(image))
    assert torch.equal(_draw(view, image, 3), reference)


def test_affine_of_a_large_picture_works_on_twice_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    view, seen = _view(affine=AFFINE), []
    transform = view._affine.transform
    monkeypatch.setattr(view._affine, "transform", lambda image, box: seen.append(image.size) or transform(image, box))
    _draw(view, picture(size=(300, 200)))
    _draw(view, picture(size=(300, 32)))
    assert seen == [(32, 32), (300, 32)]


def test_affine_fills_with_the_grey_level_told() -> None:
    affine = {"translate": 0.5, "fill": 77}
    draws = [_draw(_view(affine=affine), Image.new("L", (16, 16), 200), seed) for seed in range(5)]
    assert {value for draw in draws for value in draw.unique().tolist()} == {77, 200}


def test_affine_of_nothing_changes_nothing() -> None:
    view, image = _view(affine={}), picture(size=(16, 16))
    assert torch.equal(_draw(view, image), view.preprocessing.resize(image))


def test_flip_always_is_a_mirror_image() -> None:
    view, image = _view(horizontal_flip=1.0), picture(size=(16, 16))
    assert torch.equal(_draw(view, image), view.preprocessing.resize(image).flip(-1))


def test_grayscale_always_has_equal_channels() -> None:
    pixels = _draw(_view(grayscale=1.0), picture())
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])


def test_solarize_inverts_what_is_bright() -> None:
    image = Image.new("RGB", (16, 16), (127, 128, 250))
    assert _draw(_view(solarize=1.0), image)[:, 0, 0].tolist() == [127, 127, 5]


@pytest.mark.parametrize("options", [{}, {"affine": AFFINE}, EVERY_OPTION])
def test_view_has_its_own_size(options: dict[str, Any]) -> None:
    view = ImageView(ImageViewConfig(size=10, **options), ImagePreprocessing(16, "shortest", "bilinear", resize_to=20))
    assert view.size == 10
    assert _draw(view, picture(size=(40, 30)), 2).shape == (3, 10, 10)


def test_view_of_the_models_size_keeps_its_crop() -> None:
    preprocessing, image = ImagePreprocessing(16, "shortest", "bilinear", resize_to=20), picture(size=(40, 30))
    for config in (ImageViewConfig(), ImageViewConfig(size=16)):
        assert torch.equal(_draw(ImageView(config, preprocessing), image), preprocessing.resize(image))


def test_colour_changes_are_torchvisions_on_the_resized_picture() -> None:
    view, image = _view(color_jitter=(0.4, 0.4, 0.4, 0.1)), picture(size=(16, 16))
    torch.manual_seed(3)
    reference = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)(image)
    assert torch.equal(_draw(view, image, 3), v2.functional.pil_to_tensor(reference))


def test_blur_is_torchvisions() -> None:
    view, image = _view(size=40, gaussian_blur=1.0), picture(size=(40, 40))
    torch.manual_seed(3)
    torch.rand(1)  # whether
    reference = v2.GaussianBlur(5, (0.1, 2.0))(v2.functional.pil_to_tensor(image))
    assert torch.equal(_draw(view, image, 3), reference)


def test_the_callers_picture_is_not_changed() -> None:
    for image in (picture(size=(16, 16)), picture(size=(16, 16)).convert("L")):
        before = image.tobytes()
        for options in ({}, {"affine": AFFINE}, EVERY_OPTION):
            _draw(_view(**options), image)[0].zero_()  # as grey channels are one, a write goes to all three
        assert image.tobytes() == before
