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
from mmcl.towers.pixels import resize_image, to_tensor
from mmcl.towers.preprocessing import ImagePreprocessing

_BLUR_SIGMA = (0.1, 2.0)
_SOLARIZE_THRESHOLD = 128


class ImageView:
    """Draws one random view. Without any option it is the plain resize of evaluation.

    The crop is resized to the view's size at once. Without a crop, an affine distortion works on the picture as it is,
    or on its plain resize to twice the view's size where it is larger than that, and is resized afterwards. What
    changes colours works on the resized pixels.

    A grey picture is kept in one channel to the last: a third of the work, and the pixels of its colour copy. Of
    torchvision's two implementations the faster is taken, called without the transforms' own ``forward``, whose
    unpacking of nested inputs would take as long as the work: Pillow's for affine distortion and colours, that of
    tensors for resizing and blur.

    Args:
        config: what to do.
        preprocessing: of the model: size, where the view has none of its own, interpolation, and how to get to a
            square.
    """

    def __init__(self, config: ImageViewConfig, preprocessing: ImagePreprocessing) -> None:
        preprocessing = preprocessing.with_fields(config.size, None, None)
        self.config, self.preprocessing = config, preprocessing
        self.interpolation = InterpolationMode(preprocessing.interpolation)
        size = self.size = preprocessing.size
        side = preprocessing.resize_to or size
        self._shrink = replace(preprocessing, size=2 * size, resize_to=2 * side)
        self._fit = replace(preprocessing, resize_to=None)
        area, jitter = config.random_resized_crop, config.color_jitter
        self._crop = None if area is None else v2.RandomResizedCrop(size, scale=area)
        self._affine = _affine(config.affine)
        self._jitter = None if jitter is None else v2.ColorJitter(*jitter)
        self._blur = v2.GaussianBlur(max(3, size // 10 // 2 * 2 + 1), _BLUR_SIGMA)  # a tenth of the side, as SimCLR

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """Return ``(3, size, size)`` uint8 of an ``RGB`` or ``L`` picture, a function of picture and seed alone.

        Seeds torch's CPU generator and leaves it moved: callers put it back, once for many views.
        """
        torch.default_generator.manual_seed(seed)
        pixels = self._resized(image)
        if self._happens(self.config.horizontal_flip):
            pixels = pixels.flip(-1)
        pixels = self._recoloured(pixels)
        if self._happens(self.config.gaussian_blur):
            sigma = self._blur.make_params([pixels])["sigma"]
            pixels = F.gaussian_blur_image(pixels, self._blur.kernel_size, sigma)
        if self._happens(self.config.solarize):
            pixels = F.solarize_image(pixels, _SOLARIZE_THRESHOLD)
        return pixels.expand(3, -1, -1)

    @staticmethod
    def _happens(probability: float) -> bool:
        return probability > 0 and torch.rand(1).item() < probability

    def _resized(self, image: Image.Image) -> Tensor:
        """Return ``(1 or 3, size, size)`` uint8."""
        if self._crop is not None:
            box = self._crop.make_params([image])
            cut = (box["top"], box["left"], box["height"], box["width"])
            pixels = resize_image(image, (self.size, self.size), self.interpolation, cut)
            return pixels if self._affine is None else to_tensor(self._distorted(_to_image(pixels)))
        plain = self.preprocessing
        if self._affine is not None:
            if min(image.size) > 2 * self.size:
                image, plain = _to_image(self._shrink.resize(image)), self._fit
            image = self._distorted(image)
        return plain.resize(image)

    def _distorted(self, image: Image.Image) -> Image.Image:
        assert self._affine is not None
        distorted: Image.Image = self._affine.transform(image, self._affine.make_params([image]))
        return distorted

    def _recoloured(self, pixels: Tensor) -> Tensor:
        jitter = None if self._jitter is None else self._jitter.make_params([pixels])
        is_made_grey = self._happens(self.config.grayscale) and len(pixels) == 3
        if jitter is None and not is_made_grey:
            return pixels
        image = _to_image(pixels)
        if self._jitter is not None:
            image = self._jitter.transform(image, jitter)
        return to_tensor(image.convert("L") if is_made_grey else image)


def _to_image(pixels: Tensor) -> Image.Image:
    array = pixels.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


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
