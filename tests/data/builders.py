"""Small pictures, files and recipes for the tests of mmcl.data."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from mmcl.batch import TokenBatch
from mmcl.recipe import Recipe
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.preprocessing import ImagePreprocessing

PREPROCESSING = ImagePreprocessing(size=8, interpolation="bilinear")


class CharacterTokenizer(TextTokenizer):
    """One token for each character."""

    pads_to_max_length = False

    def __init__(self, max_length: int = 32) -> None:
        self.max_length = max_length

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        rows = [[ord(character) for character in text[: self.max_length]] for text in texts]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
        return TokenBatch(ids, (ids > 0).long())

    def count_too_long(self, texts: Sequence[str]) -> int:
        return sum(len(text) > self.max_length for text in texts)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return str(self.max_length)


def texts_of(tokens: TokenBatch) -> list[str]:
    """The captions that `CharacterTokenizer` was given."""
    return ["".join(chr(token) for token in row if token) for row in tokens.input_ids.tolist()]


def picture(seed: int = 0, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """A coloured picture unlike that of any other seed."""
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def write_pictures(folder: Path, number: int, name: str = "{}.png") -> list[str]:
    """Write pictures and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.format(index) for index in range(number)]
    for index, file_name in enumerate(names):
        (folder / file_name).write_bytes(encoded(picture(index)))
    return names


def write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a jsonl file."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_pairs(folder: Path, number: int = 24, num_groups: int | None = None) -> Path:
    """Write pictures and a jsonl file of columns image, text and group; two captions for every third row."""
    rows = []
    for index, name in enumerate(write_pictures(folder, number)):
        text = [f"caption {index}", f"other {index}"] if index % 3 == 0 else [f"caption {index}"]
        rows.append({"image": name, "text": text, "group": f"g{index % (num_groups or number)}"})
    return write_lines(folder / "pairs.jsonl", rows)


def recipe(train: Path | str, batch_size: int = 4, seed: int = 0, **data: Any) -> Recipe:
    """A recipe on the rows; nothing is held out unless told."""
    source = {"path": str(train)} if isinstance(train, (Path, str)) else train
    return Recipe.model_validate(
        {"data": {"train": source, "validation": 0, **data}, "batch_size": batch_size, "seed": seed}
    )


class Wants(NamedTuple):
    """An objective, as far as data goes."""

    views: tuple[str, ...]
    type: str = "fake"
    needs_labels: bool = False
    optional_views: tuple[str, ...] = ()
    needs_scores: bool = False


def wanting(train: Recipe, *objectives: Sequence[str] | Wants) -> Recipe:
    """The recipe with objectives that compare these views."""
    made = tuple(item if isinstance(item, Wants) else Wants(tuple(item)) for item in objectives)
    return train.model_copy(update={"objectives": made})


def write_partial(folder: Path, number: int = 60) -> Path:
    """Write rows of which every third has no picture and every fourth no caption; labels on every second."""
    rows = []
    for index, name in enumerate(write_pictures(folder, number)):
        image, text = None if index % 3 == 0 else name, "" if index % 4 == 1 else f"caption {index}"
        rows.append({"image": image, "text": text, "label": f"class {index % 5}" if index % 2 else None})
    return write_lines(folder / "partial.jsonl", rows)


def write_shard(file: Path, samples: Iterable[Mapping[str, bytes]]) -> Path:
    """Write a shard of webdataset: a mapping of suffixes for each sample, called s0000000 and so on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for index, parts in enumerate(samples):
            for suffix, data in parts.items():
                entry = tarfile.TarInfo(f"s{index:07d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return file


def write_benchmark(folder: Path, shards: Sequence[Sequence[Mapping[str, bytes]]], split: str = "test") -> Path:
    """Write a split in CLIP_benchmark's layout, with two classes and two templates beside it."""
    for number, samples in enumerate(shards):
        write_shard(folder / split / f"{number}.tar", samples)
    (folder / split / "nshards.txt").write_text(f"{len(shards)}\n")
    (folder / "classnames.txt").write_text("cat\nblack dog\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na {c}\n")
    return folder


def class_samples(*numbers: int, suffix: str = "webp") -> list[dict[str, bytes]]:
    """A sample of each of these classes, its picture unlike the others."""
    form = {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}[suffix]
    return [{"cls": str(n).encode(), suffix: encoded(picture(i), form)} for i, n in enumerate(numbers)]


def npy(values: object) -> bytes:
    """The numbers as a .npy file's bytes."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue()
