"""From a picture to the square of pixels that an image tower takes, without randomness."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F
from transformers import CLIPImageProcessor

from mmcl.errors import UserError
from mmcl.towers.pixels import resize_image, to_tensor

Triple = tuple[float, float, float]

# Between a processor that resizes Pillow images and one that resizes tensors, rounding differs by a level or two; a
# wrong crop, mean or interpolation differs by far more. In units of normalised pixels, whose spread is about 1.
_PIXEL_TOLERANCE = 0.02
# What the order of the same operations makes of float32.
_ROUNDING = 1e-5
# From this side on, ConvNeXt's image processor ignores the aspect ratio (ConvNextImageProcessor.resize).
_CONVNEXT_WARP = 384

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImagePreprocessing:
    """Resize, crop to a square, scale to [0, 1], normalise: the plain transform of evaluation.

    The pixels are exactly those of the library that the model comes from.

    Attributes:
        size: side of the square, in pixels.
        resize_mode: ``shortest`` scales the shorter side and crops the centre; ``squash`` ignores the aspect ratio.
        interpolation: as torchvision names it: ``bilinear``, ``bicubic``, ``nearest-exact``, ``lanczos`` ...
        mean: subtracted per RGB channel from pixels in [0, 1].
        std: divided by, per RGB channel.
        resize_to: side, in pixels, that is scaled to before the crop; None means ``size``.
        crop_rounding: where an odd margin leaves the crop: half a pixel ``down``, as transformers does, or to the
            ``even`` one, as torchvision's centre crop and so open_clip and timm do.
        resampler: what resizes: ``torchvision`` tensors of uint8, as transformers' image processors do, or ``pillow``,
            as the transforms of open_clip and timm do. They differ by a level or two of 255.
    """

    size: int
    resize_mode: Literal["shortest", "squash"] = "shortest"
    interpolation: str = "bicubic"
    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)
    resize_to: int | None = None
    crop_rounding: Literal["down", "even"] = "down"
    resampler: Literal["torchvision", "pillow"] = "torchvision"

    def resize(self, image: Image.Image) -> Tensor:
        """Return ``(3, size, size)`` uint8 of an ``RGB`` picture, ``(1, size, size)`` of one of mode ``L``.

        Each channel is resized by itself, so that a grey picture has the pixels of its colour copy. Normalising is left
        to the device that encodes.
        """
        mode = InterpolationMode(self.interpolation)
        height, width = self._resized(image.height, image.width)
        if self.resampler == "pillow":
            resized = to_tensor(image.resize((width, height), PILLOW_FILTERS[mode]))
        else:
            resized = resize_image(image, (height, width), mode)
        if (height, width) == (self.size, self.size):
            return resized
        return F.crop(resized, self._margin(height), self._margin(width), self.size, self.size)

    def _margin(self, side: int) -> int:
        margin = (side - self.size) / 2
        return int(margin) if self.crop_rounding == "down" else round(margin)

    def _resized(self, height: int, width: int) -> list[int]:
        side = self.resize_to or self.size
        if self.resize_mode == "squash":
            return [side, side]
        if height <= width:
            return [side, int(side * width / height)]
        return [int(side * height / width), side]

    def normalise(self, pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)`` of ``mean``'s dtype from uint8; ``mean`` and ``std`` are in units of [0, 255]."""
        # In place: on a CPU most of the time goes to fresh memory.
        return pixels.to(mean.dtype, copy=True).sub_(mean).div_(std)

    def with_fields(self, size: int | None, mean: Triple | None, std: Triple | None) -> ImagePreprocessing:
        """Return a copy with what is not None replaced; a new ``size`` scales to itself before the crop."""
        changed = self if size is None or size == self.size else replace(self, size=size, resize_to=None)
        return replace(changed, mean=mean or changed.mean, std=std or changed.std)

    def scaled_to(self, resize_to: int) -> ImagePreprocessing:
        """Return a copy that scales pictures to ``resize_to`` pixels before the crop.

        Raises:
            UserError: it is less than ``size``.
        """
        if resize_to < self.size:
            raise UserError(f"resize_to must be at least the {self.size} pixels of the input, got {resize_to}")
        return replace(self, resize_to=resize_to)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ImagePreprocessing:
        """Return what `to_dict` was called on."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})

    @property
    def fits_a_processor(self) -> bool:
        """True when `to_processor` gives the same pixels to the last level."""
        return (self.resampler, self.crop_rounding) == ("torchvision", "down")

    def to_processor(self) -> CLIPImageProcessor:
        """Return the transformers image processor that gives the same pixels, normalised; see `fits_a_processor`."""
        side = self.resize_to or self.size
        return CLIPImageProcessor(
            do_resize=True,
            size={"shortest_edge": side} if self.resize_mode == "shortest" else {"height": side, "width": side},
            do_center_crop=self.resize_mode == "shortest" or side != self.size,
            crop_size={"height": self.size, "width": self.size},
            resample=PILLOW_FILTERS[InterpolationMode(self.interpolation)],
            image_mean=list(self.mean),
            image_std=list(self.std),
            do_convert_rgb=True,
        )

    @classmethod
    def from_processor(cls, processor: Any, name: str) -> ImagePreprocessing:
        """Return what a transformers image processor does.

        Args:
            processor: any image processor that resizes to a square, the wrapper of timm's transforms included.
            name: what to call it in messages.

        Raises:
            UserError: what it does to a test picture is not a resize, a centre crop and a normalisation.
        """
        found = _from_timm(processor.data_config) if hasattr(processor, "data_config") else _from_attributes(processor)
        distances = {} if found is None else {one: one._distance_to(processor) for one in _either_resampler(found)}
        best = min(distances, key=distances.__getitem__, default=None)
        if best is None or distances[best] > _PIXEL_TOLERANCE:
            raise UserError(
                f"{name}: the preprocessing of its {type(processor).__name__} is not a resize to a square, a centre"
                " crop and a normalisation, which is all that image towers are given here"
            )
        if distances[best] > _ROUNDING:
            _log.warning(
                "%s: its %s resizes otherwise than in whole levels of 255, as is done here; pixels differ by a level or"
                " so, and embeddings a little",
                name,
                type(processor).__name__,
            )
        return best

    def _distance_to(self, processor: Any) -> float:
        """Mean distance of the pixels from a processor's, on a test picture."""
        ramp = np.linspace(0, 255, 61 * 47 * 3).reshape(61, 47, 3)
        picture = Image.fromarray((127.5 + 127.5 * np.sin(ramp / 9)).astype(np.uint8))
        theirs = processor(picture, return_tensors="pt").get("pixel_values")
        mean, std = self.pixel_statistics()
        ours = self.normalise(self.resize(picture)[None], mean, std)
        if theirs is None or theirs.shape != ours.shape:
            return float("inf")
        return float((theirs - ours).abs().mean())

    def pixel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and std as ``(3, 1, 1)`` float32 in units of [0, 255], fused as transformers fuses them."""
        scale = 1.0 / (1 / 255)
        return tuple(torch.tensor(values).view(3, 1, 1) * scale for values in (self.mean, self.std))  # type: ignore[return-value]

    @classmethod
    def from_open_clip(cls, config: dict[str, Any], name: str) -> ImagePreprocessing:
        """Return what open_clip's ``preprocess_cfg`` says.

        Raises:
            UserError: the picture is not square, or padded (``resize_mode: longest``).
        """
        size = config["size"]
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1 or config["resize_mode"] not in ("shortest", "squash"):
            raise UserError(
                f"{name}: its preprocessing has size {size} and resize_mode {config['resize_mode']}; allowed are one"
                " side, and shortest or squash"
            )
        # open_clip's "random" means bicubic outside of training.
        interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        mean, std = _triple(config["mean"]), _triple(config["std"])
        return cls(
            sides.pop(), config["resize_mode"], interpolation, mean, std, crop_rounding="even", resampler="pillow"
        )

    def to_open_clip(self) -> dict[str, Any]:
        """Return open_clip's ``preprocess_cfg``, which has no ``resize_to``, nor has any model that came from there."""
        return {
            "size": self.size,
            "mode": "RGB",
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": 0,
        }

    def to_timm(self) -> dict[str, Any]:
        """Return the fields of timm's ``pretrained_cfg`` that describe a transform."""
        side = self.resize_to or self.size
        # timm rounds the quotient down; half a pixel more keeps it from falling below the side.
        share = self.size / side if int(self.size / (self.size / side)) == side else self.size / (side + 0.5)
        return {
            "input_size": [3, self.size, self.size],
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_pct": share,
            "crop_mode": "center" if self.resize_mode == "shortest" else "squash",
        }


