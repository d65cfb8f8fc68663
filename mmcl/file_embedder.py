"""Embeddings that were made elsewhere and lie in a file, in the place of a model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from evaluation.corruptions import CorruptedPictures
from evaluation.embedder import Embeddings, Picture
from mmcl.data.evaluation_rows import LazyPictures
from mmcl.errors import UserError, did_you_mean
from mmcl.towers.towers import Modality

_log = logging.getLogger(__name__)
_SUFFIXES = (".npy", ".npz", ".parquet")
_VECTORS = ("vector", "embedding")
_UNIT = 1e-3


def is_embeddings_file(name: str) -> bool:
    """True where the suffix says that it is a file of embeddings, whether it is there or not."""
    return Path(name).suffix in _SUFFIXES and not Path(name).is_dir()


class FileEmbedder:
    """Looks embeddings up in a file. An `evaluation.Embedder`.

    ========  =================================================================================================
    .npy      ``(N, D)`` of pictures, one row for each row of the data, in order; of limited data the first are taken
    .npz      ``images`` as in .npy; ``texts``, ``(M, D)``, with ``text``, the M texts
    .parquet  ``vector`` or ``embedding``, a list of numbers (with ``scale``, as ``mmcl embed`` writes it), beside
              ``text``; for pictures beside ``image``, the path as the data has it, or ``id``, the position of the
              row in the data, from 0
    ========  =================================================================================================

    Rows that are not of unit norm are brought to it, which is said in the log.

    Args:
        path: of the file.

    Raises:
        UserError: the file is not there, cannot be read, lacks something, or holds a row that is not finite or zero.
    """

    preprocessing: Mapping[str, Any] = {}

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            near = [str(file) for file in Path(path).parent.glob("*") if is_embeddings_file(file.name)]
            raise UserError(f"there is no file {path}.{did_you_mean(path, near)}")
        self.name = self.pretrained = path
        self.fingerprint = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        self._in_order: Embeddings | None = None
        self._pictures: dict[str | int, Embeddings] = {}
        self._texts: dict[str, Embeddings] = {}
        read = {".npy": self._read_npy, ".npz": self._read_npz, ".parquet": self._read_parquet}
        try:
            read[Path(path).suffix]()
        except (OSError, ValueError, EOFError, BadZipFile, pa.ArrowException) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"cannot read {path}: {error}") from error

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What there are embeddings of."""
        has: dict[Modality, bool] = {
            "image": self._in_order is not None or bool(self._pictures),
            "text": bool(self._texts),
        }
        return tuple(modality for modality, is_there in has.items() if is_there)

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per picture, in order.

        Raises:
            UserError: the file has not as many rows as the data, or none for a picture, or pictures are corrupted.
        """
        if isinstance(images, CorruptedPictures):
            raise UserError(
                f"{self.name} has embeddings of pictures as they are; robustness corrupts them, and needs a model"
            )
        if self._in_order is not None:
            return self._by_order(self._in_order, images)
        keys: list[str | int]
        if isinstance(images, LazyPictures):
            self._check_positions(images)
            keys = [self._key_of(images, int(position)) for position in images.positions]
        else:
            keys = [self._known([str(image)]) for image in images]
        return np.stack([self._pictures[key] for key in keys])

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per text, in order.

        Raises:
            UserError: the file has no row for a text.
        """
        missing = [text for text in texts if text not in self._texts]
        if missing:
            raise UserError(f'{self.name} has no embedding of {len(missing):,} texts, the first: "{missing[0]}"')
        return np.stack([self._texts[text] for text in texts])

    def _by_order(self, rows: Embeddings, images: Sequence[Picture]) -> Embeddings:
        if isinstance(images, LazyPictures):
            num_rows, data, positions = images.reader.num_rows, images.reader.source.name, images.positions
            is_part = images.reader.source.limit == num_rows
        else:
            num_rows, data, positions, is_part = len(images), "the data", np.arange(len(images)), False
        if len(rows) != num_rows and not (is_part and len(rows) > num_rows):
            raise UserError(
                f"{self.name} has {len(rows):,} pictures and {data} {num_rows:,} rows: it must have one for each, in"
                " order; a .parquet file with a column image or id may have others"
            )
        return rows[positions]

    def _check_positions(self, images: LazyPictures) -> None:
        last = max((key for key in self._pictures if isinstance(key, int)), default=-1)
        if last >= images.reader.num_rows != images.reader.source.limit:
            raise UserError(
                f"{self.name} has an embedding of row {last:,}, and {images.reader.source.name} only"
                f" {images.reader.num_rows:,} rows: it is of other data; a column image tells rows of several apart"
            )

    def _key_of(self, images: LazyPictures, position: int) -> str | int:
        reader = images.reader
        if position in self._pictures:
            return position
        (row,) = reader.read(np.array([position]))
        value = row.get(str(reader.columns.get("image")))
        raw = value.get("path") if isinstance(value, Mapping) else value
        return self._known([str(raw), str(reader.path(row))], f"row {position} of {reader.source.name}")

    def _known(self, keys: Sequence[str], where: str = "the picture") -> str:
        found = next((key for key in keys if key in self._pictures), None)
        if found is None:
            raise UserError(f"{self.name} has no embedding of {where} ({keys[0]})")
        return found

    def _read_npy(self) -> None:
        self._in_order = self._checked(np.load(self.name, allow_pickle=False), "row")

    def _read_npz(self) -> None:
        with np.load(self.name, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        if "images" in found:
            self._in_order = self._checked(found["images"], "images row")
        if "texts" in found:
            texts = [str(text) for text in found.get("text", ())]
            rows = self._checked(found["texts"], "texts row")
            if len(texts) != len(rows):
                self._refuse(f"{len(rows):,} texts must have as many strings in text, got {len(texts):,}")
            self._texts = dict(zip(texts, rows, strict=True))
        if not self.modalities:
            self._refuse(f"it must hold images, or texts and text, got {', '.join(found) or 'nothing'}")
        if self._in_order is not None and self._texts:
            self._check_widths(self._in_order.shape[1], next(iter(self._texts.values())).shape[0])

    def _read_parquet(self) -> None:
        table = pq.read_table(self.name)
        name = next((name for name in _VECTORS if name in table.column_names), None)
        if name is None or not {"text", "image", "id"} & set(table.column_names):
            self._refuse(
                f"it must have a column vector or embedding, and one of text, image and id; it has"
                f" {', '.join(table.column_names)}"
            )
        rows = self._checked(_numbers(table, name), "row")
        empty = [None] * len(rows)
        keys = {key: table[key].to_pylist() if key in table.column_names else empty for key in ("text", "image", "id")}
        for number, (text, image, position) in enumerate(zip(*keys.values(), strict=True)):
            if text is not None:
                self._texts[text] = rows[number]
            elif image is not None or position is not None:
                self._pictures[position if image is None else image] = rows[number]

    def _checked(self, rows: Any, what: str) -> Embeddings:
        if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.size:
            self._refuse(f"embeddings must be a table of floats, one row each, got {rows.dtype} of shape {rows.shape}")
        rows = rows.astype(np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        wrong = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        if len(wrong):
            kind = "zero" if norms[wrong[0]] == 0 else "not finite"
            self._refuse(f"{what} {wrong[0]} is {kind} ({len(wrong):,} of {len(rows):,} rows are no direction)")
        num_others = int((np.abs(norms - 1) > _UNIT).sum())
        if num_others:
            _log.warning("%s: %s of %s rows are not of unit norm; normalised", self.name, num_others, len(rows))
        found: Embeddings = rows / norms
        return found

    def _check_widths(self, images: int, texts: int) -> None:
        if images != texts:
            self._refuse(f"pictures and texts must have embeddings of one width, got {images} and {texts}")

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{self.name}: {reason}")


def _numbers(table: pa.Table, name: str) -> Any:
    """Return ``(N, D)`` of a column of lists, times the column ``scale`` where there is one."""
    column = table[name].combine_chunks()
    widths = {len(row) for row in column if row.is_valid}
    if len(widths) != 1 or column.null_count:
        shown = ", ".join(map(str, sorted(widths))) or "none"
        raise UserError(f"the lists in {name} must all be there and of one length, got lengths {shown}")
    rows = np.array(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(len(column), -1)
    return rows * table["scale"].to_numpy()[:, None] if "scale" in table.column_names else rows
