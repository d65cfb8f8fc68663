"""The sources that rows are learnt from, one or several: opened, looked at and drawn from as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcl.data.columns import Roles, training_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.labels import UNKNOWN, index_labels
from mmcl.data.mixed_reader import MixedReader
from mmcl.data.needs import RowNeeds
from mmcl.data.row_reader import RowReader
from mmcl.data.sampler import EpochPlan
from mmcl.data.scan import BoolArray, RowScan, scan_rows
from mmcl.data.shared_texts import TextKeys
from mmcl.data.sources import Source, open_source
from mmcl.data.stratified import StratifiedPlan, shares_of
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, DataConfig, SourceConfig


@dataclass(frozen=True)
class TrainSource:
    """A source that rows are learnt from.

    Attributes:
        config: what the recipe says of it.
        source: the same, opened.
        columns: which column plays which role, as the recipe says.
        columns_key: where it says so.
        roles: the columns.
        reader: of the parts of a row that the objectives need.
        first: sample id of its first row.
        scope: of its groups, as `group_id` takes it.
        weight: its share of a batch, relative to others; None by its rows.
        is_replay: it is neither held out nor judged by.
    """

    config: SourceConfig
    source: Source
    columns: ColumnsConfig
    columns_key: str
    roles: Roles
    reader: RowReader
    first: int = 0
    scope: str = ""
    weight: float | None = None
    is_replay: bool = False

    def own(self, positions: Int64Array) -> Int64Array:
        """Return those of some sample ids that are of this source, as positions in it."""
        is_own = (positions >= self.first) & (positions < self.first + self.reader.num_rows)
        return positions[is_own] - self.first

    def slice(self, of_all: NDArray[Any]) -> NDArray[Any]:
        """Return the part of an array over all sample ids that is of this source."""
        return of_all[self.first : self.first + self.reader.num_rows]


def open_train_sources(data: DataConfig, needs: RowNeeds, parts: Sequence[str]) -> tuple[TrainSource, ...]:
    """Open what a recipe learns from, and find the columns.

    Of several sources each needs the columns of one objective only.

    Args:
        data: of the recipe.
        needs: of its objectives.
        parts: of a row that are read.

    Raises:
        UserError: for whatever is wrong with a source or its columns.
    """
    if not isinstance(data.train, tuple):
        source = open_source(data.train, "data.train")
        roles = training_roles(source, data, data.columns, needs.reasons, num_negatives=needs.num_negatives)
        reader = RowReader(source, roles, parts)
        return (TrainSource(data.train, source, data.columns, "data.columns", roles, reader),)
    found = _told_apart([open_source(config, f"data.train.{number}") for number, config in enumerate(data.train)])
    sources: list[TrainSource] = []
    for number, (config, source) in enumerate(zip(data.train, found, strict=True)):
        columns = config.columns or data.columns
        key = "data.columns" if config.columns is None else f"{source.key}.columns"
        roles = training_roles(source, data, columns, needs.reasons, key, needs.num_negatives, may_lack=True)
        sources.append(
            TrainSource(
                config,
                source,
                columns,
                key,
                roles,
                RowReader(source, roles, parts),
                first=sum(each.reader.num_rows for each in sources),
                # Ids of groups in one source say nothing of those in another. The first's are those it has alone.
                scope=f"source {number}: " if number else "",
                weight=config.weight,
                is_replay=config.replay,
            )
        )
    _check_columns(data, sources, needs)
    return tuple(sources)


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Give sources of equal names others, so that a row in quarantine can be found."""
    counts = Counter(source.name for source in sources)
    return [
        replace(source, name=f"{source.name} ({source.key})") if counts[source.name] > 1 else source
        for source in sources
    ]


def _check_columns(data: DataConfig, sources: Sequence[TrainSource], needs: RowNeeds) -> None:
    for role in needs.reasons:
        # Captions may be made of the label, where no column holds any.
        if not any(each.roles.column_of("text.0") if role == "text" else getattr(each.roles, role) for each in sources):
            first = sources[0]
            training_roles(first.source, data, first.columns, needs.reasons, first.columns_key, needs.num_negatives)
    for each in sources:
        if needs.wanted and not needs.is_usable(each.reader.columns.keys()):
            raise UserError(
                f"{each.source.key}: {each.source.name} has not the columns of any objective "
                f"({each.roles.described() or 'none found'}); name them in {each.source.key}.columns, or leave it out"
            )


def reader_of(sources: Sequence[TrainSource]) -> RowReader:
    """Return a reader of all sources' rows by sample id."""
    return sources[0].reader if len(sources) == 1 else MixedReader([each.reader for each in sources])


def scan_sources(sources: Sequence[TrainSource], needs: RowNeeds, num_bytes: int | None) -> RowScan:
    """Look at the rows of all sources, as `scan_rows` does at those of one.

    Rows in ``unusable`` are named by their position in their own source.
    """
    scans = [scan_rows(each.source, each.roles, needs, each.columns_key, num_bytes, each.scope) for each in sources]
    if len(scans) == 1:
        return scans[0]
    return RowScan(
        group_ids=np.concatenate([scan.group_ids for scan in scans]),
        split_ids=np.concatenate([scan.split_ids for scan in scans]),
        has={part: np.concatenate([scan.has[part] for scan in scans]) for part in scans[0].has},
        is_usable=np.concatenate([scan.is_usable for scan in scans]),
        optional=needs.optional,
        unusable=[record for scan in scans for record in scan.unusable],
        long_captions=[caption for scan in scans for caption in scan.long_captions],
        num_long_captions=sum(scan.num_long_captions for scan in scans),
        num_captions=sum(scan.num_captions for scan in scans),
        texts=TextKeys.joined([(scan.texts, each.first) for scan, each in zip(scans, sources, strict=True)]),
    )


