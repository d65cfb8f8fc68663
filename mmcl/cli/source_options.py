"""The options of commands that look at data which no recipe describes yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from mmcl.recipe_data import ColumnsConfig, SourceConfig

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="What data.train may be: a file, a folder, a glob, a hub id.")
]
Image = Annotated[str | None, typer.Option(help="Column of the pictures; false for none.")]
Text = Annotated[str | None, typer.Option(help="Column of the captions; false for none.")]
Group = Annotated[str | None, typer.Option(help="Column of the groups; false makes every row one of its own.")]
Label = Annotated[str | None, typer.Option(help="Column of the classes; false for none.")]
Split = Annotated[str | None, typer.Option(help="Split of the data.")]
Config = Annotated[str | None, typer.Option(help="Configuration of a hub data set.")]
Format = Annotated[
    str | None, typer.Option("--format", help="How to read the data; by default told by suffix or content.")
]
Delimiter = Annotated[str | None, typer.Option(help="What separates csv columns.")]
ColumnNames = Annotated[
    str | None, typer.Option(help="Names, with commas between them, of a csv file without a line of names.")
]
ImageRoot = Annotated[str | None, typer.Option(help="Folder that relative paths of pictures start from.")]
Model = Annotated[
    str | None, typer.Option(help="Whose tokenizer counts the captions: a hub id, a folder, a run, ARCH,TAG.")
]
MaxUnreadable = Annotated[
    float, typer.Option(min=0, max=1, help="Share of rows that cannot be used above which a run stops.")
]
DEFAULT_MAX_UNREADABLE = 0.01


def columns_given(
    image: str | None, text: str | None, group: str | None, label: str | None, positive: str | None = None
) -> ColumnsConfig:
    """Return the columns that were named; ``false`` is none, as in a recipe."""
    from mmcl.recipe_data import ColumnsConfig

    named = {"image": image, "text": text, "group": group, "label": label, "positive": positive}
    return ColumnsConfig.model_validate(
        {role: False if name == "false" else name for role, name in named.items() if name is not None}
    )


def source_given(
    path: str,
    split: str | None = None,
    config: str | None = None,
    file_format: str | None = None,
    delimiter: str | None = None,
    image_root: str | None = None,
    limit: int | None = None,
    column_names: str | None = None,
) -> SourceConfig:
    """Return a source as the options describe it.

    Raises:
        UserError: a format that there is not, or names of columns that are empty or equal.
    """
    from mmcl.errors import UserError, did_you_mean
    from mmcl.recipe_data import SourceConfig

    known = get_args(SourceConfig.model_fields["format"].annotation)
    if file_format is not None and file_format not in known:
        near = did_you_mean(file_format, known)
        raise UserError(f'--format: unknown format "{file_format}" (known: {", ".join(known)}).{near}')
    given = {"split": split, "config": config, "format": file_format, "delimiter": delimiter, "image_root": image_root}
    named: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if column_names is not None:
        names = named["column_names"] = [name.strip() for name in column_names.split(",")]
        if not all(names) or len(set(names)) < len(names):
            raise UserError(f"--column-names: must be names, one for each column, all different, got {column_names}")
    return SourceConfig.model_validate({"path": path, "limit": limit, **named})


@contextmanager
def own_words() -> Iterator[None]:
    """Name these options where a mistake names the recipe's keys."""
    from mmcl.errors import UserError

    try:
        yield
    except UserError as error:
        raise UserError(in_own_words(str(error))) from error


def in_own_words(message: str) -> str:
    """Return a message with options in the place of keys: ``--image-root`` for ``data.train.image_root``."""
    message = re.sub(r"^data\.train(\.path)?(?=:)", "DATA", message)
    message = message.replace("--held-out.path:", "--held-out:").replace("--held-out.split:", "--held-out-split:")
    message = re.sub(rf"(?:data\.train|data\.columns|--held-out|--held-out: columns)\.({_KEYS})\b", _as_option, message)
    return re.sub(r"^data\.(max_unreadable)(?=:)", _as_option, message)


_KEYS = "image|text|positive|group|label|split|config|format|delimiter|column_names|image_root"


def _as_option(match: re.Match[str]) -> str:
    return "--" + match[1].replace("_", "-")
