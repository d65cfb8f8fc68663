"""``mmcl data mine``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli import source_options as options

if TYPE_CHECKING:
    from mmcl.vectors.mine import MineReport

DEFAULT_RELATIVE_MARGIN = 0.05


def mine(
    data: options.Data,
    model: Annotated[
        str, typer.Option("--model", "-m", help='Whose mistakes to look for: a run, a folder, a hub id, "ARCH,TAG".')
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file for the rows and their negatives.")],
    anchor: Annotated[
        str | None, typer.Option(help="What looks for negatives: image or text; by default pictures where there are.")
    ] = None,
    num_negatives: Annotated[int, typer.Option(help="Negatives of each row, at the most.")] = 3,
    margin: Annotated[
        float | None, typer.Option(help="Drop candidates that score above the row's own caption less this.")
    ] = None,
    relative_margin: Annotated[
        float | None,
        typer.Option(help=f"The same as a share of that score; {DEFAULT_RELATIVE_MARGIN} where no margin is given."),
    ] = None,
    range_min: Annotated[int, typer.Option(help="Pass over so many of the nearest candidates.")] = 0,
    range_max: Annotated[int, typer.Option(help="Look no further than so many of the nearest candidates.")] = 100,
    image: options.Image = None,
    text: options.Text = None,
    positive: Annotated[str | None, typer.Option(help="Column of the positives of texts.")] = None,
    group: options.Group = None,
    split: options.Split = None,
    config: options.Config = None,
    file_format: options.Format = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
    image_root: options.ImageRoot = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many rows only.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures or texts encoded at a time.")] = 64,
) -> None:
    """Find hard negatives for each row: the captions of other groups that a model takes most easily for its own.

    Candidates nearly as near as the row's own caption are dropped, for they are likely true of it as well.
    """
    from mmcl.cli.embed import RowProgress
    from mmcl.embedder import load
    from mmcl.errors import writing
    from mmcl.vectors.mine import mine_rows
    from mmcl.vectors.nearest_others import Choice

    if margin is None and relative_margin is None:
        relative_margin = DEFAULT_RELATIVE_MARGIN
    choice = Choice(num_negatives, margin, relative_margin, range_min, range_max)
    source = options.source_given(data, split, config, file_format, delimiter, image_root, limit, column_names)
    columns = options.columns_given(image, text, group, None, positive)
    embedder = load(model, batch_size=batch_size)
    with options.own_words(), writing(output):
        report = mine_rows(
            embedder, source, output, columns=columns, anchor=anchor, choice=choice, progress=RowProgress()
        )
    for line in _lines(report):
        typer.echo(line)


def _lines(report: MineReport) -> Iterator[str]:
    counts = ", ".join(f"{count:,} rows have {number}" for number, count in report.num_with.items())
    left_out = f"; {report.num_left_out:,} could not be compared" if report.num_left_out else ""
    yield f"negatives   {counts}{left_out}"
    yield f"dropped     {report.num_too_near:,} candidates by the margin, {report.num_of_group:,} as of the row's group"
    if 2 * report.num_with.get(0, 0) > report.num_rows:
        yield (
            "warning: most rows have no negative. Where the margin dropped them, the model hardly tells a row's own"
            " caption from others: mine with one that does, or with a smaller --relative-margin"
        )
    if report.replaces:
        yield "replaced    the column negatives that the data had"
    if report.image_root is not None:
        yield f"pictures    relative paths start from {report.image_root}: give it as data.train.image_root"
    yield f"{report.output}: {report.num_rows:,} rows"
