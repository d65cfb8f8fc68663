"""A folder of pictures, the caption of each in a text file of the same name beside it."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
from PIL import Image

from mmcl.errors import UserError

SUFFIX = ".txt"

_log = logging.getLogger(__name__)


def is_picture(file: Path) -> bool:
    """Whether a file's name is that of a picture; hidden files are none."""
    return file.suffix.lower() in Image.registered_extensions() and not file.name.startswith(".")


def caption_file(picture: Path) -> Path:
    """Return where the caption of a picture stands: ``a/1.txt`` for ``a/1.jpg``."""
    return picture.with_suffix(SUFFIX)


def load_pairs(folder: Path, key: str) -> datasets.Dataset:
    """Return the pictures of a folder and of those in it, in the order of their paths, none of them read.

    The whole text of a caption file is one caption. A picture without one has no caption, and so has one whose caption
    cannot be read as UTF-8; how many there are of those, and of text files without a picture, is logged.

    Args:
        folder: to be searched.
        key: where the recipe names it; errors begin with it.

    Returns:
        Columns ``image``, paths, and ``text``, a string or None.

    Raises:
        UserError: there is no picture.
    """
    files = sorted(file for file in folder.rglob("*") if not _is_hidden(file, folder))
    pictures = [file for file in files if is_picture(file)]
    if not pictures:
        raise UserError(f"{key}.path: {folder} holds no pictures")
    garbled: list[Path] = []
    texts = [_caption_of(picture, garbled) for picture in pictures]
    _tell(garbled, "cannot be read as UTF-8; their pictures have no caption")
    captioned = {caption_file(picture) for picture in pictures}
    _tell([file for file in files if file.suffix == SUFFIX and file not in captioned], "have no picture of their name")
    features = datasets.Features({"image": datasets.Image(decode=False), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": [str(path) for path in pictures], "text": texts}, features=features)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _caption_of(picture: Path, garbled: list[Path]) -> str | None:
    file = caption_file(picture)
    try:
        return file.read_text(encoding="utf-8-sig").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        garbled.append(file)
        return None


def _tell(files: list[Path], what: str) -> None:
    if files:
        _log.warning("%s text files %s; the first is %s", f"{len(files):,}", what, files[0])
