"""Corruptions of pictures at five strengths, after ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261).

The constants are those of its code (``make_imagenet_c.py``), made for pictures of 224 pixels. So a picture whose
shorter side is longer is first scaled down to that, and for a smaller one lengths (radii, sigmas) shrink with it. The
operations are its own but for two: fog is made of octaves of smooth noise instead of a plasma fractal of the same
decay, and motion blur by a convolution instead of by ImageMagick.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evaluation.embedder import Picture
from evaluation.errors import EvaluationError

SIDE = 224
"""The shorter side in pixels that the constants were made for."""
STRENGTHS = (1, 2, 3, 4, 5)

Pixels: TypeAlias = NDArray[np.float64]
"""``(H, W, 3)``, 0 to 1."""
Corruption: TypeAlias = Callable[[Pixels, int, float, Generator], Pixels]
"""From pixels, the strength from 0, the shorter side over `SIDE`, and where chance comes from."""


def _gaussian_noise(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    return pixels + rng.normal(scale=(0.08, 0.12, 0.18, 0.26, 0.38)[strength], size=pixels.shape)


def _shot_noise(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    photons = (60, 25, 12, 5, 3)[strength]
    return np.asarray(rng.poisson(pixels * photons) / photons)


def _impulse_noise(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    is_hit = rng.random(pixels.shape) < (0.03, 0.06, 0.09, 0.17, 0.27)[strength]
    return np.asarray(np.where(is_hit, rng.integers(0, 2, size=pixels.shape), pixels))


def _defocus_blur(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    from scipy.ndimage import gaussian_filter

    radius, softness = scale * (3, 4, 6, 8, 10)[strength], scale * (0.1, 0.5, 0.5, 0.5, 0.5)[strength]
    reach = int(np.ceil(radius)) + 1
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = gaussian_filter(np.clip(radius + 0.5 - np.hypot(down, across), 0, 1), softness)
    return _convolved(pixels, disk)


def _motion_blur(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    radius, sigma = scale * (10, 15, 15, 15, 20)[strength], scale * (3, 5, 8, 12, 15)[strength]
    angle = np.radians(rng.uniform(-45, 45))
    reach = int(np.ceil(2 * radius))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for step in range(reach + 1):
        down, across = reach + round(step * np.sin(angle)), reach + round(step * np.cos(angle))
        kernel[down, across] += np.exp(-(step**2) / (2 * sigma**2))
    return _convolved(pixels, kernel)


def _fog(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    thickness, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[strength]
    height, width = pixels.shape[:2]
    haze = np.zeros((height, width))
    for octave in range(1, 8):
        noise = Image.fromarray(rng.random((2**octave, 2**octave)).astype(np.float32))
        haze += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / decay**octave
    haze = (haze - haze.min()) / max(np.ptp(haze), 1e-12)
    brightest = pixels.max()
    return np.asarray((pixels + thickness * haze[:, :, None]) * brightest / (brightest + thickness))


def _brightness(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    # Raising a colour's value (its largest channel) and keeping hue and saturation scales all three channels.
    value = pixels.max(axis=2, keepdims=True)
    raised = np.minimum(value + (0.1, 0.2, 0.3, 0.4, 0.5)[strength], 1)
    return np.asarray(np.where(value > 0, pixels * raised / np.maximum(value, 1e-12), raised))


def _contrast(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray((pixels - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[strength] + mean)


def _pixelate(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    picture, share = _picture(pixels), (0.6, 0.5, 0.4, 0.3, 0.25)[strength]
    small = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
    return _pixels(picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))


def _jpeg_compression(pixels: Pixels, strength: int, scale: float, rng: Generator) -> Pixels:
    file = io.BytesIO()
    _picture(pixels).save(file, format="JPEG", quality=(25, 18, 15, 10, 7)[strength])
    return _pixels(Image.open(file))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}


def corrupt(picture: Picture, corruption: str, strength: int, seed: int = 0, number: int = 0) -> Image.Image:
    """Return a picture corrupted, RGB, its shorter side `SIDE` pixels at most.

    Args:
        picture: of any mode; what is transparent lies on white.
        corruption: of `CORRUPTIONS`.
        strength: of `STRENGTHS`.
        seed: of what is left to chance.
        number: of the picture in its data; equal seeds, numbers, corruptions and strengths give equal pictures.

    Raises:
        EvaluationError: a picture that cannot be opened, an unknown corruption or strength.
    """
    if corruption not in CORRUPTIONS or strength not in STRENGTHS:
        raise EvaluationError(
            f"a corruption must be one of {', '.join(CORRUPTIONS)}, its strength 1 to 5, got {corruption}, {strength}"
        )
    pixels = _pixels(_scaled(picture))
    rng = np.random.default_rng([seed, number, zlib.crc32(corruption.encode()), strength])
    scale = min(pixels.shape[:2]) / SIDE
    return _picture(CORRUPTIONS[corruption](pixels, strength - 1, scale, rng))


@dataclass(frozen=True)
class CorruptedPictures(Sequence[Image.Image]):
    """Pictures, each decoded and corrupted whenever it is asked for. A slice is lazy too.

    Attributes:
        pictures: N of them.
        corruption: of `CORRUPTIONS`.
        strength: of `STRENGTHS`.
        seed: of what is left to chance.
        numbers: which of the pictures; by default all.
    """

    pictures: Sequence[Picture]
    corruption: str
    strength: int
    seed: int = 0
    numbers: range | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def _numbers(self) -> range:
        return range(len(self.pictures)) if self.numbers is None else self.numbers

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> CorruptedPictures: ...
    def __getitem__(self, index: int | slice) -> Image.Image | CorruptedPictures:
        """Return one picture; errors are those of `corrupt`."""
        if isinstance(index, slice):
            return CorruptedPictures(self.pictures, self.corruption, self.strength, self.seed, self._numbers[index])
        number = self._numbers[index]
        return corrupt(self.pictures[number], self.corruption, self.strength, self.seed, number)


def _convolved(pixels: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    """Return pixels convolved with a square kernel of odd side, made to sum to 1; beyond the edges they go on."""
    from scipy.signal import fftconvolve

    reach = len(kernel) // 2
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return np.asarray(fftconvolve(padded, (kernel / kernel.sum())[:, :, None], mode="valid", axes=(0, 1)))


def _scaled(picture: Picture) -> Image.Image:
    try:
        image = picture if isinstance(picture, Image.Image) else Image.open(Path(picture))
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    except OSError as error:
        raise EvaluationError(f"a picture cannot be read: {error}") from error
    flat = Image.new("RGB", upright.size, "white")
    flat.paste(upright, mask=upright.getchannel("A"))
    scale = SIDE / min(flat.size)
    if scale >= 1:
        return flat
    return flat.resize((round(flat.width * scale), round(flat.height * scale)), Image.Resampling.BICUBIC)


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture, dtype=np.float64) / 255


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