PILLOW_FILTERS = {
    InterpolationMode.NEAREST_EXACT: 0,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
}
_INTERPOLATIONS = {number: mode.value for mode, number in PILLOW_FILTERS.items()}


def _either_resampler(found: ImagePreprocessing) -> tuple[ImagePreprocessing, ImagePreprocessing]:
    return replace(found, resampler="torchvision"), replace(found, resampler="pillow")


def _triple(values: Any) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _from_attributes(processor: Any) -> ImagePreprocessing | None:
    """Read the fields that transformers' image processors share; None where they do not end in a square."""
    resized, cropped = getattr(processor, "size", None), getattr(processor, "crop_size", None)
    if not getattr(processor, "do_resize", False) or resized is None:
        return None
    shortest, height, width = resized.get("shortest_edge"), resized.get("height"), resized.get("width")
    side = size = shortest or height
    if side is None or (shortest is None and height != width):
        return None
    if getattr(processor, "do_center_crop", False) and cropped is not None:
        size = cropped["height"]
        if size != cropped["width"] or size > side:
            return None
    if shortest is not None and getattr(processor, "crop_pct", None):
        # ConvNeXt's crops what is smaller, and only squashes what is not.
        shortest, side = (shortest, int(shortest / processor.crop_pct)) if shortest < _CONVNEXT_WARP else (None, side)
    mean, std = _statistics(processor)
    resample = getattr(processor, "resample", None)
    interpolation = "bilinear" if resample is None else _INTERPOLATIONS[int(resample)]
    return ImagePreprocessing(
        size, "shortest" if shortest else "squash", interpolation, mean, std, None if side == size else side
    )