def index_all_labels(sources: Sequence[TrainSource]) -> tuple[Int64Array | None, tuple[str, ...]]:
    """Read the labels of all sources, as `index_labels` does those of one. Classes of equal names are one class; those
    of the first source keep their indices, and what others have besides comes after."""
    found = [index_labels(each.source, each.roles) for each in sources]
    if len(found) == 1 or all(labels is None for labels, _ in found):
        return found[0]
    classes = tuple(dict.fromkeys(name for _, names in found for name in names))
    index_of = {name: index for index, name in enumerate(classes)}
    joined = []
    for each, (labels, names) in zip(sources, found, strict=True):
        if labels is None:
            labels = np.full(each.reader.num_rows, UNKNOWN, dtype=np.int64)
        # -1, which stands for no label, picks the last.
        joined.append(np.array([*(index_of[name] for name in names), UNKNOWN], dtype=np.int64)[labels])
    return np.concatenate(joined), classes


def of_replay(sources: Sequence[TrainSource]) -> BoolArray:
    """Return ``(N,)`` bool by sample id: which rows are of a source that is replayed."""
    return np.repeat([each.is_replay for each in sources], [each.reader.num_rows for each in sources])


def plan_mixture(
    sources: Sequence[TrainSource], positions: Int64Array, group_ids: Int64Array, batch_size: int, seed: int
) -> StratifiedPlan | None:
    """Plan batches of which each source has the share that its weight says; None where no weight says anything.

    Args:
        sources: of which those without a weight are one stratum, of weight 1, and each of the others is one.
        positions: ``(N,)`` int64 sample ids of the rows to learn from.
        group_ids: ``(N,)`` int64 groups of those rows.
        batch_size: rows per batch, over all processes.
        seed: of the order.

    Raises:
        UserError: a source has less than one row of a batch, or fewer rows than that.
    """
    strata = _strata(sources)
    if len(strata) == 1:
        return None
    rows = [_is_of(stratum, positions) for stratum in strata]
    per_batch = shares_of([stratum[0].weight or 1.0 for stratum in strata], batch_size)
    for stratum, chosen, number in zip(strata, rows, per_batch, strict=True):
        key, name = stratum[0].source.key, " + ".join(each.source.name for each in stratum)
        if not number:
            raise UserError(
                f"{key}: the share of {name} is less than one of the {batch_size:,} rows of a batch; "
                "change the weights, or set a larger batch_size"
            )
        if (num_rows := int(chosen.sum())) < number:
            raise UserError(
                f"{key}: {name} has {num_rows:,} rows to learn from, and its share is {number:,} of the "
                f"{batch_size:,} rows of a batch, in which no row comes twice; change the weights, or set a smaller "
                "batch_size"
            )
    has_say = [not stratum[0].is_replay for stratum in strata]
    return StratifiedPlan.build(group_ids, rows, per_batch, seed, has_say)


def describe_sources(
    sources: Sequence[TrainSource], positions: Int64Array, plan: EpochPlan | StratifiedPlan
) -> tuple[str, ...]:
    """Return a line for each source: its rows and columns and, of several, its share and how often an epoch sees it."""
    if len(sources) == 1:
        (one,) = sources
        return (f"{one.reader.num_rows:,} rows of {one.source.name}   {one.roles.described()}",)
    strata = _strata(sources)
    per_batch: tuple[int, ...] = (plan.batch_size,)
    if len(strata) > 1 and isinstance(plan, StratifiedPlan):
        per_batch = plan.per_batch
    lines = []
    for each in sources:
        stratum, number = next((one, number) for one, number in zip(strata, per_batch, strict=True) if each in one)
        num_rows, num_all = len(each.own(positions)), int(_is_of(stratum, positions).sum())
        share = f"{number:,}" if len(stratum) == 1 else f"about {number * num_rows / max(num_all, 1):.1f}"
        times = plan.steps_per_epoch * number / max(num_all, 1)
        said = f"{times:.2f}" if times >= 0.01 else f"{times:.1g}"
        lines.append(
            f"{each.reader.num_rows:,} rows of {each.source.name}   {each.roles.described()}   "
            f"{share} of the {plan.batch_size:,} in every batch, each {said} times an epoch"
            + ("   replay" if each.is_replay else "")
        )
    return tuple(lines)


def _strata(sources: Sequence[TrainSource]) -> list[list[TrainSource]]:
    """Return the sources without a weight together, where there are any, and each of the others by itself."""
    pool = [each for each in sources if each.weight is None]
    return [*([pool] if pool else []), *([each] for each in sources if each.weight is not None)]


def _is_of(stratum: Sequence[TrainSource], positions: Int64Array) -> BoolArray:
    ranges = ((each.first, each.first + each.reader.num_rows) for each in stratum)
    return np.logical_or.reduce([(positions >= first) & (positions < end) for first, end in ranges])
