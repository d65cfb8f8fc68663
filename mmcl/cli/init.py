"""``mmcl init``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli import source_options as options

if TYPE_CHECKING:
    from mmcl.data.held_out import HeldOut
    from mmcl.data.inspection import Inspection
    from mmcl.recipe_data import SourceConfig
    from mmcl.recipe_draft import Draft

_TABLES = {".csv", ".tsv", ".jsonl", ".parquet"}


def init(
    data: options.Data,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The recipe to write; by default NAME.yaml, after the data.")
    ] = None,
    image: options.Image = None,
    text: options.Text = None,
    group: options.Group = None,
    label: options.Label = None,
    model: Annotated[str | None, typer.Option(help="What to start from: a hub id, a folder, a run, ARCH,TAG.")] = None,
    split: options.Split = None,
    config: options.Config = None,
    file_format: options.Format = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
    image_root: options.ImageRoot = None,
    max_unreadable: options.MaxUnreadable = options.DEFAULT_MAX_UNREADABLE,
) -> None:
    """Look at data, guess its columns, check it, hold out a share of it, and write a short recipe to train by.

    No file is overwritten. A guess that is none, for want of a best column, is an error that names the option to give.
    """
    from mmcl.cli.progress import PictureProgress
    from mmcl.data.check import overlap_within
    from mmcl.data.check_lines import lines_of
    from mmcl.data.held_out import hold_out
    from mmcl.data.inspection import inspect_data
    from mmcl.errors import UserError, writing
    from mmcl.recipe_draft import write_draft

    target = _target(data, output)
    source = options.source_given(data, split, config, file_format, delimiter, image_root, column_names=column_names)
    columns = options.columns_given(image, text, group, label)
    with options.own_words(), PictureProgress() as progress:
        found = inspect_data(source, columns, model, typer.echo, progress)
    if found.unused_columns:
        typer.echo(f"not used: {', '.join(found.unused_columns)}")
    negatives = [name for name in found.unused_columns if name.lower().startswith("negative")]
    if negatives and found.base == "text/pairs":
        typer.echo(f"hard negatives: to learn from them too, set data.columns.negatives=[{','.join(negatives)}]")
    for table in _tables_beside(data) if found.look.roles.text is None else []:
        typer.echo(f"not read: {table}, which lies beside the pictures; mmcl init {shlex.quote(str(table))} reads it")
    held_out = hold_out(found.look)
    check = found.check(max_unreadable, overlap_within(found.look, held_out.rows) if held_out.share else None)
    typer.echo("\n".join([*lines_of(check), held_out.said]))
    if stops := [*check.stops_training, *_stops_judging(found, max_unreadable)]:
        hint = "; mend the rows, or allow so many with --max-unreadable" if "--max-unreadable" not in stops[0] else ""
        raise UserError(f"{options.in_own_words(stops[0])}{hint}. Nothing was written")
    if held_out.num_train_rows < 2:
        raise UserError(f"{found.source.name} has 1 row to learn from, and at least 2 are needed. Nothing was written")
    draft = _draft(found, held_out, source, model, max_unreadable)
    with writing(target), target.open("x", encoding="utf-8") as file:
        file.write(write_draft(draft, str(target)))
    typer.echo(f"\nwrote {target}, based on {found.base}\nnext: mmcl train {shlex.quote(str(target))} --dry-run")


def _target(data: str, output: Path | None) -> Path:
    """Return the file to write, which is not there yet.

    Raises:
        UserError: it is, or is no recipe's name.
    """
    from mmcl.errors import UserError

    if output is None:
        # Of shards/*.tar, the folder is what they are called by.
        named = [part for part in Path(data).expanduser().absolute().parts if not set(part) & set("*?[")]
        stem = Path(named[-1]).stem if len(named) > 1 else "data"
        output = Path(f"{stem.strip('. ') or 'data'}.yaml")
    if output.suffix not in {".yaml", ".yml"}:
        raise UserError(f"--output: a recipe's file ends in .yaml, got {output}")
    if output.exists():
        raise UserError(f"{output} exists, and is left as it is; name another file with --output")
    return output


def _tables_beside(data: str) -> list[Path]:
    """Return the tables in a folder that was read as one of pictures; their captions were not."""
    folder = Path(data).expanduser()
    return sorted(file for file in folder.iterdir() if file.suffix in _TABLES) if folder.is_dir() else []


def _draft(
    found: Inspection, held_out: HeldOut, source: SourceConfig, model: str | None, max_unreadable: float
) -> Draft:
    """Return what the recipe is to say."""
    from mmcl.recipe_draft import Draft

    columns = found.columns
    if columns.text and found.look.unlabelled:  # held-out rows without a label would not be judged
        columns = columns.model_copy(update={"label": False})
    return Draft(
        base=found.base,
        recipe=found.recipe,
        source=source,
        columns=columns,
        has_columns=found.source.columns,
        model=model,
        facts=f"{found.look.num_rows:,} rows of {found.source.name}",
        share=held_out.share,
        held_out=held_out.said,
        num_rows=held_out.num_train_rows,
        max_unreadable=None if max_unreadable == found.recipe.data.max_unreadable else max_unreadable,
    )


def _stops_judging(found: Inspection, max_unreadable: float) -> list[str]:
    """Return why pictures cannot be judged by their labels, if so; held-out rows without one are left out."""
    num_missing = len(found.look.unlabelled)
    if found.look.roles.text is not None or num_missing <= max_unreadable * found.look.num_rows:
        return []
    return [
        f'--label: {num_missing:,} of {found.look.num_rows:,} rows have no "{found.look.roles.label}", more than the '
        f"{max_unreadable:.2%} allowed; fill them in, give a larger --max-unreadable, or learn without: --label false"
    ]
