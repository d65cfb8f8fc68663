"""What every training objective is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from mmcl.distributed import RowSizes
from mmcl.objectives.views import modality_of, number_of, passes_of

if TYPE_CHECKING:
    from mmcl.batch import PairBatch
    from mmcl.model import Encoded, TwoTower

ViewPass = tuple[str, int]
"""A view and how often it was encoded before: ``("text.0", 1)`` is the second pass over the captions."""


@dataclass(frozen=True)
class DataFacts:
    """What an objective may know of the data when it is made.

    Attributes:
        num_samples: rows of the source, the range of sample ids; None for a stream.
        class_names: of the labels, by class index.
        batch_size: rows of a step, over all processes.
        seed: of the run.
        count_tokens: counts the tokens of the captions to learn from, ``(V,)`` int64 by token id, which goes over all
            of them; None where there are no texts.
        num_captions: of a row in a step, at the most.
    """

    num_samples: int | None = None
    class_names: tuple[str, ...] = ()
    batch_size: int = 0
    seed: int = 0
    count_tokens: Callable[[], Tensor] | None = None
    num_captions: int = 1


@dataclass(frozen=True)
class Progress:
    """Where in the run a step is.

    Attributes:
        step: optimiser steps done before it.
        num_steps: of the whole run.
        steps_per_epoch: None for a stream.
    """

    step: int = 0
    num_steps: int = 1
    steps_per_epoch: int | None = None


@dataclass(frozen=True)
class Selected:
    """The rows that have all views an objective compares, the views row by row beside each other.

    Attributes:
        views: one ``Encoded`` of ``(n, ...)`` rows for each view that was asked for, in the objective's order.
        group_ids: ``(n,)`` int64.
        labels: ``(n,)`` int64, -1 where not known.
        sample_ids: ``(n,)`` int64.
        scores: ``(n,)`` float32, nan where not known.
        rows: ``(n,)`` int64 positions in this process's batch; None for all of it.
        across: the rows of all processes.
    """

    views: tuple[Encoded, ...]
    group_ids: Tensor
    labels: Tensor
    sample_ids: Tensor
    scores: Tensor
    rows: Tensor | None
    across: RowSizes

    def at(self, places: Tensor) -> Selected:
        """Return some of the rows, by their ``(m,)`` int64 places among these.

        All processes have to call it, as rows are counted over all of them.
        """
        return Selected(
            tuple(view.rows(places) for view in self.views),
            self.group_ids[places],
            self.labels[places],
            self.sample_ids[places],
            self.scores[places],
            places if self.rows is None else self.rows[places],
            RowSizes.of(len(places), places.device),
        )


@dataclass(frozen=True)
class Texts:
    """The texts of a view that are of some rows, in the order of the rows.

    Attributes:
        embeddings: ``(m, D)`` of unit norm.
        group_ids: ``(m,)`` int64, of their rows.
        text_ids: ``(m,)`` int64; None where no two texts count as equal.
        places: ``(m,)`` int64, where they are among the batch's texts of that view.
        owners: ``(m,)`` int64, ascending: which of those rows they are of.
        across: the texts of all processes.
    """

    embeddings: Tensor
    group_ids: Tensor
    text_ids: Tensor | None
    owners: Tensor
    across: RowSizes

    def ids_by_row(self, num_rows: int) -> Tensor | None:
        """Return ``(num_rows, V)`` int64, the ids of each row's texts, -1 where it has fewer than V."""
        if self.text_ids is None:
            return None
        counts = torch.bincount(self.owners, minlength=num_rows)
        places = torch.arange(len(self.owners), device=counts.device) - (counts.cumsum(0) - counts)[self.owners]
        ids = self.text_ids.new_full((num_rows, int(counts.max()) if num_rows else 0), -1)
        ids[self.owners, places] = self.text_ids
        return ids


