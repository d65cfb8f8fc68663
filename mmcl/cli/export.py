"""``mmcl export``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmcl.model import TwoTower

FORMS = ("open_clip", "onnx")


def export(
    model: Annotated[str, typer.Argument(help='A run, a model folder, a Hugging Face id, or open_clip\'s "ARCH,TAG".')],
    to: Annotated[str, typer.Option(help="open_clip or onnx.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
) -> None:
    """Write a model in the form of another library, open it there, and compare; what differs is not kept."""
    from mmcl.embedder import load
    from mmcl.errors import UserError, did_you_mean, writing
    from mmcl.export import check_is_new

    if to not in FORMS:
        raise UserError(f"--to must be {' or '.join(FORMS)}, got {to}.{did_you_mean(to, FORMS)}")
    check_is_new(output)
    if to == "onnx":
        from mmcl.export.to_onnx import check_onnx_is_installed

        check_onnx_is_installed()
    loaded = load(model, "cpu").model
    with writing(output):
        for line in _to_onnx(loaded, model, output) if to == "onnx" else _to_open_clip(loaded, model, output):
            typer.echo(line)
    typer.echo(f"{output}: {to}")


def _to_open_clip(model: TwoTower, name: str, output: Path) -> Iterator[str]:
    from mmcl.export import ModelCardFacts, export_to_open_clip, hub_ids

    how = f"Converted from `{name}`; its own card says what it learnt from."
    facts = ModelCardFacts(output.resolve().name, how, base_models=hub_ids([name]))
    yield from map(str, export_to_open_clip(model, output, facts).checks)
    yield from _notes(model)


def _to_onnx(model: TwoTower, name: str, output: Path) -> Iterator[str]:
    from mmcl.export.to_onnx import export_to_onnx

    yield str(export_to_onnx(model, output, name).check)


def _notes(model: TwoTower) -> Iterator[str]:
    pixels = model.preprocessing
    if pixels is not None and pixels.resize_mode == "shortest" and pixels.crop_rounding == "down":
        yield "open_clip cuts a picture's centre one pixel further where the margin is odd; compared with its cut"
