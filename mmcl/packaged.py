"""Where the recipes and tokenizers that come with mmcl are."""

from __future__ import annotations

from pathlib import Path


def packaged_folder(name: str) -> Path:
    """Return the folder of the packaged ``"recipes"`` or ``"tokenizers"``.

    It is inside the installed package, or beside it in a clone of the repository.
    """
    package = Path(__file__).resolve().parent
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name
