"""Random views of a picture, by torchvision's transforms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from mmcl.recipe_data import AffineConfig, ImageViewConfig
from mmcl.towers.preprocessing import ImagePreprocessing

_BLUR_SIGMA = (0.1, 2.0)


class ImageView:
    """Draws one random view. Without any option it is the plain resize of evaluation.

    The crop is resized to the model's size at once. Without a crop, an affine distortion works on the picture as it is,
    or on its plain resize to twice the model's size where it is larger than that, and is resized afterwards. What
    changes colours works on the resized pixels.

    Args:
        config: what to do.
        preprocessing: of the model: size, interpolation, and how to get to a square.
    """

    def __init__(self, config: ImageViewConfig, preprocessing: ImagePreprocessing) -> None:
        self.preprocessing = preprocessing
        self.interpolation = InterpolationMode(preprocessing.interpolation)
        size = preprocessing.size
        side = preprocessing.resize_to or size
        self._shrink = replace(preprocessing, size=2 * size, resize_to=2 * side)
        self._fit = replace(preprocessing, resize_to=None)
        self._crop = _crop(config.random_resized_crop, size)
        self._affine = _affine(config.affine)
        self._pixels = _pixel_transforms(config, size)

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """Return ``(3, size, size)`` uint8 of an ``RGB`` or ``L`` picture, a function of picture and seed alone.

        Seeds torch's CPU generator and leaves it moved: callers put it back, once for many views.
        """
        torch.default_generator.manual_seed(seed)
        pixels = self._resized(image)
        for transform in self._pixels:
            pixels = transform(pixels)
        return pixels

    def _resized(self, image: Image.Image) -> Tensor:
        size = self.preprocessing.size
        if self._crop is not None:
            box = self._crop.make_params([image])
            top, left, height, width = (box[name] for name in ("top", "left", "height", "width"))
            crop = np.array(image.convert("RGB"))[top : top + height, left : left + width]
            pixels = torch.from_numpy(crop).permute(2, 0, 1).contiguous()
            pixels = F.resize(pixels, [size, size], self.interpolation, antialias=True)
            return pixels if self._affine is None else self._affine(pixels)
        if self._affine is None:
            return self.preprocessing.resize(image.convert("RGB"))
        plain = self.preprocessing
        if min(image.size) > 2 * size:
            image, plain = F.to_pil_image(self._shrink.resize(image.convert("RGB"))), self._fit
        # On a Pillow picture, and on one channel where it is grey: half the time of a tensor's affine. Called without
        # the transform's own `forward`, whose unpacking of nested inputs would take as long as the work.
        image = self._affine.transform(image, self._affine.make_params([image]))
        return plain.resize(image.convert("RGB"))


def _crop(area: tuple[float, float] | None, size: int) -> v2.RandomResizedCrop | None:
    return None if area is None else v2.RandomResizedCrop(size, scale=area)


def _affine(config: AffineConfig | None) -> v2.RandomAffine | None:
    if config is None:
        return None
    return v2.RandomAffine(
        degrees=config.degrees,
        translate=(config.translate, config.translate) if config.translate else None,
        scale=config.scale,
        shear=config.shear or None,
        interpolation=InterpolationMode.BILINEAR,
        fill=config.fill,
    )


def _pixel_transforms(config: ImageViewConfig, size: int) -> list[v2.Transform]:
    transforms: list[v2.Transform] = []
    if config.horizontal_flip:
        transforms.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    if config.color_jitter is not None:
        transforms.append(v2.ColorJitter(*config.color_jitter))
    if config.grayscale:
        transforms.append(v2.RandomGrayscale(config.grayscale))
    if config.gaussian_blur:
        kernel = max(3, size // 10 // 2 * 2 + 1)  # a tenth of the side, odd, as SimCLR
        transforms.append(v2.RandomApply([v2.GaussianBlur(kernel, _BLUR_SIGMA)], config.gaussian_blur))
    return transforms
