"""``mmcl data``: look at rows before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli import source_options as options

if TYPE_CHECKING:
    from mmcl.data.check import DataCheck
    from mmcl.recipe import Recipe

app = typer.Typer(no_args_is_help=True, help="Look at data, and mine it.")

DEFAULT_IMAGE_SIZE = 224  # pixels; of models that are not built to find out their own


@app.callback()
def data() -> None:
    """Look at data, and mine it for hard negatives."""


@app.command()
def preview(
    recipe_or_data: Annotated[
        str, typer.Argument(metavar="RECIPE|DATA", help="A recipe, or what data.train may be: a file, a folder, ...")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example data.columns.text=title.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write; an older one is replaced.")] = (
        Path("sheet.png")
    ),
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows to show.")] = 12,
) -> None:
    """Draw a contact sheet: some rows as the model will see them, augmented, with their texts.

    Of data, columns are guessed where none is named.
    """
    recipe = _load(recipe_or_data, overrides or [])

    from mmcl.data.preview import preview_sheet
    from mmcl.errors import UserError
    from mmcl.towers.preprocessing import ImagePreprocessing

    tower = recipe.model.image
    size = tower.image_size if tower is not None and tower.image_size is not None else DEFAULT_IMAGE_SIZE
    plain = ImagePreprocessing(size, resize_to=None if tower is None else tower.resize_to)
    sheet = preview_sheet(recipe.data, plain, rows, recipe.seed, recipe.chosen_objectives)
    try:
        sheet.save(output, "PNG")
    except OSError as error:
        raise UserError(f"--output: cannot write {output}: {error.strerror}") from error
    shown = f"the plain picture of each row, then each of its views twice, at {size} px"
    if not any("image" in view for objective in recipe.chosen_objectives for view in objective.views):
        shown = "the texts of each row"
    typer.echo(f"{output}: {shown}")


@app.command()
def check(
    data: Annotated[
        str, typer.Argument(metavar="RECIPE|DATA", help="A recipe, or what data.train may be: a file, a folder, ...")
    ],
    held_out: Annotated[
        str | None, typer.Option("--held-out", help="Rows that must not be learnt from: as DATA, with its columns.")
    ] = None,
    held_out_split: Annotated[str | None, typer.Option(help="Split of the held-out rows.")] = None,
    image: options.Image = None,
    text: options.Text = None,
    group: options.Group = None,
    label: options.Label = None,
    model: options.Model = None,
    split: options.Split = None,
    config: options.Config = None,
    file_format: options.Format = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
    image_root: options.ImageRoot = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first so many rows only.")] = None,
    max_unreadable: options.MaxUnreadable = options.DEFAULT_MAX_UNREADABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write all that was found to this JSON file, every row of it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same JSON.")] = False,
) -> None:
    """Guess the columns of data, and find what is unreadable, empty, repeated, too long, or held out and learnt from.

    Of a recipe, each of its training sources is looked at, by the columns that it names; the options are for DATA.
    Every picture is read once. What is found changes the exit code only where a run would stop at it: then it is 2.
    """
    from mmcl.cli.progress import PictureProgress
    from mmcl.data.inspection import compare_to, inspect_data
    from mmcl.errors import UserError

    if _is_recipe(data):
        given = (held_out, held_out_split, image, text, group, label, model)
        read_as = (split, config, file_format, delimiter, column_names)
        is_default = image_root is None and limit is None and max_unreadable == options.DEFAULT_MAX_UNREADABLE
        if any(option is not None for option in (*given, *read_as)) or not is_default:
            raise UserError(f"{data} is a recipe, which says itself what its data is: leave out the options that do")
        _check_sources(_load(data, []), output, as_json)
        return
    source = options.source_given(data, split, config, file_format, delimiter, image_root, limit, column_names)
    columns = options.columns_given(image, text, group, label)
    with options.own_words(), PictureProgress() as progress:
        found = inspect_data(source, columns, model, lambda line: None if as_json else typer.echo(line), progress)
        overlap = None
        if held_out is not None:
            other = options.source_given(
                held_out, held_out_split, None, None, delimiter, image_root, None, column_names
            )
            overlap = compare_to(found, other)
    result = found.check(max_unreadable, overlap)
    _report(result, output, as_json)
    if result.stops_training:
        raise UserError(options.in_own_words(result.stops_training[0]))


def _check_sources(recipe: Recipe, output: Path | None, as_json: bool) -> None:
    from mmcl.cli.progress import PictureProgress
    from mmcl.data.inspection import check_recipe
    from mmcl.errors import UserError

    with PictureProgress() as progress:
        checks = check_recipe(recipe, progress)
    _report(checks, output, as_json)
    for check in checks:
        if check.stops_training:
            raise UserError(check.stops_training[0])


def _report(found: DataCheck | tuple[DataCheck, ...], output: Path | None, as_json: bool) -> None:
    """Print what was found, of a recipe's sources each under its name, and write it where that is asked for."""
    from pydantic import TypeAdapter

    from mmcl.data.check import DataCheck
    from mmcl.data.check_lines import lines_of
    from mmcl.errors import writing

    whole = TypeAdapter(DataCheck | tuple[DataCheck, ...]).dump_json(found, indent=2).decode()
    if output is not None:
        with writing(output):
            output.write_text(whole + "\n", encoding="utf-8")
    if as_json:
        typer.echo(whole)
    elif isinstance(found, tuple):
        typer.echo("\n".join(line for check in found for line in (check.data, *lines_of(check))))
    else:
        typer.echo("\n".join(lines_of(found)))


def _is_recipe(recipe_or_data: str) -> bool:
    from mmcl.recipe_files import list_recipes

    path = Path(recipe_or_data).expanduser()
    is_packaged = recipe_or_data in {recipe.name for recipe in list_recipes()}
    return is_packaged or path.suffix in (".yaml", ".yml") or (path / "recipe.yaml").is_file()


def _load(recipe_or_data: str, overrides: list[str]) -> Recipe:
    """Return the recipe; for data alone the one to fine-tune CLIP by, its columns guessed and said if none is named."""
    from mmcl.data.inspection import with_guessed_columns
    from mmcl.recipe_files import load_recipe

    if _is_recipe(recipe_or_data):
        return load_recipe(recipe_or_data, overrides)
    recipe = load_recipe("clip/finetune", [f"data.train={recipe_or_data}", *overrides])
    guessed = with_guessed_columns(recipe)
    if guessed is not recipe:
        columns = guessed.data.columns.model_dump(exclude_none=True)
        typer.echo("   ".join(f"{role} <- {column}" for role, column in columns.items()))
    return guessed
