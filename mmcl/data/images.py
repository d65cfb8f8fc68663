"""Turn whatever holds a picture into 8-bit RGB, by one documented rule for each kind.

========================  ====================================================================================
what it is                what comes out
========================  ====================================================================================
EXIF orientation          applied: the picture stands as its viewer shows it
transparency              laid on white (an alpha channel, a transparent palette entry or a transparent colour)
palette, 1 bit, grey      the colours they stand for
CMYK, YCbCr               Pillow's conversion, without colour profiles (embedded ICC profiles are not applied)
16-bit grey               value / 257, rounded: 0 is black and 65,535 is white, whatever the picture's own range
32-bit integer grey       the same, if every value lies in 0 .. 65,535; refused else
floating point, Lab       refused: neither has one range that everybody means
animated, several pages   the first frame
truncated or damaged      refused: half a picture is no picture
narrower than 1 : 200     refused from the header: scaled by its shorter side, a line of a kilobyte would be gigabytes
========================  ====================================================================================

Formats are told by content, not by name. Those that run another program to be drawn (EPS, WMF) or hold pictures larger
than their header says (ICO, ICNS) are not read.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mmcl.errors import did_you_mean
from mmcl.recipe_data import DEFAULT_MAX_PIXELS as DEFAULT_MAX_PIXELS

MAX_ASPECT_RATIO = 200
"""Longer side over shorter side. The preprocessing of most models scales the shorter side to the model's size."""

PictureValue: TypeAlias = Any
"""Bytes, a path, Hugging Face's ``{"bytes": ..., "path": ...}``, a PIL image, or a numpy array."""

_REFUSED_FORMATS = frozenset({"EPS", "WMF", "ICO", "ICNS"})
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_EXIF_ORIENTATION = 0x0112


class UnreadableImage(ValueError):  # noqa: N818  (the field says "unreadable image", and a reason is what it carries)
    """A picture that cannot be used. ``str(error)`` is the reason, without the picture's name."""


def decode_image(value: PictureValue, max_pixels: int = DEFAULT_MAX_PIXELS, *, keep_grey: bool = False) -> Image.Image:
    """Return the picture as a loaded PIL image of mode ``RGB``, by the rules of this module.

    Args:
        value: encoded bytes, a path, a Hugging Face image mapping, a PIL image, or a numpy array: ``(H, W)``,
            ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8, or ``(H, W)`` uint16 or bool.
        max_pixels: pictures of more pixels (width times height) are refused from their header, before any decoding.
        keep_grey: return mode ``L`` for a picture that is 8-bit grey without transparency; its three channels would be
            equal, and one is a third of the work.

    Raises:
        UnreadableImage: with the reason. Nothing else is raised for a bad picture, and Pillow's own size check, its
            limit and its warnings play no part. May be called from several threads.
    """
    try:
        return _decode(value, max_pixels, keep_grey)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever their parsing met: struct, zlib, index, OS errors ...
        raise UnreadableImage(f"damaged picture: {error or type(error).__name__}") from error


def _decode(value: PictureValue, max_pixels: int, keep_grey: bool) -> Image.Image:
    if isinstance(value, Image.Image):
        return _to_rgb(value, max_pixels, keep_grey)
    if isinstance(value, np.ndarray):
        return _to_rgb(_from_array(value), max_pixels, keep_grey)
    if isinstance(value, Mapping):
        encoded = value.get("bytes")
        value = encoded if encoded is not None else value.get("path")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _decode_file(io.BytesIO(value), max_pixels, keep_grey)
    if isinstance(value, (str, os.PathLike)):
        return _decode_path(Path(value), max_pixels, keep_grey)
    if value is None:
        raise UnreadableImage("no picture: the value is missing")
    raise UnreadableImage(f"a value of type {type(value).__name__} is not a picture")


def _decode_path(path: Path, max_pixels: int, keep_grey: bool) -> Image.Image:
    if "://" in str(path) or str(path).startswith(("http:/", "https:/")):
        raise UnreadableImage("an address on the network is not a file; download the pictures first")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise UnreadableImage(f"no such file: {path}{_nearest_file(path)}") from None
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"cannot open {path}: {getattr(error, 'strerror', None) or error}") from error
    with file:
        return _decode_file(file, max_pixels, keep_grey)


def _nearest_file(path: Path) -> str:
    """Return the hint for a missing file, in brackets as sentences go on after it; looks into its folder only."""
    try:
        hint = did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))
    except OSError:
        return ""
    return f" ({hint.strip()})" if hint else ""


def _decode_file(file: BinaryIO, max_pixels: int, keep_grey: bool) -> Image.Image:
    image = _open_header(file)
    if image is None:
        file.seek(0)
        raise UnreadableImage(f"not a picture of a known format; it starts with {file.read(16)!r}")
    return _to_rgb(image, max_pixels, keep_grey)


def _open_header(file: BinaryIO) -> Image.Image | None:
    """Read a picture's header by the first format that knows it.

    `PIL.Image.open` does this too, but checks the size against a limit that is global to the process and warns through
    `warnings`, which no thread can catch for itself. Here the caller checks, with its own limit.
    """
    prefix = file.read(16)
    if not prefix:
        raise UnreadableImage("an empty file")
    for prepare in (Image.preinit, Image.init):  # the common formats first; all plugins only when those fail
        prepare()
        for name in Image.ID:
            factory, accepts = Image.OPEN[name]
            if name in _REFUSED_FORMATS or (accepts is not None and accepts(prefix) is not True):
                continue
            file.seek(0)
            try:
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # how a reader says "not mine"
    return None


def _to_rgb(image: Image.Image, max_pixels: int, keep_grey: bool) -> Image.Image:
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableImage(
            f"too large: {width:,} x {height:,} is {width * height:,} pixels, at most {max_pixels:,} are allowed"
        )
    if width == 0 or height == 0:
        raise UnreadableImage(f"no pixels: {width} x {height}")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise UnreadableImage(
            f"too narrow: {width:,} x {height:,}; the longer side may be at most {MAX_ASPECT_RATIO} times the other"
        )
    image.load()  # now, so that a truncated file is found here
    # Asking for the orientation first is cheaper than transposing, which copies even when there is nothing to do.
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT_MODES or image.mode == "I":
        image = _from_integers(np.asarray(image))
    if image.mode in {"F", "LAB"}:
        raise UnreadableImage(f"pixels of mode {image.mode} have no one meaning; store 8-bit or 16-bit pixels")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "RGB" or (keep_grey and image.mode == "L"):
        return image
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _from_integers(pixels: NDArray[Any]) -> Image.Image:
    """Map 0 .. 65,535 to 0 .. 255, rounding to nearest."""
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65_535:
        raise UnreadableImage(f"32-bit grey values from {low} to {high}; only 0 to 65,535 are understood")
    return Image.fromarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _from_array(pixels: NDArray[Any]) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    is_grey = pixels.ndim == 2
    if pixels.size and is_grey and pixels.dtype == np.uint16:
        return _from_integers(pixels)
    if pixels.size and is_grey and pixels.dtype == np.bool_:
        return Image.fromarray(pixels.astype(np.uint8) * np.uint8(255))
    if pixels.size and pixels.dtype == np.uint8 and (is_grey or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        return Image.fromarray(pixels)
    raise UnreadableImage(
        f"an array of shape {pixels.shape} and type {pixels.dtype} is not a picture; "
        "(H, W) or (H, W, 3 or 4) uint8, or (H, W) uint16 or bool, is"
    )
