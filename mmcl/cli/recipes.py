"""``mmcl recipes``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmcl.recipe_files import ListedRecipe

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")


def complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    """Return the packaged recipes that begin with ``incomplete``, with their descriptions, for shell completion."""
    from mmcl.recipe_files import list_recipes

    return [(recipe.name, recipe.description) for recipe in list_recipes() if recipe.name.startswith(incomplete)]


PackagedName = Annotated[
    str, typer.Argument(metavar="NAME", help="A packaged recipe.", autocompletion=complete_recipe, show_default=False)
]
RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A packaged recipe, a .yaml file, or a run folder.",
        autocompletion=complete_recipe,
        show_default=False,
    ),
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example lr=1e-4.")]


@app.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the packaged recipes."""
    from mmcl.recipe_files import list_recipes

    listed = list_recipes()
    if as_json:
        rows = [{"name": one.name, "description": one.description, "needs": one.needs} for one in listed]
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max((len(_command(one)) for one in listed), default=0)
    for one in listed:
        typer.echo(f"{_command(one):{width}}  {one.description}".rstrip())


def _command(recipe: ListedRecipe) -> str:
    """Return what to type after ``mmcl train``."""
    return " ".join([recipe.name, *(f"{need}=..." for need in recipe.needs)])


@app.command()
def show(
    recipe: RecipeName,
    overrides: Overrides = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print it whole: base, overrides and every default written out.")
    ] = False,
) -> None:
    """Print a recipe's file, or with --resolved what a run of it would do."""
    from mmcl.errors import UserError
    from mmcl.recipe_files import dump_recipe, find_recipe, load_recipe

    if resolved:
        typer.echo(dump_recipe(load_recipe(recipe, overrides or [])), nl=False)
    elif overrides:
        raise UserError(f"overrides are shown with --resolved, got {' '.join(overrides)} without")
    else:
        typer.echo(find_recipe(recipe).path.read_text(encoding="utf-8"), nl=False)


@app.command()
def copy(
    name: PackagedName,
    destination: Annotated[
        Path | None, typer.Argument(metavar="[DEST]", help="A file or a folder; by default NAME.yaml here.")
    ] = None,
) -> None:
    """Copy a packaged recipe to a file of your own. An existing file is never overwritten."""
    from mmcl.errors import UserError
    from mmcl.recipe_files import find_recipe

    found = find_recipe(name)
    if not found.is_packaged:
        raise UserError(f"only packaged recipes are copied (mmcl recipes list), got {name}")
    target = destination or Path()
    if target.is_dir():
        target = target / found.path.name
    if target.suffix not in {".yaml", ".yml"}:
        raise UserError(f"a recipe's file ends in .yaml, got {target}")
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(found.path.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UserError(f"{target} exists, and is left as it is; name another file") from None
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from None
    typer.echo(f"wrote {target}\nnext: edit it, then mmcl recipes validate {target}")


@app.command()
def validate(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Check a recipe and its overrides without running it; all mistakes are told at once."""
    from mmcl.recipe_files import load_recipe

    load_recipe(recipe, overrides or [])
    typer.echo(f"{recipe} is valid; mmcl train {recipe} --dry-run checks its model and data too")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipe files, with which an editor completes and checks them.

    Save it, and begin a recipe with the line: # yaml-language-server: $schema=recipe.schema.json
    """
    from mmcl.recipe_files import recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=2))
