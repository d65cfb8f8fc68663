"""What a path given as data is: which files, and how to read them."""

from __future__ import annotations

import glob
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mmcl.data.benchmark_folder import LAYOUT, is_benchmark_folder
from mmcl.data.benchmark_hub import HubFolder, find_hub_folder
from mmcl.data.benchmark_sets import known_names
from mmcl.data.braces import expand_braces
from mmcl.data.pairs_folder import caption_file, is_picture
from mmcl.errors import UserError, did_you_mean

EMBEDDED = ("glyphs", "digits")

_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".tar": "webdataset",
    ".txt": "text",
}
_REMOTE_FORMATS = ("webdataset", "parquet", "jsonl", "text")
_SAVED_MARKERS = ("state.json", "dataset_dict.json")
_METADATA_NAMES = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
_SPLIT_NAMES = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "testing"})
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_NUM_LOOKED_AT = 2_000  # enough entries of a folder to see what it holds


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Location:
    """Where rows are.

    Attributes:
        format: one of `mmcl.recipe_data.SourceConfig.format`, never ``auto``, or the name of an embedded data set.
        files: what to read, sorted; empty for embedded data sets, the Hub and other machines.
        folder: the folder itself, when one was given.
        addresses: what to read from other machines.
        repository: on the Hub, that holds a folder in CLIP_benchmark's layout.
    """

    format: str
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    addresses: tuple[str, ...] = ()
    repository: HubFolder | None = None


def locate(path: str, file_format: str, split: str | None, key: str) -> Location:
    """Find out what ``path`` is.

    Args:
        path: an embedded data set, a file, a folder, a pattern of files, an address or a pattern of such, or a hub id.
        file_format: ``auto``, or how to read it.
        split: of a folder that has one folder for each split.
        key: where the recipe says so, such as ``data.train``; errors begin with it.

    Raises:
        UserError: nothing is there, or what is there cannot be told.
    """
    if path in EMBEDDED and file_format == "auto":
        return Location(path)
    if file_format == "hub":
        return Location("hub")
    local = Path(path).expanduser()
    if file_format in ("auto", LAYOUT) and ("://" in path or not local.exists()):
        repository = find_hub_folder(path, key, file_format)
        if repository is not None:
            return Location(LAYOUT, repository=repository)
    if "://" in path:
        return _locate_remote(path, file_format, key)
    if local.is_file():
        return Location(_format_of([local], file_format, key), (local,))
    if local.is_dir():
        return _locate_folder(local, file_format, split, key)
    patterns = expand_braces(str(local))
    if glob.has_magic(path) or len(patterns) > 1:
        files = [file for pattern in patterns for file in _matches(pattern, key)]
        return Location(_format_of(files, file_format, key), tuple(files))
    if file_format == "auto" and _may_be_hub_id(path):
        return Location("hub")
    raise UserError(missing_path(path, key))


def _matches(pattern: str, key: str) -> list[Path]:
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - pathlib refuses absolute patterns
    files = sorted(Path(match) for match in matches if Path(match).is_file())
    if not files:
        raise UserError(f"{key}.path: no file matches {pattern}")
    return files


def _locate_remote(path: str, file_format: str, key: str) -> Location:
    addresses = expand_braces(path)
    found = _format_of([Path(urlsplit(address).path) for address in addresses], file_format, key)
    if found not in _REMOTE_FORMATS:
        allowed = ", ".join(_REMOTE_FORMATS)
        raise UserError(f"{key}.path: {path} is {found}, and at an address may be only {allowed}; download it first")
    return Location(found, addresses=tuple(addresses))


def missing_path(path: str, key: str) -> str:
    """Return the message for a path that does not exist, with the nearest name that does."""
    local = Path(path).expanduser()
    folder = local.parent
    while not folder.is_dir():
        local, folder = folder, folder.parent
    names = [entry.name for entry in folder.iterdir()]
    if folder == Path():
        names += (*EMBEDDED, *known_names())
    return f"{key}.path: there is no {path}.{did_you_mean(local.name, names)}"


