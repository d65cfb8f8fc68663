"""Mining: for each row of a data set the captions of other rows that a model is most likely to take for its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from evaluation.tasks.text_retrieval import DOCUMENT_PROMPTS, QUERY_PROMPTS
from mmcl.data.captions import captions_of, normalise_text
from mmcl.data.cells import Column, read_cells
from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.loader import check_paths_exist
from mmcl.data.row_reader import RowReader
from mmcl.data.scan import group_of
from mmcl.data.sources import Source, open_source
from mmcl.embedder import ModelEmbedder
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.towers.towers import MODALITIES, Modality
from mmcl.vectors.nearest_others import NONE, Choice, Negatives, Own, find_negatives
from mmcl.vectors.parts import written_whole
from mmcl.vectors.rows import RowsToEmbed
from mmcl.vectors.stored import Vectors

COLUMN = "negatives"

_ROWS_AT_A_TIME = 4_096
_SUFFIX = ".parquet"


@dataclass(frozen=True)
class MineReport:
    """What was mined.

    Attributes:
        output: the parquet file: the columns of the source and ``negatives``, a list of texts.
        num_rows: rows of the source, all of them in the file.
        num_left_out: rows without a picture or text that can be embedded, which have no negatives.
        num_with: how many rows have how many negatives.
        num_too_near: candidates that were dropped by the margin.
        num_of_group: candidates that were passed over as captions of the row's group.
        replaces: the source had such a column, which is not in the file.
        image_root: folder that relative paths in the file start from, where the file lies elsewhere; None else.
    """

    output: Path
    num_rows: int
    num_left_out: int
    num_with: Mapping[int, int]
    num_too_near: int
    num_of_group: int
    replaces: bool
    image_root: Path | None


def mine_rows(
    embedder: ModelEmbedder,
    config: SourceConfig,
    output: Path,
    *,
    columns: ColumnsConfig | None = None,
    anchor: str | None = None,
    choice: Choice | None = None,
    progress: Callable[[int, int], None] = lambda num_done, num_rows: None,
) -> MineReport:
    """Write the rows of a data set with the hardest negative captions that a model finds for each.

    Pictures are compared with the captions of all rows, or texts with the positives of all rows; then the model's
    prompts ``query`` and ``document`` go before the two, where it has such. Held in memory are one vector for each row
    and for each different text.

    Args:
        embedder: the model.
        config: the rows.
        output: ends in ``.parquet``; must not be there.
        columns: which column plays which role.
        anchor: ``image`` or ``text``; by default pictures where data and model have them.
        choice: how many negatives, and which.
        progress: told rows done and rows in all while anchors are embedded.

    Raises:
        UserError: for whatever is wrong with the source, when the file is there, or when no negative is found.
    """
    if output.suffix != _SUFFIX:
        raise UserError(f"--output must end in {_SUFFIX}, got {output}")
    if output.exists():
        raise UserError(f"--output: {output} is there already; remove it, or give another --output")
    source = open_source(config)
    roles, what = _settle(source, columns or ColumnsConfig(), embedder, anchor)
    texts = _Texts.of(source, roles, roles.text if what == "image" else roles.positive)
    prompt = _prompt_of(embedder, DOCUMENT_PROMPTS) if what == "text" else None
    candidates = embedder.encode_texts(texts.candidates, prompt)
    rows, anchors = _embed_anchors(embedder, source, roles, what, texts.has_own, progress)
    positives = _scores_of_own(anchors, candidates, [texts.own[row] for row in rows.tolist()])
    found = find_negatives(anchors, positives, candidates, texts.of_groups(rows), choice or Choice())
    negatives: list[list[str]] = [[] for _ in range(len(texts.own))]
    for row, places in zip(rows.tolist(), found.candidates.tolist(), strict=True):
        negatives[row] = [texts.candidates[place] for place in places if place != NONE]
    if not any(negatives):
        raise UserError(
            f"DATA: no row of {source.name} has a hard negative: {found.num_too_near:,} candidates are too near to be "
            "wrong, and there are no others; give a smaller margin, or more rows"
        )
    _write(source, output, negatives)
    return _report(source, roles, output, negatives, len(rows), found)


def _settle(
    source: Source, columns: ColumnsConfig, embedder: ModelEmbedder, anchor: str | None
) -> tuple[Roles, Modality]:
    """Return the columns, and whether pictures or texts look for negatives."""
    if anchor is not None and anchor not in MODALITIES:
        raise UserError(f"--anchor must be image or text, got {anchor}.{did_you_mean(anchor, MODALITIES)}")
    has_pictures = resolve_roles(source, columns).image is not None and "image" in embedder.modalities
    what: Modality = "image" if anchor == "image" or (anchor is None and has_pictures) else "text"
    embedder.model.towers.require(what)
    embedder.model.towers.require("text")
    needed = {"image": ""} if what == "image" else {"positive": "without pictures, pairs of texts are compared"}
    return resolve_roles(source, columns, {"text": "", **needed}), what


def _prompt_of(embedder: ModelEmbedder, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in embedder.prompts), None)


@dataclass(frozen=True)
class _Texts:
    """The texts that negatives are chosen from.

    Attributes:
        candidates: different ones, equal but for case and spaces counted once.
        own: for each row its own candidates; none where it has no text.
        groups: ``(N,)`` int64 of every row.
    """

    candidates: list[str]
    own: list[list[int]]
    groups: Int64Array

    @classmethod
    def of(cls, source: Source, roles: Roles, column: Column | None) -> _Texts:
        """Read them."""
        places: dict[str, int] = {}
        candidates: list[str] = []
        own: list[list[int]] = []
        groups: list[int] = []
        for position, (text, cell, group) in enumerate(read_cells(source, roles.text, column, roles.group)):
            groups.append(group_of(text, group, position, roles))
            own.append([])
            try:
                texts = captions_of(cell)
            except ValueError:
                continue
            for text in texts:
                place = places.setdefault(normalise_text(text), len(candidates))
                if place == len(candidates):
                    candidates.append(text)
                own[-1].append(place)
        return cls(candidates, own, np.array(groups, dtype=np.int64))

    @property
    def has_own(self) -> Int64Array:
        """The rows that have a text."""
        return np.array([row for row, own in enumerate(self.own) if own], dtype=np.int64)

    def of_groups(self, rows: Int64Array) -> Own:
        """Return for some rows the candidates of their groups, which are not their negatives."""
        counts = [len(own) for own in self.own]
        flat = np.fromiter((place for own in self.own for place in own), dtype=np.int64, count=sum(counts))
        pairs = np.unique(np.stack([np.repeat(self.groups, counts), flat], axis=1), axis=0)
        starts, stops = (np.searchsorted(pairs[:, 0], self.groups[rows], side) for side in ("left", "right"))
        return Own(np.ascontiguousarray(pairs[:, 1]), starts, stops)


def _embed_anchors(
    embedder: ModelEmbedder,
    source: Source,
    roles: Roles,
    what: Modality,
    rows: Int64Array,
    progress: Callable[[int, int], None],
) -> tuple[Int64Array, Vectors]:
    """Return which of some rows have an anchor, ``(A,)``, and its vector, ``(A, D)``; of several texts the first's."""
    part = "image" if what == "image" else "text.0"
    reader, column = RowReader(source, roles, (part,)), roles.column_of(part)
    assert column is not None
    if what == "image":
        check_paths_exist(reader, len(source.dataset))
    chosen = replace(source, dataset=source.dataset.select(rows))
    prompt = _prompt_of(embedder, QUERY_PROMPTS) if what == "text" else None
    every = RowsToEmbed(chosen, what, column, None, RowReader(chosen, roles, (part,)), prompt)
    places, vectors = [], []
    progress(0, len(every))
    for start in range(0, len(every), _ROWS_AT_A_TIME):
        stop = min(start + _ROWS_AT_A_TIME, len(every))
        embedded = every.embed(embedder, start, stop)
        ids, first = np.unique(embedded.ids.to_numpy(), return_index=True)
        places.append(rows[ids])
        vectors.append(embedded.vectors[first])
        progress(stop, len(every))
    if not sum(map(len, places)):
        raise UserError(f"DATA: no row of {source.name} has all that is compared")
    return np.concatenate(places), np.concatenate(vectors)


