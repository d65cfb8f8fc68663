"""What is done to a view once it is resized: mirrored, recoloured, blurred, solarised.

Of one picture it is done by Pillow where it was decoded, of a whole batch by `finish` on the device, so that workers
need not take the time for colours. What is done is drawn in the worker in any case, so that both do the same; they
differ in rounding, for Pillow rounds after each step and keeps hues in 256 levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.batch import PairBatch

SOLARIZE_THRESHOLD = 128
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey level (ITU-R 601-2), as Pillow has them."""

_NUM_AT_A_TIME = 64
"""Pictures in float32 at a time, so that a large batch does not need several times its memory."""


@dataclass(frozen=True)
class Finish:
    """What is done to one view, in the order of the fields. A factor of 1 and a hue or sigma of 0 change nothing.

    Attributes:
        is_flipped: mirrored left to right.
        order: of the four changes of colour, numbered as the four fields after it.
        brightness: factor on all values.
        contrast: factor on the distance from the mean grey level.
        saturation: factor on the distance from each pixel's grey level.
        hue: turn of the hue, in whole turns, from -0.5 to 0.5.
        is_grey: colours are dropped.
        sigma: of a Gaussian blur, in pixels.
        is_solarized: values of `SOLARIZE_THRESHOLD` and more are inverted.
    """

    is_flipped: bool = False
    order: tuple[int, int, int, int] = (0, 1, 2, 3)
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    is_grey: bool = False
    sigma: float = 0.0
    is_solarized: bool = False

    def to_row(self) -> list[float]:
        """Return the fields as a row of what `finish` takes."""
        flipped, order, *others = astuple(self)
        return [float(value) for value in (flipped, *order, *others)]


NUM_FIELDS = len(Finish().to_row())


def blur_size(side: int) -> int:
    """Return the side of a blur's kernel, odd: a tenth of the view's, as SimCLR has it."""
    return max(3, side // 10 // 2 * 2 + 1)


def finish(pixels: Tensor, rows: Tensor) -> Tensor:
    """Finish a batch of views.

    Args:
        pixels: ``(B, 3, S, S)`` uint8, on any device; left as they are.
        rows: ``(B, NUM_FIELDS)`` float32 on the CPU, one `Finish.to_row` for each picture.

    Returns:
        ``(B, 3, S, S)`` uint8.
    """
    starts = range(0, len(pixels), _NUM_AT_A_TIME)
    parts = [_finish(pixels[at : at + _NUM_AT_A_TIME], rows[at : at + _NUM_AT_A_TIME]) for at in starts]
    return torch.cat(parts) if parts else pixels


def finished(batch: PairBatch) -> PairBatch:
    """Return the batch with all its views finished, on the device where they are."""
    if not batch.finishes:
        return batch
    images = (
        pixels if rows is None else finish(pixels, rows)
        for pixels, rows in zip(batch.images, batch.finishes, strict=True)
    )
    return replace(batch, images=tuple(images), finishes=())


def _finish(pixels: Tensor, rows: Tensor) -> Tensor:
    flipped, order, factors = rows[:, 0], rows[:, 1:5], rows[:, 5:9]
    grey, sigma, solarized = rows[:, 9], rows[:, 10], rows[:, 11]
    values = pixels.float()
    _change(values, flipped > 0, lambda some, _: some.flip(-1))
    for place in range(4):
        for kind, (change, nothing) in enumerate(_CHANGES):
            chosen = (order[:, place] == kind) & (factors[:, kind] != nothing)
            _change(values, chosen, change, factors[:, kind])
    _change(values, grey > 0, lambda some, _: _grey(some).expand_as(some))
    _change(values, sigma > 0, _blurred, sigma)
    values = values.round_()
    _change(values, solarized > 0, lambda some, _: torch.where(some >= SOLARIZE_THRESHOLD, 255 - some, some))
    return values.to(torch.uint8)


def _change(
    values: Tensor, is_chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], amounts: Tensor | None = None
) -> None:
    """Replace the chosen pictures by ``change`` of them and of their amounts, ``(n, 1, 1, 1)``."""
    places = is_chosen.nonzero()[:, 0]
    if len(places):
        chosen = places.to(values.device)
        amounts = torch.zeros(len(values)) if amounts is None else amounts
        values[chosen] = change(values[chosen], amounts[places].to(values.device)[:, None, None, None])


def _grey(values: Tensor) -> Tensor:
    return (values * values.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def _brightened(values: Tensor, factors: Tensor) -> Tensor:
    return (values * factors).clamp(0, 255)


def _contrasted(values: Tensor, factors: Tensor) -> Tensor:
    mean = _grey(values).mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (values - mean) * factors).clamp(0, 255)


def _saturated(values: Tensor, factors: Tensor) -> Tensor:
    grey = _grey(values)
    return (grey + (values - grey) * factors).clamp(0, 255)


def _turned(values: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of hexcone HSV."""
    red, green, blue = values.unbind(1)
    largest = values.amax(dim=1)
    chroma = largest - values.amin(dim=1)
    divisor = torch.where(chroma == 0, 1, chroma)
    hue = torch.where(
        largest == red,
        (green - blue) / divisor,
        torch.where(largest == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    hue = hue + 6 * turns[:, 0]
    # Each channel falls from the largest value to the smallest and back, at its own place on the circle of six.
    places = (hue[:, None] + hue.new_tensor([5.0, 3.0, 1.0])[:, None, None]) % 6
    return largest[:, None] - chroma[:, None] * torch.minimum(places, 4 - places).clamp(0, 1)


def _blurred(values: Tensor, sigmas: Tensor) -> Tensor:
    """Blur each picture by its own sigma; outside of a picture is its mirror image, as torchvision has it."""
    count, channels, height, width = values.shape
    margin = blur_size(width) // 2
    offsets = torch.arange(-margin, margin + 1, device=values.device)
    kernels = torch.softmax(-((offsets / sigmas[:, 0, 0]) ** 2) / 2, dim=1).repeat_interleave(channels, dim=0)[:, None]
    padded = F.pad(values, [margin] * 4, mode="reflect")
    padded = padded.reshape(1, count * channels, height + 2 * margin, width + 2 * margin)
    for kernel in (kernels[..., None], kernels[..., None, :]):
        padded = F.conv2d(padded, kernel, groups=count * channels)
    return padded.reshape(values.shape)


_CHANGES = ((_brightened, 1.0), (_contrasted, 1.0), (_saturated, 1.0), (_turned, 0.0))
"""By `Finish.order`'s numbers: the change, and the amount of it that changes nothing."""
