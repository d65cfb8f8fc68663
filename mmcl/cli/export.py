"""``mmcl export``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmcl.model import TwoTower

FORMS = ("open_clip",)


def export(
    model: Annotated[str, typer.Argument(help='A run, a model folder, a Hugging Face id, or open_clip\'s "ARCH,TAG".')],
    to: Annotated[str, typer.Option(help="open_clip.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
) -> None:
    """Write a model in the form of another library, open it there, and compare; what differs is not kept."""
    from mmcl.embedder import load
    from mmcl.errors import UserError, did_you_mean, writing
    from mmcl.export import ModelCardFacts, check_is_new, export_to_open_clip

    if to not in FORMS:
        raise UserError(f"--to must be {' or '.join(FORMS)}, got {to}.{did_you_mean(to, FORMS)}")
    check_is_new(output)
    loaded = load(model, "cpu").model
    facts = ModelCardFacts(output.resolve().name, f"Converted from `{model}`; its own card says what it learnt from.")
    with writing(output):
        checks = export_to_open_clip(loaded, output, facts).checks
    for check in checks:
        typer.echo(str(check))
    for note in _notes(loaded):
        typer.echo(note)
    typer.echo(f"{output}: {to}")


def _notes(model: TwoTower) -> Iterator[str]:
    pixels = model.preprocessing
    if pixels is not None and pixels.resize_mode == "shortest" and pixels.crop_rounding == "down":
        yield "open_clip cuts a picture's centre one pixel further where the margin is odd; compared with its cut"
