"""Small pictures, kept decoded."""

from __future__ import annotations

from PIL import Image

MOST_BYTES = 256 * 2**20
"""That are kept in one process."""

MOST_BYTES_OF_ONE = 64 * 2**10
"""A larger picture takes so long to augment that decoding it hardly counts, and few of them would fit."""


class PictureCache:
    """Keeps decoded pictures by position, the first that come, until it is full.

    Nothing is ever put out for another: rows come back once in an epoch, and what is thrown out for the latest is just
    what comes next.

    Args:
        most_bytes: of pixels that are kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.num_bytes = 0
        self._pictures: dict[int, Image.Image] = {}

    def __reduce__(self) -> tuple[type[PictureCache], tuple[int]]:
        # A worker process starts with an empty one, rather than with a copy of what its parent has seen.
        return PictureCache, (self.most_bytes,)

    def get(self, position: int) -> Image.Image | None:
        """Return the picture of a row, not to be changed; None when it is not kept."""
        return self._pictures.get(position)

    def add(self, position: int, picture: Image.Image) -> None:
        """Keep a picture, if it is small and there is room."""
        num_bytes = picture.width * picture.height * len(picture.getbands())
        if num_bytes <= MOST_BYTES_OF_ONE and self.num_bytes + num_bytes <= self.most_bytes:
            self._pictures[position] = picture
            self.num_bytes += num_bytes
