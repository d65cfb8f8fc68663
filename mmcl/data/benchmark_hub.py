"""Data sets in CLIP_benchmark's layout on the Hugging Face hub: by name, by id, by address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmcl.data.benchmark_folder import LAYOUT
from mmcl.data.benchmark_sets import repository_of, set_name
from mmcl.errors import UnreachableError, UserError

_ID = r"[\w-][\w.-]*/[\w-][\w.-]*"
_ADDRESSES = (
    re.compile(rf"hf://datasets/(?P<id>{_ID})(?:@(?P<revision>[^/]+))?/?"),
    re.compile(rf"https://huggingface\.co/datasets/(?P<id>{_ID})(?:/tree/(?P<revision>[^/]+))?/?"),
)
_CALLED_SO = re.compile(r"[\w-][\w.-]*/wds_[\w.-]+")


@dataclass(frozen=True)
class HubFolder:
    """A repository in this layout.

    Attributes:
        id: of the repository.
        name: for messages and results.
        revision: that the address names; None for the newest.
    """

    id: str
    name: str
    revision: str | None = None

    def fetch(self, split: str, revision: str | None, key: str) -> Path:
        """Return a folder with the text files and the shards of a split, all of them in the hub's cache.

        Args:
            split: such as ``test``.
            revision: commit, tag or branch; None for what the address names.
            key: where the recipe names it; errors begin with it.

        Raises:
            UserError: there is no such repository, or it is not for everybody.
            UnreachableError: it cannot be had now.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = snapshot_download(
                self.id,
                repo_type="dataset",
                revision=revision or self.revision,
                allow_patterns=["*.txt", f"{split}/*"],
            )
        except Exception as error:  # the Hub's client and what it calls share no base class
            is_away = isinstance(error, (LocalEntryNotFoundError, ConnectionError))
            raise (UnreachableError if is_away else UserError)(
                f"{key}.path: {self.id} cannot be had from the Hub: {' '.join(str(error).split())}"
            ) from error
        return Path(folder)


def find_hub_folder(path: str, key: str, file_format: str = "auto") -> HubFolder | None:
    """Return the repository that a path stands for; None where it is none in this layout.

    Args:
        path: a name of CLIP_benchmark (``wds/vtab/cifar10``, ``vtab/cifar10``), a hub id called ``OWNER/wds_NAME``, or
            the address of a repository, with any revision.
        key: where the recipe says so; errors begin with it.
        file_format: with ``clip_benchmark`` it may be any hub id.

    Raises:
        UserError: ``wds/`` and an unknown name.
    """
    for pattern in _ADDRESSES:
        if match := pattern.fullmatch(path):
            return HubFolder(match["id"], match["id"].rpartition("/")[2], match["revision"])
    try:
        name = set_name(path)
    except UserError as error:
        raise UserError(f"{key}.path: {error}") from None
    if name is not None:
        return HubFolder(repository_of(name), name)
    if _CALLED_SO.fullmatch(path) or (file_format == LAYOUT and re.fullmatch(_ID, path)):
        return HubFolder(path, path.rpartition("/")[2])
    return None
