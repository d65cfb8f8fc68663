"""The texts of files, columns and streams, one after another, and a sample of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from mmcl.data.captions import NO_CAPTION, captions_of
from mmcl.data.columns import hint_at_names
from mmcl.data.sources import Source, open_source, reading
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_data import SourceConfig

STANDARD_INPUT = "-"
_ROWS_AT_A_TIME = 1000


def read_texts(sources: Sequence[SourceConfig], columns: Sequence[str] = (), key: str = "data.train") -> Iterator[str]:
    """Yield the texts of sources, in their order; empty ones are passed over.

    Args:
        sources: opened as they are come to. The path ``-`` is standard input, one text per line, in UTF-8.
        columns: which to take of each source that has them; by default ``text``, or the only one. A cell may hold
            several texts.
        key: what errors begin with.

    Raises:
        UserError: a source cannot be read, has none of the columns, or holds something else than texts in them.
    """
    for config in sources:
        if config.path == STANDARD_INPUT:
            yield from islice(_lines_of_standard_input(), config.limit)
            continue
        source = open_source(config, key)
        with reading(key, config.path, "texts"):
            yield from _texts_in(source, _columns_of(source, columns))


def draw_texts(texts: Iterable[str], num: int | None, seed: int) -> tuple[list[str], int]:
    """Return ``num`` texts, each as likely as any other, in their order, and how many were read; all texts for None.

    They are read once, and no more than ``num`` are held (Vitter's algorithm R, 1985).
    """
    if num is None:
        everything = list(texts)
        return everything, len(everything)
    random_source = random.Random(seed)
    kept: list[tuple[int, str]] = []
    num_read = 0
    for num_read, text in enumerate(texts, start=1):
        if len(kept) < num:
            kept.append((num_read, text))
        elif (place := random_source.randrange(num_read)) < num:
            kept[place] = (num_read, text)
    return [text for _, text in sorted(kept)], num_read


def _lines_of_standard_input() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(f"standard input, line {number}: not UTF-8: {error}") from error
        if text.strip():
            yield text


def _columns_of(source: Source, columns: Sequence[str]) -> list[str]:
    if columns:
        found = [column for column in columns if column in source.columns]
        if not found:
            near = did_you_mean(columns[0], source.columns) or hint_at_names(source)
            asked = " or ".join(f'"{column}"' for column in columns)
            raise UserError(f"{source.key}: no column {asked} in {source.name} ({', '.join(source.columns)}).{near}")
        return found
    if "text" in source.columns:
        return ["text"]
    if len(source.columns) > 1:
        names = ", ".join(source.columns)
        hint = hint_at_names(source)
        raise UserError(f"{source.key}: {source.name} has several columns; name those of the texts ({names}).{hint}")
    return list(source.columns)


def _texts_in(source: Source, columns: list[str]) -> Iterator[str]:
    rows = source.dataset.select_columns(columns)
    position = 0
    for cells in rows.iter(_ROWS_AT_A_TIME):
        for column in columns:
            for number, cell in enumerate(cells[column]):
                yield from _texts_of(cell, source, column, position + number)
        position += len(cells[columns[0]])


def _texts_of(cell: Any, source: Source, column: str, row: int) -> tuple[str, ...]:
    try:
        return captions_of(cell)
    except ValueError as error:
        if str(error) == NO_CAPTION:
            return ()
        raise UserError(f'{source.key}: column "{column}" of {source.name}, row {row}: {error}') from error
