"""The training rows of a recipe, batch by batch."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmcl.batch import PairBatch
from mmcl.data.captions import RowScan, scan_rows
from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.quarantine import Quarantine
from mmcl.data.rows import BatchBuilder, BatchRequest, BuiltBatch, RowReader
from mmcl.data.sampler import EpochPlan
from mmcl.data.sources import Source, open_source
from mmcl.data.split import is_held_out
from mmcl.data.streams import StreamPlan
from mmcl.data.views import ImageView
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import DataConfig
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.preprocessing import ImagePreprocessing

_NUM_PATHS_CHECKED = 100

_SPARE_TOKENS = 8
"""A token holds a byte of the caption or more, but for the special ones and a leading space. So a caption that has this
many bytes less than the tokenizer's limit has tokens is not cut, and need not be tokenised to know."""


class BatchPlan(Protocol):
    """Says which rows each step needs."""

    def requests(self, start_step: int, rank: int, world_size: int) -> Iterator[BatchRequest]:
        """Yield the requests of one process from ``start_step`` on, without end."""
        ...


@dataclass(frozen=True)
class IndexedPlan:
    """The batches of an indexed source.

    Attributes:
        positions: ``(N,)`` int64 positions in the source of the rows to learn from.
        epochs: which of them make up which batch.
    """

    positions: Int64Array
    epochs: EpochPlan

    def requests(self, start_step: int, rank: int, world_size: int) -> Iterator[BatchRequest]:
        """Yield what each step from ``start_step`` on needs of ``rank``, without end; no earlier row is read."""
        share = self.epochs.batch_size // world_size
        epoch, first = divmod(start_step, self.epochs.steps_per_epoch)
        while True:
            batches = self.epochs.epoch(epoch)
            for number in range(first, len(batches)):
                rows = batches[number, rank * share : (rank + 1) * share]
                step = epoch * len(batches) + number
                yield BatchRequest(step, epoch, self.positions[rows], self.epochs.group_ids[rows])
            epoch, first = epoch + 1, 0