def _statistics(processor: Any) -> tuple[Triple, Triple]:
    """Mean and std of pixels in [0, 1], whatever the processor scales by before it normalises."""
    normalises = getattr(processor, "do_normalize", False)
    mean = _triple(processor.image_mean) if normalises else (0.0, 0.0, 0.0)
    std = _triple(processor.image_std) if normalises else (1.0, 1.0, 1.0)
    if getattr(processor, "include_top", False):
        # EfficientNet's divides once more.
        std = _triple(value * value for value in std)
    scale = 255 * (processor.rescale_factor if getattr(processor, "do_rescale", True) else 1.0)
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    if offset == 0 and abs(scale - 1) < 1e-9:
        # As they are, for the arithmetic below would round them.
        return mean, std
    return _triple((value + offset) / scale for value in mean), _triple(value / scale for value in std)


def _from_timm(config: dict[str, Any]) -> ImagePreprocessing | None:
    _, height, width = config["input_size"]
    crop_mode = config.get("crop_mode", "center")
    if height != width or crop_mode not in ("center", "squash"):
        return None
    side = int(height / config.get("crop_pct", 1.0))
    interpolation = config["interpolation"].replace("nearest", InterpolationMode.NEAREST_EXACT.value)
    if interpolation not in _INTERPOLATIONS.values():
        return None
    return ImagePreprocessing(
        height,
        "shortest" if crop_mode == "center" else "squash",
        interpolation,
        _triple(config["mean"]),
        _triple(config["std"]),
        None if side == height else side,
        crop_rounding="even",
    )
