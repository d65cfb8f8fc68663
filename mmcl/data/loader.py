"""The training rows of a recipe, batch by batch."""

from __future__ import annotations

import copy
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmcl.batch import PairBatch
from mmcl.data.hashing import Int64Array
from mmcl.data.mixture import (
    TrainSource,
    describe_sources,
    index_all_labels,
    of_replay,
    open_train_sources,
    plan_mixture,
    reader_of,
    scan_sources,
)
from mmcl.data.needs import RowNeeds
from mmcl.data.plans import BatchPlan, IndexedPlan
from mmcl.data.prompts import check_class_names
from mmcl.data.quarantine import Quarantine
from mmcl.data.remarks import RowFacts, bytes_never_cut, remarks_on
from mmcl.data.row_reader import RowReader
from mmcl.data.rows import BatchBuilder, BatchRequest, BuiltBatch
from mmcl.data.sampler import EpochPlan
from mmcl.data.scan import BoolArray, has_picture
from mmcl.data.split import is_held_out
from mmcl.data.stratified import StratifiedPlan
from mmcl.data.streams import StreamPlan
from mmcl.data.text_prompts import prompts_of_views, remark_on_prompts
from mmcl.data.views import ImageView
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import DataConfig
from mmcl.text.prompts import NO_PROMPTS
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.preprocessing import ImagePreprocessing

_NUM_PATHS_CHECKED = 100


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
        sources: where the rows are from. Rows of several are counted on from one to the next.
        held_out: ``(M,)`` int64 sample ids of the validation rows.
        group_ids: ``(N,)`` int64 group of every row of the sources, as the split has it; empty for a stream.
        is_complete: ``(N,)`` bool: the rows of the sources that have all that any objective needs; empty for a stream.
        is_partial: rows may lack a picture or a text, and every batch says which have it.
        class_names: of the labels, by class index; empty without labels.
        num_source_rows: the range of sample ids; None for a stream.
        paired_per_batch: of every batch, the rows that are complete; None by chance.
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
    sources: tuple[TrainSource, ...]
    held_out: Int64Array
    group_ids: Int64Array
    is_complete: BoolArray
    is_partial: bool = False
    class_names: tuple[str, ...] = ()
    num_source_rows: int | None = None
    paired_per_batch: int | None = None

    @property
    def name(self) -> str:
        """What messages call the sources."""
        return " + ".join(each.source.name for each in self.sources)

    def fingerprint(self) -> str:
        """Return a hash of which rows are learnt from, how they are grouped and labelled, and how batches are drawn; of
        a stream, of its name alone."""
        digest = hashlib.sha256(self.name.encode())
        digest.update(self.plan.fingerprint())
        return digest.hexdigest()

    def batches(
        self, start_step: int = 0, rank: int = 0, world_size: int = 1, leaves_unfinished: bool = False
    ) -> Iterator[PairBatch]:
        """Yield this process's part of every global batch from step ``start_step`` on, without end.

        The parts of all ranks, in rank order, are the batch of a single process, bit for bit, whatever the number of
        workers. A row whose picture cannot be read is left out of its batch, which is then smaller by it, and goes to
        ``quarantine``. Drawing moves no random generator of the caller's. With ``leaves_unfinished`` the pictures are
        resized and no more, for `mmcl.data.finish.finished` to do the rest on the device.

        Raises:
            UserError: more rows are unreadable than ``data.max_unreadable`` allows, none of a batch is readable, or the
                batch cannot be shared evenly.
        """
        if self.batch_size % world_size:
            raise UserError(f"batch_size: {self.batch_size} cannot be shared evenly by {world_size} processes")
        if (paired := self.paired_per_batch) is not None and paired % world_size:
            raise UserError(f"data.paired_per_batch: {paired} cannot be shared evenly by {world_size} processes")
        self.quarantine.open(is_first_process=rank == 0, is_resumed=start_step > 0)
        builder = copy.copy(self.builder)
        builder.leaves_unfinished = leaves_unfinished
        for built in self._loader(builder, self.plan.requests(start_step, rank, world_size)):
            self.quarantine.add(built.records, built.num_seen)
            if built.batch is None:
                reason = built.records[-1].reason
                raise UserError(f"step {built.step}: none of the {built.num_seen} rows can be read; the last: {reason}")
            yield built.batch

    def _loader(self, builder: BatchBuilder, requests: Iterator[BatchRequest]) -> DataLoader[BuiltBatch]:
        options: dict[str, Any] = {}
        if self.num_workers:
            options = {"multiprocessing_context": _worker_context(), "worker_init_fn": _start_worker}
        return DataLoader(
            builder,
            sampler=requests,  # its items are what __getitem__ is given
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else it draws its base seed from the caller's
            **options,
        )