@dataclass(frozen=True)
class TrainData:
    """What a trainer draws its batches from.

    Attributes:
        plan: which rows each step needs.
        builder: makes batches of them.
        batch_size: rows per step, over all processes.
        num_workers: processes that make batches beside this one.
        quarantine: rows that were left out; give it the run's folder before the first batch.
        remarks: one line each for what a user should know about the rows.
        num_rows: rows to learn from; None for a stream.
        num_groups: groups of those rows; None for a stream.
        steps_per_epoch: None for a stream.
        source: the opened source.
        roles: its columns.
        held_out: ``(M,)`` int64 positions in the source of the validation rows.
        group_ids: ``(N,)`` int64 group of every row of the source; empty for a stream.
    """

    plan: BatchPlan
    builder: BatchBuilder
    batch_size: int
    num_workers: int
    quarantine: Quarantine
    remarks: tuple[str, ...]
    num_rows: int | None
    num_groups: int | None
    steps_per_epoch: int | None
    source: Source
    roles: Roles
    held_out: Int64Array
    group_ids: Int64Array

    def fingerprint(self) -> str:
        """Return a hash of which rows are learnt from and how they are grouped; of a stream, of its name alone."""
        digest = hashlib.sha256(self.source.name.encode())
        if isinstance(self.plan, IndexedPlan):
            digest.update(self.plan.positions.tobytes())
            digest.update(self.plan.epochs.group_ids.tobytes())
        return digest.hexdigest()

    def batches(self, start_step: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[PairBatch]:
        """Yield this process's part of every global batch from step ``start_step`` on, without end.

        The parts of all ranks, in rank order, are the batch of a single process, bit for bit, whatever the number of
        workers. A row whose picture cannot be read is left out of its batch, which is then smaller by it, and goes to
        ``quarantine``. Drawing moves no random generator of the caller's.

        Raises:
            UserError: more rows are unreadable than ``data.max_unreadable`` allows, none of a batch is readable, or the
                batch cannot be shared evenly.
        """
        if self.batch_size % world_size:
            raise UserError(f"batch_size: {self.batch_size} cannot be shared evenly by {world_size} processes")
        self.quarantine.open(is_first_process=rank == 0, is_resumed=start_step > 0)
        for built in self._loader(self.plan.requests(start_step, rank, world_size)):
            self.quarantine.add(built.records, built.num_seen)
            if built.batch is None:
                reason = built.records[-1].reason
                raise UserError(f"step {built.step}: none of the {built.num_seen} rows can be read; the last: {reason}")
            yield built.batch

    def _loader(self, requests: Iterator[BatchRequest]) -> DataLoader[BuiltBatch]:
        options: dict[str, Any] = {}
        if self.num_workers:
            options = {"multiprocessing_context": _worker_context(), "worker_init_fn": _start_worker}
        return DataLoader(
            self.builder,
            sampler=requests,  # its items are what __getitem__ is given
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else it draws its base seed from the caller's
            **options,
        )


def build_train_data(recipe: Recipe, preprocessing: ImagePreprocessing, tokenizer: TextTokenizer) -> TrainData:
    """Open the training rows of a recipe, check them, split off the validation rows, and plan the batches.

    Args:
        recipe: the run.
        preprocessing: of the model's image tower.
        tokenizer: of its text tower.

    Raises:
        UserError: for whatever is wrong with the source, its columns, its captions or its size.
    """
    data = recipe.data
    source = open_source(data.train, "data.train")
    roles = resolve_roles(source, data.columns, required=("text",))
    views = [ImageView(config, preprocessing) for config in data.image_views]
    builder = BatchBuilder(RowReader(source, roles), views, tokenizer, recipe.seed, data.max_pixels)
    make = _stream_data if source.is_stream else _indexed_data
    return make(recipe, source, roles, builder)


def _indexed_data(recipe: Recipe, source: Source, roles: Roles, builder: BatchBuilder) -> TrainData:
    data = recipe.data
    check_paths_exist(builder.reader, len(source.dataset))
    longest = builder.tokenizer.max_length - _SPARE_TOKENS
    scan = scan_rows(source, roles, "data.columns.text", num_bytes=longest)
    quarantine = Quarantine(data.max_unreadable, rows_per_epoch=len(scan.group_ids))
    quarantine.hold(scan.unusable, num_seen=len(scan.group_ids))
    is_usable = scan.is_usable
    held_out = np.flatnonzero(is_usable & is_held_out(scan.group_ids, _held_out_share(data)))
    is_usable[held_out] = False
    positions = np.flatnonzero(is_usable)
    epochs = EpochPlan.build(scan.group_ids[positions], recipe.batch_size, recipe.seed, data.unique_groups)
    trained = TrainData(
        plan=IndexedPlan(positions, epochs),
        builder=builder,
        batch_size=recipe.batch_size,
        num_workers=data.num_workers,
        quarantine=quarantine,
        remarks=(),
        num_rows=len(positions),
        num_groups=len(np.unique(epochs.group_ids)),
        steps_per_epoch=epochs.steps_per_epoch,
        source=source,
        roles=roles,
        held_out=held_out,
        group_ids=scan.group_ids,
    )
    return replace(trained, remarks=tuple(_remarks(trained, scan, epochs)))


def _stream_data(recipe: Recipe, source: Source, roles: Roles, builder: BatchBuilder) -> TrainData:
    data = recipe.data
    if _held_out_share(data):
        raise UserError(
            "data.validation: rows cannot be held out of a stream; give data.validation a source of its own, or 0"
        )
    nothing = np.empty(0, dtype=np.int64)
    return TrainData(
        plan=StreamPlan(source, roles, recipe.batch_size, recipe.seed, data.shuffle_buffer, data.unique_groups),
        builder=builder,
        batch_size=recipe.batch_size,
        num_workers=data.num_workers,
        quarantine=Quarantine(data.max_unreadable),
        remarks=(f"{source.name}, a stream   {roles.described()}",),
        num_rows=None,
        num_groups=None,
        steps_per_epoch=None,
        source=source,
        roles=roles,
        held_out=nothing,
        group_ids=nothing,
    )


def check_paths_exist(reader: RowReader, num_rows: int) -> None:
    """Look for the files of some rows spread over a source, so that a wrong folder is found before anything starts.

    Raises:
        UserError: the pictures are files, and none of those looked for is there.
    """
    positions = np.unique(np.linspace(0, num_rows - 1, min(num_rows, _NUM_PATHS_CHECKED)).round().astype(np.int64))
    paths = []
    for row in reader.read(positions):
        value, path = reader.picture(row), reader.path(row)
        has_bytes = isinstance(value, dict) and value.get("bytes") is not None
        if path is None or has_bytes or Path(path).exists():
            return
        paths.append(path)
    key = reader.source.key
    raise UserError(
        f"{key}: none of the {len(paths)} pictures looked for is there, the first {paths[0]}; "
        f"set {key}.image_root to the folder that the paths of {reader.source.name} start from"
    )


def _held_out_share(data: DataConfig) -> float:
    return data.validation if isinstance(data.validation, (int, float)) else 0.0


def _remarks(data: TrainData, scan: RowScan, epochs: EpochPlan) -> Iterator[str]:
    num_rows, num_groups = len(epochs.group_ids), data.num_groups or 0
    yield f"{len(scan.group_ids):,} rows of {data.source.name}   {data.roles.described()}"
    if scan.unusable:
        yield f"{len(scan.unusable):,} rows without a usable caption are left out"
    if len(data.held_out):
        groups = len(np.unique(scan.group_ids[data.held_out]))
        yield f"held out: {len(data.held_out):,} rows of {groups:,} groups"
    if num_groups < num_rows:
        yield f"{num_rows:,} rows to learn from are {num_groups:,} groups; rows of one group are never negatives"
    if (unused := num_rows - epochs.num_drawn) > 0:
        yield f"each epoch leaves out {unused:,} rows, others each time, so that all batches are full"
    if scan.long_captions:
        tokenizer = data.builder.tokenizer
        cut = tokenizer.count_too_long(scan.long_captions) / len(scan.long_captions) * scan.num_long_captions
        if cut:
            share = cut / scan.num_captions
            yield f"{share:.1%} of the captions are longer than {tokenizer.max_length} tokens and are cut"


def _worker_context() -> Any:
    """Return how to start workers: never by a plain fork of this process.

    A fork copies locks that torch's, Arrow's or the tokenizers' threads may hold at that moment, and with them a
    deadlock. A fork server is a clean process, forked from once its imports are done; where there is none, workers
    are started afresh.
    """
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _start_worker(worker: int) -> None:
    # The workers are the parallelism; threads of theirs would only take the trainer's cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # A signal to the whole group is the trainer's business: it saves first, and for that it needs its next batch.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _as_it_is(built: Any) -> Any:
    return built
