"""``mmcl merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help='The pretrained model: a run, a folder, a Hugging Face id, or open_clip\'s "ARCH,TAG".'
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The fine-tuned model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the merged model.")],
    alpha: Annotated[float, typer.Option(help="Share of B, from 0 (A) to 1 (B).")] = 0.5,
) -> None:
    """Interpolate the weights of a model and its fine-tuned copy (WiSE-FT), and export the result."""
    from mmcl import interpolation
    from mmcl.errors import writing
    from mmcl.export import ModelCardFacts, check_is_new, export_model, hub_ids

    check_is_new(output)
    merged = interpolation.merge(a, b, alpha, device="cpu")
    how = (
        f"Not trained but merged: every weight is {1 - alpha:g} times that of `{a}` plus {alpha:g} times that of"
        f" `{b}`, the logarithm of the temperature included (WiSE-FT, arXiv:2109.01903)."
    )
    with writing(output):
        facts = ModelCardFacts(output.resolve().name, how, base_models=hub_ids([a, b]))
        report = export_model(merged.model, output, facts)
    for failure in report.failures:
        typer.echo(f"export: {failure}")
    if interpolation.has_batch_norm(merged.model):
        typer.echo("batch norm: its statistics are averaged too, and are not those of the averaged weights; judge it")
    typer.echo(f"{output}: {merged.name}")