def build_train_data(
    recipe: Recipe, preprocessing: ImagePreprocessing | None, tokenizer: TextTokenizer | None
) -> TrainData:
    """Open the training rows of a recipe, check them, split off the validation rows, and plan the batches.

    Args:
        recipe: the run. Its objectives say what a row must have; one that serves none of them is left out.
        preprocessing: of the model's image tower; None where no objective needs pictures.
        tokenizer: of its text tower; None where no objective needs texts.

    Raises:
        UserError: for whatever is wrong with the source, its columns, its captions or its size.
    """
    data = recipe.data
    needs = RowNeeds.of(recipe.chosen_objectives, len(data.expanded_views))
    _check_towers(needs, preprocessing, tokenizer)
    if data.num_captions > 1 and not any(objective.type == "clip" for objective in recipe.chosen_objectives):
        raise UserError(f"data.num_captions: {data.num_captions}, and only clip takes more than one; leave it out")
    sources = open_train_sources(data, needs, needs.parts)
    views = [] if preprocessing is None else [ImageView(view, preprocessing) for view in data.expanded_views]
    prompts = NO_PROMPTS if tokenizer is None else tokenizer.prompts
    builder = BatchBuilder(
        reader_of(sources),
        views[: needs.num_images],
        tokenizer,
        recipe.seed,
        data.max_pixels,
        num_texts=needs.num_texts,
        num_captions=data.num_captions,
        prompts=prompts_of_views(data.prompts, needs.num_texts, prompts),
        equal_texts=data.equal_texts,
    )
    make = _stream_data if sources[0].source.is_stream else _indexed_data
    made = make(recipe, needs, sources, builder)
    return replace(made, remarks=(*made.remarks, *remark_on_prompts(data.prompts, prompts)))


def _check_towers(needs: RowNeeds, preprocessing: ImagePreprocessing | None, tokenizer: TextTokenizer | None) -> None:
    if needs.num_images and preprocessing is None:
        raise UserError(f"{needs.reasons['image']}, and the model has no image tower")
    if needs.num_texts and tokenizer is None:
        raise UserError(f"{needs.reasons['text']}, and the model has no text tower")


def _indexed_data(
    recipe: Recipe, needs: RowNeeds, sources: tuple[TrainSource, ...], builder: BatchBuilder
) -> TrainData:
    data, tokenizer = recipe.data, builder.tokenizer
    for each in sources:
        if needs.num_images and each.roles.image is not None:
            check_paths_exist(each.reader, each.reader.num_rows)
    longest = None if tokenizer is None else bytes_never_cut(tokenizer)
    scan = scan_sources(sources, needs, longest)
    quarantine = Quarantine(data.max_unreadable, rows_per_epoch=len(scan.group_ids))
    quarantine.hold(scan.unusable, num_seen=len(scan.group_ids))
    is_replay = of_replay(sources)
    is_held = scan.is_usable & is_held_out(scan.split_ids, _held_out_share(data)) & ~is_replay
    # What is judged by is not learnt from by way of a replayed row of the same group either.
    is_known = scan.is_usable & is_replay & np.isin(scan.split_ids, scan.split_ids[is_held])
    positions = np.flatnonzero(scan.is_usable & ~is_held & ~is_known)
    labels, class_names = index_all_labels(sources)
    check_class_names(data.class_names or {}, class_names, " + ".join(each.source.name for each in sources))
    is_complete = scan.is_complete
    builder.is_partial = not all(has[positions].all() for part, has in scan.has.items() if part != "score")
    epochs = _plan_epochs(recipe, sources, positions, scan.group_ids[positions], is_complete[positions])
    trained = TrainData(
        plan=IndexedPlan(positions, epochs, None if labels is None else labels[positions]),
        builder=builder,
        batch_size=recipe.batch_size,
        num_workers=data.num_workers,
        quarantine=quarantine,
        remarks=(),
        num_rows=len(positions),
        num_groups=len(np.unique(epochs.group_ids)),
        steps_per_epoch=epochs.steps_per_epoch,
        sources=sources,
        held_out=np.flatnonzero(is_held),
        group_ids=scan.split_ids,
        is_complete=is_complete,
        is_partial=builder.is_partial,
        class_names=class_names,
        num_source_rows=len(scan.group_ids),
        paired_per_batch=data.paired_per_batch,
    )
    facts = RowFacts(
        describe_sources(sources, positions, epochs),
        scan,
        positions,
        trained.held_out,
        epochs.num_drawn,
        class_names,
        None if labels is None else labels[positions],
        num_known=int(is_known.sum()),
        is_templated=data.equal_texts == "templated",
    )
    return replace(trained, remarks=tuple(remarks_on(facts, tokenizer)))


