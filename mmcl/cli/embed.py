"""``mmcl embed``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli import source_options as options

if TYPE_CHECKING:
    from mmcl.vectors import Dtype, EmbedReport

INTERVAL_S = 15.0
"""Seconds between two lines of progress."""


def embed(
    model: Annotated[str, typer.Argument(help='A run, a model folder, a Hugging Face id, or open_clip\'s "ARCH,TAG".')],
    data: Annotated[str, typer.Argument(help="glyphs, digits, a file, a folder, a glob, or a hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file for ids and vectors.")],
    what: Annotated[str | None, typer.Option(help="image or text; to be said where model and data have both.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of the pictures.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the texts.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column that names the rows; by default they are counted from 0.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Name of the model's prompt that goes before every text, such as query.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="What separates csv columns.")] = None,
    column_names: options.ColumnNames = None,
    image_root: Annotated[str | None, typer.Option(help="Folder that relative image paths start from.")] = None,
    dim: Annotated[int | None, typer.Option(help="Keep the first so many dimensions, at unit norm.")] = None,
    dtype: Annotated[str, typer.Option(help="Type of the numbers: fp32, fp16 or int8.")] = "fp32",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many rows.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures or texts encoded at a time.")] = 64,
) -> None:
    """Embed every row of a data set into a parquet file of ids and unit vectors; a second call goes on."""
    from mmcl.embedder import load
    from mmcl.errors import writing
    from mmcl.recipe_data import ColumnsConfig
    from mmcl.vectors import embed_rows

    source = options.source_given(
        data, split, delimiter=delimiter, image_root=image_root, limit=limit, column_names=column_names
    )
    embedder = load(model, batch_size=batch_size)
    typed: Dtype = dtype  # type: ignore[assignment]  # checked by embed_rows
    with _own_words(), _saying_how_to_go_on(), writing(output):
        report = embed_rows(
            embedder,
            source,
            output,
            columns=ColumnsConfig(image=image, text=text),
            what=what,
            id_column=id_column,
            prompt=prompt,
            dim=dim,
            dtype=typed,
            progress=RowProgress(),
        )
    for line in _lines(report, dtype):
        typer.echo(line)


def _lines(report: EmbedReport, dtype: str) -> Iterator[str]:
    if report.dim_recall is not None:
        yield f"fewer dimensions: {report.dim_recall} against all of them"
    if report.dtype_recall is not None:
        yield f"{dtype}: {report.dtype_recall} against float32"
    if report.num_left_out:
        yield f"{report.num_left_out:,} of {report.num_rows:,} rows cannot be embedded: {report.quarantine}"
    there = "was there already, " if report.was_there else ""
    yield f"{report.output}: {there}{report.num_vectors:,} vectors of {report.num_rows:,} rows"


class RowProgress:
    """Says at the start what an earlier call has done, and then now and again how far this one is."""

    def __init__(self) -> None:
        self.last_s: float | None = None

    def __call__(self, num_done: int, num_rows: int) -> None:
        now_s = time.monotonic()
        if self.last_s is None:
            self.last_s = now_s
            if num_done:
                typer.echo(f"going on: {num_done:,} of {num_rows:,} rows were done", err=True)
        elif now_s - self.last_s >= INTERVAL_S:
            self.last_s = now_s
            typer.echo(f"{num_done:,} of {num_rows:,} rows", err=True)


@contextmanager
def _saying_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on", err=True)
        raise


@contextmanager
def _own_words() -> Iterator[None]:
    """Name this command's arguments where a mistake names the recipe's keys."""
    from mmcl.errors import UserError

    try:
        yield
    except UserError as error:
        message = re.sub(r"\bdata(?:\.path)?(?=: )", "DATA", str(error))
        message = re.sub(r"\bdata\.columns\.(?=image|text)", "--", message)
        message = re.sub(r"\bdata\.(?=split|delimiter|limit)", "--", message).replace("data.image_root", "--image-root")
        raise UserError(message.replace("data.column_names", "--column-names")) from error
