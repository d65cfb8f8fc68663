"""Random views of a picture, by torchvision's transforms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from mmcl.data.crop import draw_crop
from mmcl.data.finish import SOLARIZE_THRESHOLD, Finish, blur_size
from mmcl.recipe_data import AffineConfig, ImageViewConfig
from mmcl.towers.pixels import resize_image, to_tensor
from mmcl.towers.preprocessing import ImagePreprocessing

_BLUR_SIGMA = (0.1, 2.0)


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
        jitter = config.color_jitter
        self._affine = _affine(config.affine)
        self._jitter = None if jitter is None else v2.ColorJitter(*jitter)
        self._blur = v2.GaussianBlur(blur_size(size), _BLUR_SIGMA)

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """Return ``(3, size, size)`` uint8 of an ``RGB`` or ``L`` picture, a function of picture and seed alone.

        Seeds torch's CPU generator and leaves it moved: callers put it back, once for many views.
        """
        pixels, finish = self.draw(image, seed)
        return self._finished(pixels, finish).expand(3, -1, -1)

    def draw(self, image: Image.Image, seed: int) -> tuple[Tensor, Finish]:
        """Return the resized picture, ``(1 or 3, size, size)`` uint8, and what is still to be done to it.

        Seeds torch's CPU generator, as a call does.
        """
        torch.default_generator.manual_seed(seed)
        pixels = self._resized(image)
        config = self.config
        is_flipped = self._happens(config.horizontal_flip)
        colours = {} if self._jitter is None else _drawn_colours(self._jitter)
        is_grey = self._happens(config.grayscale) and len(pixels) == 3
        sigma = self._blur.make_params([pixels])["sigma"][0] if self._happens(config.gaussian_blur) else 0.0
        is_solarized = self._happens(config.solarize)
        return pixels, Finish(is_flipped, is_grey=is_grey, sigma=sigma, is_solarized=is_solarized, **colours)

    @property
    def is_finished_when_resized(self) -> bool:
        """True when nothing is ever done to it after that."""
        config = self.config
        options = (config.horizontal_flip, config.color_jitter, config.grayscale, config.gaussian_blur, config.solarize)
        return not any(options)

    @staticmethod
    def _happens(probability: float) -> bool:
        return probability > 0 and torch.rand(1).item() < probability

    def _resized(self, image: Image.Image) -> Tensor:
        """Return ``(1 or 3, size, size)`` uint8."""
        if self.config.random_resized_crop is not None:
            box = draw_crop(image.height, image.width, self.config.random_resized_crop)
            pixels = resize_image(image, (self.size, self.size), self.interpolation, box)
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

    def _finished(self, pixels: Tensor, finish: Finish) -> Tensor:
        if finish.is_flipped:
            pixels = pixels.flip(-1)
        pixels = _recoloured(pixels, finish)
        if finish.sigma:
            pixels = F.gaussian_blur_image(pixels, self._blur.kernel_size, [finish.sigma, finish.sigma])
        return F.solarize_image(pixels, SOLARIZE_THRESHOLD) if finish.is_solarized else pixels


def _drawn_colours(jitter: v2.ColorJitter) -> dict[str, Any]:
    """Return the fields of `Finish` that a jitter draws."""
    drawn = jitter.make_params([])
    factors = {name: drawn[f"{name}_factor"] for name in ("brightness", "contrast", "saturation", "hue")}
    order = {"order": tuple(drawn["fn_idx"].tolist())}
    return order | {name: factor for name, factor in factors.items() if factor is not None}


def _recoloured(pixels: Tensor, finish: Finish) -> Tensor:
    changes = (
        (F.adjust_brightness, finish.brightness, 1.0),
        (F.adjust_contrast, finish.contrast, 1.0),
        (F.adjust_saturation, finish.saturation, 1.0),
        (F.adjust_hue, finish.hue, 0.0),
    )
    chosen = [
        (change, amount) for change, amount, nothing in map(changes.__getitem__, finish.order) if amount != nothing
    ]
    if not chosen and not finish.is_grey:
        return pixels
    image = _to_image(pixels)
    for change, amount in chosen:
        image = change(image, amount)
    return to_tensor(image.convert("L") if finish.is_grey else image)


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
