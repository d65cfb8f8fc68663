"""Folders in the layout of CLIP_benchmark: shards of webdataset, and beside them what the classes are called.

::

    classnames.txt                              one class per line, in the order of the numbers in the .cls files
    zeroshot_classification_templates.txt       one template per line, with {c} for the class
    dataset_type.txt                            "retrieval" or "multilabel"; without it, classification
    test/nshards.txt, test/0.tar, test/1.tar    other splits likewise

A sample is a picture (webp, jpg, jpeg or png) and either ``cls``, the number of its class, or ``txt``, its captions,
one per line, or ``npy``, 0 or 1 for each class.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from mmcl import __version__
from mmcl.errors import UserError, did_you_mean

LAYOUT = "clip_benchmark"
"""What a recipe calls this format."""

_PICTURES = ("webp", "jpg", "jpeg", "png")
_KINDS = {"classification": "cls", "retrieval": "txt", "multilabel": "npy"}
_NUM_SHARDS = "nshards.txt"


@dataclass(frozen=True)
class ClassPrompts:
    """What comes with labelled pictures, for prompts.

    Attributes:
        class_names: of all classes, in order; several classes may have one name.
        templates: prompts with a place for the class; empty where none came.
    """

    class_names: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True)
class BenchmarkFolder:
    """A folder, its text files read.

    Attributes:
        folder: it.
        kind: ``classification``, ``retrieval`` or ``multilabel``.
        class_prompts: of the two kinds with classes; else None.
    """

    folder: Path
    kind: str
    class_prompts: ClassPrompts | None

    @classmethod
    def read(cls, folder: Path, key: str) -> BenchmarkFolder:
        """Read the text files.

        Args:
            folder: to be read.
            key: where the recipe names it; errors begin with it.

        Raises:
            UserError: an unknown kind, or no names of classes where there are classes.
        """
        kind = "\n".join(_lines(folder / "dataset_type.txt")).lower() or "classification"
        if kind not in _KINDS:
            raise UserError(
                f'{key}.path: {folder / "dataset_type.txt"} must say one of {", ".join(_KINDS)}, got "{kind}"'
            )
        if kind == "retrieval":
            return cls(folder, kind, None)
        names = _lines(folder / "classnames.txt")
        if not names or not all(names):
            wrong = f"line {names.index('') + 1} of it is empty" if names else "it is missing or empty"
            raise UserError(
                f"{key}.path: {folder / 'classnames.txt'} must name the classes, one per line, in the order of "
                f"their numbers; {wrong}"
            )
        templates = [line for line in _lines(folder / "zeroshot_classification_templates.txt") if line]
        return cls(folder, kind, ClassPrompts(tuple(names), tuple(templates)))

    def open(self, split: str, limit: int | None, key: str) -> datasets.Dataset:
        """Open a split; what its shards hold is kept in the cache of `datasets` until one of them changes.

        Args:
            split: such as ``test``.
            limit: read only the first so many samples; None for all.
            key: where the recipe names the folder; errors begin with it.

        Returns:
            Columns ``__key__``, ``image``, undecoded, and ``label`` (a class column, whose names all differ), ``text``
            (a list of captions) or ``labels`` (a list of class numbers).

        Raises:
            UserError: the split or a shard of it is missing.
            Exception: whatever `datasets` raises about samples that are not as they must be.
        """
        shards = self._shards(split, key)
        stamps = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in shards)
        given = {
            "shards": tuple(map(str, shards)),  # a list would be cut into parts, each with a limit of its own
            "kind": self.kind,
            "num_classes": len(self.class_prompts.class_names) if self.class_prompts else 0,
            "limit": limit,
            # Read by nobody: with other shards, or read by another version, it is another data set for the cache.
            "stamps": (__version__, *stamps),
        }
        rows: datasets.Dataset = datasets.Dataset.from_generator(_samples, features=self._features(), gen_kwargs=given)
        return rows

    def _features(self) -> datasets.Features:
        always = {"__key__": datasets.Value("string"), "image": datasets.Image(decode=False)}
        if self.class_prompts is None:
            return datasets.Features(always | {"text": datasets.List(datasets.Value("string"))})
        label = datasets.ClassLabel(names=labels_of(self.class_prompts.class_names))
        return datasets.Features(
            always | ({"label": label} if self.kind == "classification" else {"labels": datasets.List(label)})
        )

    def _shards(self, split: str, key: str) -> list[Path]:
        folder = self.folder / split
        if not (folder / _NUM_SHARDS).is_file():
            splits = sorted(file.parent.name for file in self.folder.glob(f"*/{_NUM_SHARDS}"))
            listed = ", ".join(splits) or f"no folder in it holds {_NUM_SHARDS}"
            raise UserError(f"{key}.split: no {split} in {self.folder} ({listed}).{did_you_mean(split, splits)}")
        counted = "\n".join(_lines(folder / _NUM_SHARDS))
        if not counted.isdecimal() or int(counted) == 0:
            raise UserError(f'{key}.path: {folder / _NUM_SHARDS} must hold the number of shards, got "{counted}"')
        shards = [folder / f"{number}.tar" for number in range(int(counted))]
        missing = [file for file in shards if not file.is_file()]
        if missing:
            raise UserError(
                f"{key}.path: {folder / _NUM_SHARDS} counts {counted} shards, and {len(missing)} of them are missing, "
                f"first {missing[0].name}"
            )
        return shards


def is_benchmark_folder(folder: Path) -> bool:
    """Whether a folder is in this layout."""
    return next(folder.glob(f"*/{_NUM_SHARDS}"), None) is not None


def labels_of(class_names: Sequence[str]) -> list[str]:
    """Return a label for each class, all different: its name, and its number where another has that name.

    ImageNet's published names have two such pairs.
    """
    counts = Counter(class_names)
    return [f"{name} ({number})" if counts[name] > 1 else name for number, name in enumerate(class_names)]


def _lines(file: Path) -> list[str]:
    """Return the lines without blanks around them; none where there is no file."""
    if not file.is_file():
        return []
    return [line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines()]


def _samples(
    shards: Sequence[str], kind: str, num_classes: int, limit: int | None, stamps: Sequence[object]
) -> Iterator[dict[str, Any]]:
    samples = (_sample(*found, kind, num_classes) for shard in shards for found in _parts_by_key(Path(shard)))
    return islice(samples, limit)


def _parts_by_key(shard: Path) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """Yield the place and key of each sample, and its parts by suffix; they stand one after another in a shard."""
    place = f"{shard.parent.name}/{shard.name}"
    key, parts = "", dict[str, bytes]()
    try:
        with tarfile.open(shard) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is None:
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if parts and f"{folder}/{stem}" != key:
                    yield place, key.lstrip("/"), parts
                    parts = {}
                key, parts[suffix.lower()] = f"{folder}/{stem}", file.read()
    except tarfile.TarError as error:
        raise ValueError(f"{place}: {error}") from None
    if parts:
        yield place, key.lstrip("/"), parts


def _sample(place: str, key: str, parts: dict[str, bytes], kind: str, num_classes: int) -> dict[str, Any]:
    suffix = next((suffix for suffix in _PICTURES if suffix in parts), None)
    target = _KINDS[kind]
    for lacks, what in ((suffix is None, " or ".join(_PICTURES)), (target not in parts, target)):
        if lacks:
            raise ValueError(f"{place}: sample {key} of a {kind} set must have {what}, got {', '.join(parts)}")
    row = {"__key__": key, "image": {"bytes": parts[suffix or ""], "path": f"{key}.{suffix}"}}
    value = parts[target]
    try:
        if kind == "retrieval":
            return row | {"text": value.decode("utf-8").splitlines()}
        if kind == "classification":
            return row | {"label": _class_number(value, num_classes)}
        return row | {"labels": _class_numbers(value, num_classes)}
    except (ValueError, EOFError) as error:
        raise ValueError(f"{place}: {key}.{target}: {error}") from None


def _class_number(value: bytes, num_classes: int) -> int:
    text = value.decode("utf-8", "replace").strip()
    if not text.isdecimal() or int(text) >= num_classes:
        raise ValueError(
            f"must be the number of one of the {num_classes} classes in classnames.txt, 0 to {num_classes - 1}, "
            f'got "{text}"'
        )
    return int(text)


def _class_numbers(value: bytes, num_classes: int) -> list[int]:
    targets = np.load(io.BytesIO(value), allow_pickle=False)
    if targets.shape != (num_classes,):
        raise ValueError(
            f"must hold a number for each of the {num_classes} classes in classnames.txt, got shape {targets.shape}"
        )
    return [int(number) for number in np.flatnonzero(targets > 0)]
