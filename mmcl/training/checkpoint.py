"""Checkpoints that are either whole or not there.

A checkpoint is a folder written aside, every file flushed to disk, a manifest of SHA-256 sums last, then renamed into
place; older ones go only after that. Tensors are safetensors, everything else is JSON: no pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmcl.errors import RunError, UserError

MANIFEST = "manifest.json"
PREFIX = "step-"
ASIDE = ".writing-"


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on as if it had never stopped.

    Attributes:
        step: optimiser steps done.
        tensors: named tensors by file: ``model``, ``optimizer``, ``average``.
        state: JSON values: counters, the hash of the sample order, optimiser scalars.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Commit a checkpoint to ``folder/step-<n>`` and then remove older ones, so that ``keep`` are left.

    A crash at any moment leaves the earlier checkpoints as they were.

    Raises:
        RunError: when it cannot be written, for example on a full disk.
    """
    try:
        return _commit(folder, checkpoint, keep)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write a checkpoint to {folder}: {error}; earlier ones are kept") from error


def _commit(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{ASIDE}*"):
        shutil.rmtree(leftover)
    aside = folder / f"{ASIDE}{checkpoint.step:08d}"
    aside.mkdir()
    for name, tensors in checkpoint.tensors.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, aside / f"{name}.safetensors")
    state = json.dumps({"step": checkpoint.step, **checkpoint.state}, indent=1, allow_nan=False)
    (aside / "state.json").write_text(state)
    sums = {file.name: _sha256(file) for file in sorted(aside.iterdir())}
    for file in aside.iterdir():
        _flush(file)
    (aside / MANIFEST).write_text(json.dumps(sums, indent=1))
    _flush(aside / MANIFEST)
    _flush(aside)
    target = folder / f"{PREFIX}{checkpoint.step:08d}"
    if target.exists():
        # Only a rotten one can be here: a run that resumes from step n never saves step n again.
        shutil.rmtree(target)
    aside.rename(target)
    _flush(folder)
    # A rotten one of a later step may stand here; it must not push this one out.
    for old in [path for path in _candidates(folder) if path.name < target.name][keep - 1 :]:
        shutil.rmtree(old)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        UserError: when it does not match its manifest; the message names the file.
    """
    fault = find_fault(path)
    if fault:
        raise UserError(f"checkpoint {path} is not whole: {fault}")
    state = json.loads((path / "state.json").read_text())
    tensors = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
    return Checkpoint(step=state.pop("step"), tensors=tensors, state=state)


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint.

    Returns:
        Its path, or None, and one line for each newer one that was skipped and why.
    """
    skipped: list[str] = []
    for candidate in _candidates(folder):
        fault = find_fault(candidate)
        if fault is None:
            return candidate, skipped
        skipped.append(f"skipped checkpoint {candidate}: {fault}")
    return None, skipped


def find_fault(path: Path) -> str | None:
    """Say what is wrong with a checkpoint folder, or return None when it matches its manifest."""
    try:
        sums = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        return f"no readable {MANIFEST}"
    for name, expected in sums.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _sha256(path / name) != expected:
            return f"{name} does not match its SHA-256 sum in {MANIFEST}"
    return None


def _candidates(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted((path for path in folder.glob(f"{PREFIX}*") if path.is_dir()), reverse=True)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Force a file's or a folder's contents to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
