"""Exporting a model: written aside, opened again, described, and only then put in its place."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import mmcl
from mmcl.errors import UserError
from mmcl.export.card import ModelCardFacts, write_card
from mmcl.export.forms import Form, form_of, write_form
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


def export_model(model: TwoTower, folder: Path, card: ModelCardFacts) -> ExportReport:
    """Write a model so that it opens without this package, and check that it does.

    The weights of the model and its mode are left as they are. A way to open it that fails is in the report and in
    the card; the model is written all the same.

    Args:
        model: on any device.
        folder: a new one, an empty one, or an earlier export, which is replaced once the new one is whole.
        card: what the model card says.

    Raises:
        UserError: ``folder`` holds something else.
    """
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.writing")
    # Left over from an export that was killed.
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    form = form_of(model)
    write_form(model, aside, form).write(aside, mmcl.__version__)
    checks = verify_export(aside, model, form)
    write_card(aside / "README.md", model, form, checks, card)
    _flush(aside)
    _put_in_place(aside, folder)
    return ExportReport(folder, form, checks)


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


def _flush(folder: Path) -> None:
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