def _plan_epochs(
    recipe: Recipe,
    sources: tuple[TrainSource, ...],
    positions: Int64Array,
    group_ids: Int64Array,
    is_complete: BoolArray,
) -> EpochPlan | StratifiedPlan:
    data, batch_size, seed = recipe.data, recipe.batch_size, recipe.seed
    mixed = plan_mixture(sources, positions, group_ids, batch_size, seed)
    if mixed is not None:
        return mixed
    if data.paired_per_batch is None:
        return EpochPlan.build(group_ids, batch_size, seed, data.unique_groups)
    if is_complete.all():
        raise UserError("data.paired_per_batch: every training row has all that any objective needs; leave it out")
    return StratifiedPlan.paired(group_ids, is_complete, batch_size, data.paired_per_batch, seed)


def _stream_data(recipe: Recipe, needs: RowNeeds, sources: tuple[TrainSource, ...], builder: BatchBuilder) -> TrainData:
    data, source, roles = recipe.data, sources[0].source, sources[0].roles
    if _held_out_share(data):
        raise UserError(
            "data.validation: rows cannot be held out of a stream; give data.validation a source of its own, or 0"
        )
    if data.paired_per_batch is not None:
        raise UserError("data.paired_per_batch: a stream comes as it comes; leave it out, or set streaming to false")
    if "label" in needs.reasons and roles.label_names is None:
        raise UserError(
            f"{needs.reasons['label']}, and the classes of a stream are known from a class column only, which "
            f'"{roles.label}" of {source.name} is not; set data.train.streaming to false'
        )
    builder.is_partial = needs.differ
    nothing = np.empty(0, dtype=np.int64)
    return TrainData(
        plan=StreamPlan(
            source, builder.reader, needs, recipe.batch_size, recipe.seed, data.shuffle_buffer, data.unique_groups
        ),
        builder=builder,
        batch_size=recipe.batch_size,
        num_workers=data.num_workers,
        quarantine=Quarantine(data.max_unreadable),
        remarks=(f"{source.name}, a stream   {roles.described()}",),
        num_rows=None,
        num_groups=None,
        steps_per_epoch=None,
        sources=sources,
        held_out=nothing,
        group_ids=nothing,
        is_complete=nothing.astype(bool),
        is_partial=builder.is_partial,
        class_names=roles.label_names or (),
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
        if not has_picture(value):
            continue
        has_bytes = isinstance(value, dict) and value.get("bytes") is not None
        if path is None or has_bytes or Path(path).exists():
            return
        paths.append(path)
    if not paths:
        return
    key = reader.source.key
    raise UserError(
        f"{key}: none of the {len(paths)} pictures looked for is there, the first {paths[0]}; "
        f"set {key}.image_root to the folder that the paths of {reader.source.name} start from"
    )


def _held_out_share(data: DataConfig) -> float:
    return data.validation if isinstance(data.validation, (int, float)) else 0.0


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
    threading.Thread(target=_end_with_trainer, daemon=True).start()


def _end_with_trainer() -> None:
    """End this worker when the trainer was killed. torch looks at the parent process alone, which is the fork server
    here, and that one lives as long as its workers do."""
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    trainer.join()
    os._exit(1)


def _as_it_is(built: Any) -> Any:
    return built
