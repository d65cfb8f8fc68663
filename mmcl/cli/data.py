"""``mmcl data``: look at rows before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmcl.recipe import Recipe

app = typer.Typer(no_args_is_help=True, help="Look at data.")

DEFAULT_IMAGE_SIZE = 224  # pixels; of models that are not built to find out their own


@app.callback()
def data() -> None:
    """Look at data."""


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
    """Draw a contact sheet: some rows as the model will see them, augmented, with their texts."""
    recipe = _load(recipe_or_data, overrides or [])

    from mmcl.data.preview import preview_sheet
    from mmcl.errors import UserError
    from mmcl.towers.preprocessing import ImagePreprocessing

    tower = recipe.model.image
    size = tower.image_size if tower is not None and tower.image_size is not None else DEFAULT_IMAGE_SIZE
    plain = ImagePreprocessing(size, resize_to=None if tower is None else tower.resize_to)
    sheet = preview_sheet(recipe.data, plain, rows, recipe.seed, recipe.objectives)
    try:
        sheet.save(output, "PNG")
    except OSError as error:
        raise UserError(f"--output: cannot write {output}: {error.strerror}") from error
    shown = f"the plain picture of each row, then each of its views twice, at {size} px"
    if not any("image" in view for objective in recipe.objectives for view in objective.views):
        shown = "the texts of each row"
    typer.echo(f"{output}: {shown}")


def _load(recipe_or_data: str, overrides: list[str]) -> Recipe:
    from mmcl.recipe_files import list_recipes, load_recipe

    path = Path(recipe_or_data).expanduser()
    is_packaged = recipe_or_data in {recipe.name for recipe in list_recipes()}
    if is_packaged or path.suffix in (".yaml", ".yml") or (path / "recipe.yaml").is_file():
        return load_recipe(recipe_or_data, overrides)
    return load_recipe("clip/finetune", [f"data.train={recipe_or_data}", *overrides])