@dataclass(frozen=True)
class EncodedBatch:
    """The views of a batch, each encoded once for all objectives.

    Attributes:
        batch: this process's rows.
        views: what the towers make of each view and pass.
        keys: for each objective with a momentum encoder or a teacher by name, what `Objective.encode_keys` returned.
        scale: 1 / temperature of the model, a float32 scalar.
        bias: SigLIP's bias, a float32 scalar; None where the model has none.
        sizes: how many rows each process holds.
        progress: where in the run this is.
        towers_dtype: what the towers' autocast computes in; None where there is none.
    """

    batch: PairBatch
    views: Mapping[ViewPass, Encoded]
    keys: Mapping[str, tuple[Tensor, ...]]
    scale: Tensor
    bias: Tensor | None
    sizes: RowSizes
    progress: Progress
    towers_dtype: torch.dtype | None = None
    _selections: dict[frozenset[str], tuple[Tensor | None, RowSizes]] = field(default_factory=dict)

    def select(self, views: Sequence[str], encoded_views: Sequence[str] | None = None) -> Selected:
        """Return the rows that have every one of ``views``; of several captions, the first drawn.

        All processes have to call it with the same views, as rows are counted over all of them.

        Args:
            views: that a row must have.
            encoded_views: those to return, where the towers have not encoded all; by default ``views``.
        """
        rows, across = self._rows_with(frozenset(views))
        batch = self.batch
        labels = batch.labels if batch.labels is not None else torch.full_like(batch.sample_ids, -1)
        scores = batch.scores if batch.scores is not None else torch.full_like(labels, torch.nan, dtype=torch.float32)
        return Selected(
            tuple(self._take(key, rows) for key in passes_of(views if encoded_views is None else encoded_views)),
            _at(batch.group_ids, rows),
            _at(labels, rows),
            _at(batch.sample_ids, rows),
            _at(scores, rows),
            rows,
            across,
        )

    def texts_of(self, view: str, rows: Selected) -> Texts:
        """Return every text of a view that is of the selected rows, of which a row may have none or several.

        All processes have to call it with the same view, as texts are counted over all of them.
        """
        encoded, batch = self.views[view, 0], self.batch
        owners = batch.rows_of(view)
        owners = torch.arange(len(batch), device=batch.sample_ids.device) if owners is None else owners
        places = (owners >= 0 if rows.rows is None else torch.isin(owners, rows.rows)).nonzero()[:, 0]
        owners = owners[places]
        ids = batch.texts[number_of(view)].text_ids
        return Texts(
            encoded.rows(places).embeddings,
            batch.group_ids[owners],
            None if ids is None else ids[places],
            owners if rows.rows is None else torch.searchsorted(rows.rows, owners),
            RowSizes.of(len(places), places.device),
        )

    def text_ids(self, views: Sequence[str], rows: Selected) -> Tensor | None:
        """Return ``(n, V)`` int64, by which selected rows share a text: the ids of those of ``views`` that are texts.

        None where none is, or where no two texts count as equal. A view that is named twice is one text.
        """
        columns = []
        for view in dict.fromkeys(views):
            ids = self.batch.texts[number_of(view)].text_ids if modality_of(view) == "text" else None
            if ids is not None:
                columns.append(self.take_keys(ids, view, rows.rows))
        return torch.stack(columns, dim=1) if columns else None

    def in_tower_precision(self) -> torch.autocast:
        """Return the context that the towers compute in, for an objective that lets them compute once more."""
        device = self.batch.sample_ids.device.type
        return torch.autocast(device, dtype=self.towers_dtype, enabled=self.towers_dtype is not None)

    def _rows_with(self, views: frozenset[str]) -> tuple[Tensor | None, RowSizes]:
        if views not in self._selections:
            owners = [rows for view in views if (rows := self.batch.rows_of(view)) is not None]
            present = [torch.unique_consecutive(rows) for rows in owners]  # a row has as many entries as captions
            if not present:
                self._selections[views] = (None, self.sizes)
            else:
                counts = torch.bincount(torch.cat(present), minlength=len(self.batch))
                chosen = (counts == len(present)).nonzero()[:, 0]
                self._selections[views] = (chosen, RowSizes.of(len(chosen), chosen.device))
        return self._selections[views]

    def _take(self, key: ViewPass, rows: Tensor | None) -> Encoded:
        encoded, present = self.views[key], self.batch.rows_of(key[0])
        if rows is None or present is None:
            return encoded if rows is None else encoded.rows(rows)
        return encoded.rows(torch.searchsorted(present, rows))

    def take_keys(self, keys: Tensor, view: str, rows: Tensor | None) -> Tensor:
        """Return of ``keys``, one row for each that has ``view``, those of the batch's ``rows``."""
        present = self.batch.rows_of(view)
        if rows is None:
            return keys
        return keys[rows if present is None else torch.searchsorted(present, rows)]


def _at(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return tensor if rows is None else tensor[rows]


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective says of one batch.

    Attributes:
        loss: scalar with a gradient, this process's share: the shares of all processes add up to the loss of the
            concatenated batch.
        chance: the loss of a model that knows nothing; None where there is no such number.
        num_rows: rows of all processes that it used.
    """

    loss: Tensor
    chance: float | None
    num_rows: int


class Objective(nn.Module, ABC):
    """One term of the training loss, with whatever state its method has.

    State that outlives a step is parameters and buffers, so that a checkpoint holds it. A head or a twin is the
    objective's own: it is not part of the exported model.
    """

    name: str = ""
    """Of its line in the log, and of its keys; the module sets it."""
    reads_tokens: ClassVar[bool] = False
    """Whether it learns from more than embeddings, so that gradients cannot be cached."""

    @abstractmethod
    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        """Compute this process's share of the loss, in float32."""

    def nothing(self, rows: Selected, *inputs: Tensor) -> ObjectiveOutput:
        """Return a loss of 0 for a step without enough rows; every parameter has a gradient all the same, of 0.

        DistributedDataParallel counts on the same parameters in every step.

        Args:
            rows: the few.
            inputs: what of the model the loss depends on otherwise; by default the views' embeddings.
        """
        touched = list(inputs) or [view.projected for view in rows.views]
        touched += [parameter for parameter in self.parameters() if parameter.requires_grad]
        zero = torch.stack([0.0 * tensor.float().sum() for tensor in touched]).sum()
        return ObjectiveOutput(zero, None, rows.across.total)

    def encode_keys(self, model: TwoTower, batch: PairBatch) -> tuple[Tensor, ...]:
        """Return what a momentum encoder or a teacher makes of the batch, ``(n, W)`` without a gradient, one per view.

        Called for parts of a batch when gradients are cached; the parts' results are put together again. By default
        there is neither, and nothing is returned.
        """
        return ()

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        """Do what the method does between steps: move an average, fill a queue.

        Args:
            model: as the update has left it.
            progress: of the step that is done.
        """
