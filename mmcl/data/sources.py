"""Open rows, wherever they are, as a Hugging Face data set whose pictures are not decoded.

Nothing is written beside the user's files: what `datasets` converts, it keeps in its own cache. Nothing is fetched
unless the source is on the Hub.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import datasets
import numpy as np
import pyarrow.compute as pc  # type: ignore[import-untyped]

from mmcl.data.benchmark_folder import LAYOUT, BenchmarkFolder, ClassPrompts
from mmcl.data.csv_header import default_delimiter, read_columns
from mmcl.data.files import Location, locate, missing_path
from mmcl.data.pairs_folder import load_pairs
from mmcl.errors import UnreachableError, UserError
from mmcl.recipe_data import SourceConfig

AnyDataset: TypeAlias = Any
"""`datasets.Dataset` or `datasets.IterableDataset`."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """An opened source.

    Attributes:
        dataset: the rows: indexed, or a stream when ``is_stream``. Image columns give ``{"bytes", "path"}``.
        name: short, for messages and results: the file's name, the hub id, ...
        split: what was read of it.
        key: where the recipe names it, such as ``data.train``; errors begin with it.
        image_root: folder that relative image paths start from; None where paths are not relative to a file.
        columns: their names, in order.
        delimiter: of a csv file.
        class_prompts: what came with the rows for prompts of their classes, in CLIP_benchmark's layout; else None.
        limit: so many rows were asked for, the first ones; None for all.
    """

    dataset: AnyDataset
    name: str
    split: str
    key: str
    image_root: Path | None
    columns: tuple[str, ...]
    delimiter: str | None = None
    class_prompts: ClassPrompts | None = None
    limit: int | None = None

    @property
    def is_stream(self) -> bool:
        """Whether rows can only be read one after another."""
        return isinstance(self.dataset, datasets.IterableDataset)

    def resolve(self, path: str) -> str:
        """Return an image path of a row as one that can be opened from anywhere."""
        if self.image_root is None or "://" in path:
            return path
        return str(self.image_root / path)


def open_source(config: SourceConfig, key: str = "data.train") -> Source:
    """Open the rows of a source.

    Csv columns are read as text, so that no number, date or code in them is changed; an empty field, and the words
    that pandas takes for a missing value (``NA``, ``nan``, ``null`` ...), come out as None.

    Args:
        config: the source.
        key: where the recipe names it; errors begin with it.

    Raises:
        UserError: nothing is there, it cannot be read, it holds no rows, or its delimiter does not fit.
        UnreachableError: it is on the hub, and cannot be had now.
    """
    location = locate(config.path, config.format, config.split, key)
    delimiter = None
    if location.format == "csv":
        delimiter = config.delimiter or default_delimiter(location.files[0])
    elif config.delimiter is not None:
        raise UserError(f"{key}.delimiter: only csv files have one, and {config.path} is read as {location.format}")
    if config.column_names is not None and location.format != "csv":
        raise UserError(f"{key}.column_names: only csv files take them, and {config.path} is read as {location.format}")
    if config.revision is not None and location.format != "hub" and location.repository is None:
        raise UserError(f"{key}.revision: only hub data sets have one, and {config.path} is read as {location.format}")
    asked = _Request(config, location, delimiter, key)
    with _quiet(), reading(key, config.path, location.format):
        dataset, class_prompts = _open(asked)
        dataset = _limited(_undecoded(dataset), config.limit)
        columns = _column_names(dataset)
    if not columns or (isinstance(dataset, datasets.Dataset) and len(dataset) == 0):
        raise UserError(f"{key}.path: {config.path} holds no rows")
    return Source(
        dataset=dataset,
        name=_name(config.path, location),
        split=asked.split,
        key=key,
        image_root=_image_root(config, location),
        columns=columns,
        delimiter=delimiter,
        class_prompts=class_prompts,
        limit=config.limit,
    )


def _name(path: str, location: Location) -> str:
    if location.repository is not None:
        return location.repository.name
    if location.addresses:
        return Path(urlsplit(path).path).name  # without what may be a signature
    return Path(path).name if location.files or location.folder else path


@dataclass(frozen=True)
class _Request:
    """What one opener is asked for."""

    config: SourceConfig
    location: Location
    delimiter: str | None
    key: str

    @property
    def split(self) -> str:
        """The split that is read, named or not."""
        if self.config.split is not None:
            return self.config.split
        is_learnt_from = self.key.startswith("data.train") or self.key.endswith(".train")
        return "test" if self.location.format == LAYOUT and not is_learnt_from else "train"


def _open(asked: _Request) -> tuple[AnyDataset, ClassPrompts | None]:
    if asked.location.format != LAYOUT:
        return _OPENERS.get(asked.location.format, _open_embedded)(asked), None
    folder, config = asked.location.folder, asked.config
    if folder is None:
        assert asked.location.repository is not None
        folder = asked.location.repository.fetch(asked.split, config.revision, asked.key)
    found = BenchmarkFolder.read(folder, asked.key)
    rows = found.open(asked.split, config.limit, asked.key)
    return rows.to_iterable_dataset() if config.streaming else rows, found.class_prompts


def _open_embedded(asked: _Request) -> AnyDataset:
    if asked.location.format == "glyphs":
        from mmcl.data.glyphs import load_glyphs

        rows = load_glyphs(asked.config.split or "train")
    else:
        from mmcl.data.digits import load_digits

        rows = load_digits(asked.config.split)
    return rows.to_iterable_dataset() if asked.config.streaming else rows


def _open_csv(asked: _Request) -> AnyDataset:
    delimiter = asked.delimiter
    assert delimiter is not None
    _refuse_split(asked)
    names = asked.config.column_names
    columns = read_columns(asked.location.files[0], delimiter, asked.key, names)
    for file in asked.location.files[1:]:
        if (others := read_columns(file, delimiter, asked.key, names)) != columns:
            raise UserError(
                f"{asked.key}.path: {file.name} has other columns ({', '.join(others)}) "
                f"than {asked.location.files[0].name} ({', '.join(columns)})"
            )
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    return _load("csv", asked, sep=delimiter, features=features, column_names=names and list(names))


def _open_files(asked: _Request) -> AnyDataset:
    files = asked.location.files
    if files and all(file.stat().st_size == 0 for file in files):
        raise UserError(f"{asked.key}.path: {asked.config.path} is empty")
    builder = {"jsonl": "json"}.get(asked.location.format, asked.location.format)
    if asked.location.folder is None:
        _refuse_split(asked)
        return _load(builder, asked)
    # A folder may hold several splits, told apart by the library's rules for file names.
    return datasets.load_dataset(
        builder,
        data_dir=str(asked.location.folder),
        split=asked.config.split or "train",
        streaming=asked.config.streaming,
    )


def _open_text(asked: _Request) -> AnyDataset:
    _refuse_split(asked)
    features = datasets.Features({"text": datasets.Value("string")})
    rows = _load("text", asked, encoding="utf-8-sig", features=features)
    if asked.config.streaming:
        return rows.map(_without_blanks, batched=True, features=features)
    texts = rows.data.column("text")
    kept = pc.not_equal(pc.utf8_trim_whitespace(texts), "").to_numpy()
    return rows if kept.all() else rows.select(np.flatnonzero(kept))


def _without_blanks(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    return {"text": [text for text in rows["text"] if text.strip()]}


def _open_imagefolder(asked: _Request) -> AnyDataset:
    # Every file by pattern: left to itself, the builder takes a picture called "test_3.png" for a test split.
    everything = str(Path(glob.escape(str(asked.location.folder))) / "**")
    return datasets.load_dataset(
        "imagefolder", data_files={"train": everything}, split="train", streaming=asked.config.streaming
    )


def _open_pairs(asked: _Request) -> AnyDataset:
    folder = asked.location.folder
    assert folder is not None
    rows = load_pairs(folder, asked.key)
    return rows.to_iterable_dataset() if asked.config.streaming else rows


def _open_saved(asked: _Request) -> AnyDataset:
    saved = datasets.load_from_disk(str(asked.location.folder))
    if isinstance(saved, datasets.DatasetDict):
        wanted = asked.config.split or "train"
        if wanted not in saved:
            raise UserError(f"{asked.key}.split: no {wanted} in {asked.config.path} ({', '.join(saved)})")
        saved = saved[wanted]
    else:
        _refuse_split(asked)
    return saved.to_iterable_dataset() if asked.config.streaming else saved


def _open_hub(asked: _Request) -> AnyDataset:
    revision = asked.config.revision
    rows = datasets.load_dataset(
        asked.config.path,
        asked.config.config,
        split=asked.config.split or "train",
        revision=revision,
        streaming=asked.config.streaming,
    )
    files = [] if asked.config.streaming else [Path(file["filename"]) for file in rows.cache_files]
    # Without a network the library takes whatever it has kept of the data set last; its folders are called by commit.
    if revision and _COMMIT.fullmatch(revision) and any(revision not in file.parts for file in files):
        raise ConnectionError(f"the cache holds another revision of {asked.config.path} than {revision}")
    return rows


_OPENERS: dict[str, Callable[[_Request], AnyDataset]] = {
    "csv": _open_csv,
    "jsonl": _open_files,
    "parquet": _open_files,
    "text": _open_text,
    "webdataset": _open_files,
    "imagefolder": _open_imagefolder,
    "pairs": _open_pairs,
    "saved": _open_saved,
    "hub": _open_hub,
}


def _load(builder: str, asked: _Request, **options: Any) -> AnyDataset:
    files = [glob.escape(str(file.resolve())) for file in asked.location.files] or list(asked.location.addresses)
    return datasets.load_dataset(
        builder, data_files={"train": files}, split="train", streaming=asked.config.streaming, **options
    )


def _refuse_split(asked: _Request) -> None:
    if asked.config.split is not None:
        raise UserError(f"{asked.key}.split: {asked.config.path} has no splits, so split must be left out")


def _undecoded(dataset: AnyDataset) -> AnyDataset:
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.decode(False)
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Image) and feature.decode:
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset


def _limited(dataset: AnyDataset, limit: int | None) -> AnyDataset:
    if limit is None:
        return dataset
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.take(limit)
    return dataset.select(range(min(limit, len(dataset))))


def _column_names(dataset: AnyDataset) -> tuple[str, ...]:
    """Return the columns; of a stream that does not say, those of its first row. Empty when there is no row."""
    names = dataset.column_names
    if names is None:
        names = next(iter(dataset), {}).keys()
    return tuple(names)


def _image_root(config: SourceConfig, location: Location) -> Path | None:
    if config.image_root is not None:
        return Path(config.image_root).expanduser().resolve()
    folders = {file.resolve().parent for file in location.files}
    # Of files in several folders nobody can tell which one a row is from; their paths have to say it all.
    return folders.pop() if location.format in ("csv", "jsonl", "parquet") and len(folders) == 1 else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's progress bars and its own words about errors off while a source is opened."""
    had_bars, verbosity = not datasets.are_progress_bars_disabled(), datasets.utils.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.utils.logging.set_verbosity(verbosity)
        if had_bars:
            datasets.enable_progress_bars()


@contextmanager
def reading(key: str, path: str, file_format: str) -> Iterator[None]:
    """Turn whatever a reader raises about the user's data into one message.

    Raises:
        UserError: for any exception of the block; an UnreachableError where it is the way to the hub that fails.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the readers of a dozen formats, and the Hub's client, share no base class
        if file_format == "hub":
            hint = missing_path(path, key)
            kind = UnreachableError if isinstance(error, ConnectionError) else UserError
            raise kind(f"{hint} Nor can it be had from the Hub: {_one_line(error)}") from error
        cause = _root_cause(error)
        if "corresponds to no data" in cause:
            raise UserError(f"{key}.path: {path} holds no rows") from error
        hint = "; a field that holds the delimiter must stand in quotes" if "Expected" in cause else ""
        raise UserError(f"{key}.path: cannot read {path} as {file_format}: {cause}{hint}") from error


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