def _may_be_hub_id(path: str) -> bool:
    return _HUB_ID.fullmatch(path) is not None and Path(path).suffix not in _FORMAT_OF_SUFFIX


def _format_of(files: list[Path], file_format: str, key: str) -> str:
    if file_format != "auto":
        if file_format in ("imagefolder", "pairs", "saved", LAYOUT):
            raise UserError(f"{key}.format: {file_format} reads a folder, and {files[0]} is a file")
        return file_format
    formats = {_FORMAT_OF_SUFFIX.get(file.suffix.lower()) for file in files}
    if len(formats) > 1:
        raise UserError(f"{key}.path: it matches files of several kinds ({files[0].name}, ...); name one kind")
    (found,) = formats
    if found is None:
        known = ", ".join(_FORMAT_OF_SUFFIX)
        raise UserError(f"{key}.path: cannot tell how to read {files[0].name}; known are {known}, or set {key}.format")
    return found


def _locate_folder(folder: Path, file_format: str, split: str | None, key: str) -> Location:
    if file_format == "saved" or (file_format == "auto" and any((folder / name).is_file() for name in _SAVED_MARKERS)):
        return Location("saved", folder=folder)
    if file_format == LAYOUT or (file_format == "auto" and is_benchmark_folder(folder)):
        return Location(LAYOUT, folder=folder)
    found = _contents(folder) if file_format == "auto" else file_format
    if found in ("imagefolder", "pairs"):
        return Location(found, folder=_split_folder(folder, split, key))
    if found is None:
        known = ", ".join(_FORMAT_OF_SUFFIX)
        raise UserError(f"{key}.path: {folder} holds neither pictures nor data files ({known})")
    suffixes = [suffix for suffix, name in _FORMAT_OF_SUFFIX.items() if name == found]
    files = sorted(file for suffix in suffixes for file in folder.rglob(f"*{suffix}"))
    if not files:
        raise UserError(f"{key}.path: {folder} holds no {' or '.join(suffixes)} files, which {key}.format asks for")
    if file_format == "auto" and found != "text" and (texts := sorted(folder.rglob("*.txt"))):
        _log.warning(
            "%s is read by its %s files; its %s .txt files are not read, the first is %s (format: text reads those)",
            folder,
            found,
            f"{len(texts):,}",
            texts[0].relative_to(folder),
        )
    return Location(found, tuple(files), folder)


def _contents(folder: Path) -> str | None:
    """Tell a folder by its files: pictures win over data files beside them, for example their metadata.csv, and data
    files over texts, which may be no more than a licence. Pictures are pairs when at least half of them have a caption
    of their own, a text file of the same name, and no metadata says otherwise."""
    found = None
    num_pictures = num_captioned = 0
    for number, file in enumerate(folder.rglob("*")):
        if file.name in _METADATA_NAMES:
            return "imagefolder"
        if is_picture(file):
            num_pictures += 1
            num_captioned += caption_file(file).is_file()
        elif found in (None, "text"):
            found = _FORMAT_OF_SUFFIX.get(file.suffix.lower(), found)
        if number >= _NUM_LOOKED_AT and (found or num_pictures):
            break
    if num_pictures:
        return "pairs" if 2 * num_captioned >= num_pictures else "imagefolder"
    return found


def _split_folder(folder: Path, split: str | None, key: str) -> Path:
    """Return the folder of a split where ``folder`` holds one folder for each, else ``folder``."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    has_files = any(entry.is_file() and not entry.name.startswith(".") for entry in folder.iterdir())
    if has_files or not names or not set(names) <= _SPLIT_NAMES:
        if split is not None:
            raise UserError(f"{key}.split: {folder} has no folders of splits, so split must be left out")
        return folder
    wanted = split or "train"
    if wanted not in names:
        raise UserError(f"{key}.split: no {wanted} in {folder} ({', '.join(names)}).{did_you_mean(wanted, names)}")
    return folder / wanted
