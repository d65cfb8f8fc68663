"""Exporting a model: written aside, opened again, described, and only then put in its place."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import mmcl
from mmcl.errors import RunError, UserError
from mmcl.export.card import ModelCardFacts, write_card
from mmcl.export.forms import Form, form_of, write_form
from mmcl.export.to_open_clip import as_open_clip_crops
from mmcl.export.verify import FormCheck, verify_export
from mmcl.model import TwoTower
from mmcl.towers.description import is_saved


@dataclass(frozen=True)
class ExportReport:
    """What was exported.

    Attributes:
        folder: where it is.
        form: what it looks like: ``joint``, ``dual_encoder``, ``router``, ``open_clip``, ``single`` or ``static``.
        checks: the ways to open it, with their outcomes.
    """

    folder: Path
    form: Form
    checks: tuple[FormCheck, ...]

    @property
    def failures(self) -> tuple[FormCheck, ...]:
        """The ways that were tried and did not hold."""
        return tuple(check for check in self.checks if not check.holds and not check.was_skipped)


def export_model(
    model: TwoTower, folder: Path, card: ModelCardFacts, form: Form | None = None, must_hold: bool = False
) -> ExportReport:
    """Write a model so that it opens without this package, and check that it does.

    The weights of the model and its mode are left as they are. A way to open it that fails is in the report and in
    the card; the model is written all the same.

    Args:
        model: on any device.
        folder: a new one, an empty one, or an earlier export, which is replaced once the new one is whole.
        card: what the model card says.
        form: by default that of `form_of`; ``open_clip`` converts a model of transformers.
        must_hold: write nothing when a way to open it fails.

    Raises:
        UserError: ``folder`` holds something else, or there is no such form of the model.
        RunError: a way to open it failed, and it ``must_hold``.
    """
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.writing")
    # Left over from an export that was killed.
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        report = _write(model, aside, folder, card, form or form_of(model))
        if must_hold and report.failures:
            raise RunError(f"nothing was written: {'; '.join(map(str, report.failures))}")
        flush(aside)
        _put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return report


def _write(model: TwoTower, aside: Path, folder: Path, card: ModelCardFacts, form: Form) -> ExportReport:
    write_form(model, aside, form).write(aside, mmcl.__version__)
    checks = verify_export(aside, model, form)
    write_card(aside / "README.md", model, form, checks, card)
    return ExportReport(folder, form, checks)


def export_to_open_clip(model: TwoTower, folder: Path, card: ModelCardFacts) -> ExportReport:
    """Write a model as a folder that open_clip opens by ``local-dir:``, and only if it gives the same embeddings there.

    Pictures are cropped as open_clip crops them, here too while the two are compared: where the margin is an odd
    number of pixels, transformers halves it downwards and open_clip to the even pixel.

    Args:
        model: of transformers or of open_clip, pictures and texts both.
        folder: a new one, or an empty one.
        card: what the model card says.

    Raises:
        UserError: open_clip has no form for it.
        RunError: open_clip opens it and gives other embeddings.
    """
    before = model.preprocessing
    if before is None:
        raise UserError("the model has no open_clip form: it embeds texts alone")
    model.preprocessing = as_open_clip_crops(before)
    try:
        return export_model(model, folder, card, "open_clip", must_hold=True)
    finally:
        model.preprocessing = before


def check_is_new(folder: Path) -> None:
    """Make sure that an export on the command line replaces nothing.

    Raises:
        UserError: something is there that is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output: {folder} already holds something; give a new folder")


def _check_replaceable(folder: Path) -> None:
    if not folder.exists() or is_saved(str(folder)) or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise UserError(f"{folder} holds something that is not an exported model; give a new folder, or empty this one")


def flush(folder: Path) -> None:
    """Bring a folder and all that is in it to the disk."""
    for path in [folder, *folder.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _put_in_place(aside: Path, folder: Path) -> None:
    """Rename; the earlier export goes only when the new one is there."""
    earlier = folder.with_name(f".{folder.name}.earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if folder.exists():
        folder.rename(earlier)
    aside.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)