def _scores_of_own(anchors: Vectors, candidates: Vectors, own: list[list[int]]) -> Vectors:
    """Return ``(A,)``, the mean score of each anchor with its own candidates."""
    scores = [float((candidates[places] @ anchor).mean()) for anchor, places in zip(anchors, own, strict=True)]
    return np.array(scores, dtype=np.float32)


def _write(source: Source, output: Path, negatives: list[list[str]]) -> None:
    """Write the rows as they are, with their negatives."""
    kept = [name for name in source.columns if name != COLUMN]
    rows = source.dataset.select_columns(kept)
    features: dict[str, Any] = {**rows.features, COLUMN: [datasets.Value("string")]}
    schema = datasets.Features(features).arrow_schema
    rows = rows.with_format("arrow")
    with written_whole(output) as aside, pq.ParquetWriter(aside, schema) as writer:
        for start in range(0, len(negatives), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            column = pa.array(negatives[part], type=schema.field(COLUMN).type)
            writer.write_table(rows[part].append_column(COLUMN, column).cast(schema))


def _report(
    source: Source, roles: Roles, output: Path, negatives: list[list[str]], num_anchors: int, found: Negatives
) -> MineReport:
    num_with = Counter(map(len, negatives))
    num_with[0] -= len(negatives) - num_anchors
    has_paths = roles.image is not None and isinstance(source.dataset[0][roles.image], str)
    is_elsewhere = source.image_root is not None and source.image_root != output.resolve().parent
    return MineReport(
        output,
        num_rows=len(negatives),
        num_left_out=len(negatives) - num_anchors,
        num_with={number: count for number, count in sorted(num_with.items(), reverse=True) if count},
        num_too_near=found.num_too_near,
        num_of_group=found.num_of_group,
        replaces=COLUMN in source.columns,
        image_root=source.image_root if has_paths and is_elsewhere else None,
    )
