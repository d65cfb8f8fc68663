"""Read every picture once: which cannot be read, and which show the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mmcl.data.hashing import Int64Array
from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.row_reader import RowReader

_PICTURES_AT_A_TIME = 512


@dataclass(frozen=True)
class PictureScan:
    """What reading the pictures of some rows tells.

    Attributes:
        unreadable: one record for each that cannot be read, by position.
        hashes: `pixel_hash` of the others, by position; empty where none was asked for.
    """

    unreadable: list[QuarantineRecord] = field(default_factory=list)
    hashes: dict[int, bytes] = field(default_factory=dict)


def scan_pictures(
    reader: RowReader,
    positions: Int64Array,
    max_pixels: int,
    with_hashes: bool = False,
    tell: Callable[[int], None] = lambda num_read: None,
) -> PictureScan:
    """Decode the pictures of rows, in threads. A bad one is written down, whatever is wrong with it.

    Args:
        reader: of an indexed source.
        positions: ``(N,)`` int64: the rows.
        max_pixels: pictures with more are refused.
        with_hashes: hash the pixels.
        tell: called now and then with the number of pictures read.
    """

    def read(position: int) -> bytes | QuarantineRecord | None:
        (row,) = reader.read(np.array([position]))
        try:
            picture = decode_image(reader.picture(row), max_pixels)
        except UnreadableImage as error:
            return QuarantineRecord(position, None, str(error), reader.path(row), reader.source.name)
        return pixel_hash(picture) if with_hashes else None

    scan = PictureScan()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        for start in range(0, len(positions), _PICTURES_AT_A_TIME):
            some = positions[start : start + _PICTURES_AT_A_TIME].tolist()
            for position, found in zip(some, threads.map(read, some), strict=True):
                if isinstance(found, QuarantineRecord):
                    scan.unreadable.append(found)
                elif found is not None:
                    scan.hashes[position] = found
            tell(start + len(some))
    return scan


def pixel_hash(picture: Image.Image) -> bytes:
    """Return 16 bytes that are equal for pictures of equal size and pixels, whatever file they come from."""
    digest = hashlib.blake2b(f"{picture.mode} {picture.width} {picture.height}".encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.digest()
