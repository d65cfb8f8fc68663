"""Finishing a batch does to each picture what torchvision does to it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mmcl.data import finish as module
from mmcl.data.finish import NUM_FIELDS, Finish, blur_size, finish

SIDE = 52
BLUR = blur_size(SIDE)


def _pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, 3, 5, 6), dtype=torch.uint8, generator=generator)
    pictures = F.resize(coarse, [SIDE, SIDE], antialias=True)
    pictures[0, :, :4] = torch.tensor([0, 0, 0], dtype=torch.uint8)[:, None, None]
    pictures[0, :, 4:8] = torch.tensor([200, 200, 200], dtype=torch.uint8)[:, None, None]
    pictures[0, :, 8:10] = torch.tensor([255, 0, 255], dtype=torch.uint8)[:, None, None]
    return pictures


def _finished(pictures: Tensor, *finishes: Finish) -> Tensor:
    return finish(pictures, torch.tensor([one.to_row() for one in finishes]))


def _by_torchvision(picture: Tensor, one: Finish) -> Tensor:
    """In float32 to the end, the same steps in the same order."""
    values: Any = picture.float() / 255
    values = values.flip(-1) if one.is_flipped else values
    changes = [
        lambda values: F.adjust_brightness(values, one.brightness),
        lambda values: F.adjust_contrast(values, one.contrast),
        lambda values: F.adjust_saturation(values, one.saturation),
        lambda values: F.adjust_hue(values, one.hue),
    ]
    for number in one.order:
        values = changes[number](values)
    values = F.rgb_to_grayscale(values, 3) if one.is_grey else values
    values = F.gaussian_blur(values, [BLUR, BLUR], [one.sigma, one.sigma]) if one.sigma else values
    levels = (values * 255).round()
    return torch.where(levels >= 128, 255 - levels, levels) if one.is_solarized else levels


FINISHES = {
    "nothing": Finish(),
    "flip": Finish(is_flipped=True),
    "brightness": Finish(brightness=1.7),
    "contrast": Finish(contrast=0.4),
    "saturation": Finish(saturation=1.9),
    "hue": Finish(hue=0.3),
    "hue backwards": Finish(hue=-0.45),
    "all colours": Finish(order=(3, 1, 0, 2), brightness=0.6, contrast=1.5, saturation=0.3, hue=-0.1),
    "in another order": Finish(order=(0, 2, 3, 1), brightness=1.4, contrast=1.5, saturation=1.8, hue=0.1),
    "grey": Finish(is_grey=True),
    "blur": Finish(sigma=1.3),
    "solarize": Finish(is_solarized=True),
    "everything": Finish(True, (1, 0, 3, 2), 1.2, 0.8, 1.3, 0.05, True, 0.4, True),
}


@pytest.mark.parametrize("name", FINISHES)
def test_each_change_is_torchvisions_within_a_level(name: str) -> None:
    one = FINISHES[name]
    for picture in _pictures(4):
        found, expected = _finished(picture[None], one)[0].float(), _by_torchvision(picture, one)
        # A level: torchvision weighs grey by 0.2989, and half a level is rounded either way.
        apart = (found - expected).abs()
        if one.is_solarized:
            # What is beside the threshold falls to either side of it.
            apart = torch.minimum(apart, (255 - found - expected).abs())
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 0.06
        if name not in ("nothing",):
            assert (found - picture).abs().float().mean() > 1, "the change must show"


def test_a_batch_is_its_pictures_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_AT_A_TIME", 5)
    pictures, finishes = _pictures(len(FINISHES)), list(FINISHES.values())
    together = _finished(pictures, *finishes)
    for picture, one, found in zip(pictures, finishes, together, strict=True):
        assert torch.equal(found, _finished(picture[None], one)[0])


def test_the_pictures_handed_in_are_left_as_they_are() -> None:
    pictures = _pictures(2)
    before = pictures.clone()
    _finished(pictures, FINISHES["everything"], Finish(is_flipped=True))
    assert torch.equal(pictures, before)


def test_no_pictures_are_finished_too() -> None:
    assert finish(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0, NUM_FIELDS)).shape == (0, 3, 4, 4)


def test_the_kernel_is_an_odd_tenth_of_the_side() -> None:
    assert [blur_size(side) for side in (16, 52, 96, 224)] == [3, 5, 9, 23]


def test_grey_pictures_stay_grey() -> None:
    grey = _pictures(1)[:, :1].expand(-1, 3, -1, -1)
    found = _finished(grey, replace(FINISHES["all colours"], sigma=1.0))[0].int()
    assert (found[0] - found[1]).abs().max() <= 1
    assert (found[0] - found[2]).abs().max() <= 1
