"""What pictures, texts and settings are, as SHA-256 sums: equal sums, equal embeddings and results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmcl.data.evaluation_rows import LazyPictures

_ROWS_AT_A_TIME = 256


class Digests:
    """Sums of sequences, each taken once.

    Pictures count by their bytes as they are stored: of a row's file, or of the cell that holds the encoded picture.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], tuple[object, str]] = {}

    def of(self, value: Any) -> str:
        """Return the sum of texts, numbers, pictures of rows, or what is made of them, as 64 hexadecimal digits.

        Raises:
            TypeError: something that is none of these.
        """
        return self._once(value, _digest, False)

    def of_pictures(self, images: Sequence[Any]) -> str:
        """Return the sum of pictures; a path stands for what its file holds."""
        return self._once(images, lambda given: _joined(_pictures(given)), True)

    def _once(self, value: Any, digest: Callable[[Any], str], as_pictures: bool) -> str:
        key = (id(value), as_pictures)
        if key not in self._known:
            # Kept beside its sum so that its id cannot pass to another object.
            self._known[key] = (value, digest(value))
        return self._known[key][1]

    def of_fields(self, task: Any) -> dict[str, str]:
        """Return the sums of a task's fields by their names, shortened to 16 digits: enough to tell a change by."""
        return {field.name: self.of(getattr(task, field.name))[:16] for field in fields(task)}


def _digest(value: Any) -> str:
    if isinstance(value, LazyPictures):
        return _joined(_pictures(value))
    if isinstance(value, np.ndarray):
        return _joined([f"{value.dtype} {value.shape}".encode(), np.ascontiguousarray(value).tobytes()])
    if isinstance(value, Mapping):
        return _joined([b"mapping", *(_one(part) for item in value.items() for part in item)])
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return _joined([_one(item) for item in value])
    return _joined([b"one", _one(value)])


def _joined(sums: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for one in sums:
        digest.update(one)
    return digest.hexdigest()


def _pictures(images: Sequence[Any]) -> list[bytes]:
    if not isinstance(images, LazyPictures):
        return [_picture(image) for image in images]
    found = []
    for start in range(0, len(images), _ROWS_AT_A_TIME):
        rows = images.reader.read(images.positions[start : start + _ROWS_AT_A_TIME])
        found += [_picture(images.reader.picture(row)) for row in rows]
    return found


def _picture(value: Any) -> bytes:
    if isinstance(value, Mapping):
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, (str, Path)):
        value = Path(value).read_bytes()
    return hashlib.sha256(value).digest() if isinstance(value, bytes) else _one(value)


def _one(value: Any) -> bytes:
    """Return the sum of one value, of its kind too: ``1`` is not ``"1"``."""
    if isinstance(value, Image.Image):
        plain = f"{value.mode} {value.size}".encode() + value.tobytes()
    elif is_dataclass(value):
        plain = "".join(_digest(getattr(value, field.name)) for field in fields(value)).encode()
    elif isinstance(value, (np.ndarray, Mapping)) or (isinstance(value, Sequence) and not isinstance(value, str)):
        plain = _digest(value).encode()
    else:
        plain = json.dumps(value.item() if isinstance(value, np.generic) else value).encode()
    return hashlib.sha256(plain).digest()
