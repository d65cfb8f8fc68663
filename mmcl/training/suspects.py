"""Suspected false negatives: texts of other rows that a model finds nearer to a text than its own positive.

Once a model has seen its data, a negative that it prefers is often right, and the data wrong. What is known to be the
same, by group or by text, is no negative and never suspected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.losses.marks import dense_mask, left_out_marks
from mmcl.module import StepOutput
from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.objective import DataFacts
from mmcl.objectives.views import modality_of, number_of
from mmcl.training.health import CHANCE_TOLERANCE

MARGIN = 0.05
"""By how much nearer than the own positive, in cosine."""

MAX_EXAMPLES = 100
MAX_ROWS = 1024
"""Rows of a step that are compared."""

SHARE_WARNED_OF = 0.01
"""Of the rows compared so far."""

_FROM = 0.9
"""How much of the first epoch, or of a run that is shorter, goes by before anything is suspected."""

REMEDIES = (
    "a column of groups for what belongs together (data.columns.group), data.equal_texts=templated where texts are of"
    " one template, hard negatives mined with a margin (mmcl data mine)"
)


@dataclass(frozen=True)
class Suspect:
    """A row, and the other row whose positive is nearest to its anchor.

    Attributes:
        row: the anchor's place among those compared.
        other: the other positive's.
        cosine: of the two.
        own_cosine: of the anchor with its own positive.
    """

    row: int
    other: int
    cosine: float
    own_cosine: float


class _Pair(NamedTuple):
    """Anchors and positives of the rows that have both."""

    rows: Tensor
    anchors: Tensor
    positives: Tensor
    texts: tuple[tuple[str, ...], tuple[str, ...]]
    text_ids: Tensor | None


class SuspectFinder:
    """Looks at logged steps from the end of the first epoch on; writes examples down, and warns once.

    Args:
        objectives: by their names in the log. Looked at are those that tell texts from those of other rows.
        num_steps: of the run.
        steps_per_epoch: None for a stream.
        locate: says of a sample id in which row of which source it is.
    """

    def __init__(
        self,
        objectives: Mapping[str, AnyObjective],
        num_steps: int,
        steps_per_epoch: int | None,
        locate: Callable[[int], tuple[int, str]],
    ) -> None:
        self.views = {name: config.views[:2] for name, config in objectives.items() if _compares_texts(config)}
        self.first_step = math.ceil(_FROM * min(steps_per_epoch or num_steps, num_steps))
        self.is_one_of_several = len(objectives) > 1
        self.locate = locate
        self._num_compared = self._num_suspected = 0
        self._is_said = False

    def observe(
        self, step: int, batch: PairBatch, output: StepOutput, file: Path | None, record: Mapping[str, Any]
    ) -> tuple[dict[str, float], list[str]]:
        """Look at one logged step.

        Args:
            step: optimiser steps done.
            batch: of the main process.
            output: what its rows became.
            file: where examples go, a line of JSON each, 100 at the most; None writes none.
            record: of the log: ``loss`` and ``chance``, and of several objectives ``loss/<name>`` and
                ``chance/<name>``. Where a loss is at chance still, nothing is suspected.

        Returns:
            ``health/<objective>/suspects`` for the log, the rows of this process whose anchor is nearer to another
            row's positive than to its own, by `MARGIN` or more; and a warning where that is new and many.
        """
        if step < self.first_step:
            return {}, []
        entries: dict[str, float] = {}
        for name, views in self.views.items():
            if self._knows_nothing_yet(record, name):
                continue
            pair = _pair_of(batch, output, views)
            suspects = find_suspects(pair.anchors, pair.positives, batch.group_ids[pair.rows], pair.text_ids)
            entries[f"health/{name}/suspects"] = len(suspects)
            self._num_compared += len(pair.rows)
            self._num_suspected += len(suspects)
            if file is not None and suspects:
                ids = batch.sample_ids[pair.rows].tolist()
                _append(file, [self._record(step, name, pair, ids, suspect) for suspect in suspects])
        return entries, self._warnings(file)

    def _knows_nothing_yet(self, record: Mapping[str, Any], name: str) -> bool:
        """Whether an objective's loss is no better than chance: what is near to what then says nothing."""
        suffix = f"/{name}" if self.is_one_of_several else ""
        loss, chance = record.get(f"loss{suffix}"), record.get(f"chance{suffix}")
        return loss is not None and chance is not None and loss > (1 - CHANCE_TOLERANCE) * chance

    def _record(self, step: int, name: str, pair: _Pair, ids: list[int], suspect: Suspect) -> dict[str, Any]:
        (row, source), (other_row, other_source) = (self.locate(ids[place]) for place in (suspect.row, suspect.other))
        sources = {"source": source} if source == other_source else {"source": source, "other_source": other_source}
        return {
            "step": step,
            "objective": name,
            "row": row,
            "other_row": other_row,
            **sources,
            "text": pair.texts[0][suspect.row],
            "other_text": pair.texts[1][suspect.other],
            "cosine": round(suspect.cosine, 4),
            "own_cosine": round(suspect.own_cosine, 4),
        }

    def _warnings(self, file: Path | None) -> list[str]:
        if self._is_said or self._num_suspected < max(1, SHARE_WARNED_OF * self._num_compared):
            return []
        self._is_said = True
        where = "" if file is None else f", examples in {file}"
        return [
            f"{self._num_suspected / self._num_compared:.1%} of the texts looked at are nearer to the positive of"
            f" another row than to their own, by {MARGIN} or more: suspected false negatives{where}. "
            f"The usual remedies: {REMEDIES}"
        ]


def find_suspects(
    anchors: Tensor, positives: Tensor, group_ids: Tensor, text_ids: Tensor | None = None, margin: float = MARGIN
) -> list[Suspect]:
    """Return for each row that has one the nearest negative, where it exceeds the own positive by ``margin`` or more.

    Args:
        anchors: ``(n, D)`` unit norm.
        positives: ``(n, D)`` unit norm.
        group_ids: ``(n,)`` int64; rows of one group are no negatives of each other.
        text_ids: ``(n, V)`` int64; nor are rows that share a text.
        margin: in cosine.

    Returns:
        One for each such row, those with the largest excess first.
    """
    places = torch.arange(len(anchors), device=anchors.device)
    marks = left_out_marks((places, places), (group_ids, group_ids), (text_ids, text_ids))
    cosines = anchors.float() @ positives.float().T
    own = cosines.diagonal().clone()
    is_no_negative = dense_mask(marks, slice(0, len(anchors)), len(anchors), anchors.device)
    is_no_negative.fill_diagonal_(True)
    if len(anchors) < 2:
        return []
    nearest, others = cosines.masked_fill(is_no_negative, -torch.inf).max(dim=1)
    order = (nearest - own).argsort(descending=True)
    order = order[(nearest - own)[order] >= margin]
    columns = (some[order].tolist() for some in (places, others, nearest, own))
    return [Suspect(*values) for values in zip(*columns, strict=True)]


def _compares_texts(config: AnyObjective) -> bool:
    views = config.views[:2]
    if len(views) < 2 or set(map(modality_of, views)) != {"text"} or config.needs_labels:
        return False
    # MoCo's keys are a momentum encoder's, and its negatives of past steps.
    is_encoded = config.encoded_views[:2] == views
    return is_encoded and config.most_negatives(DataFacts(batch_size=2)) is not None


def _pair_of(batch: PairBatch, output: StepOutput, views: tuple[str, ...]) -> _Pair:
    """Return the first rows that have both views; of a view that is compared with itself the second pass."""
    every = torch.arange(len(batch), device=batch.sample_ids.device)
    present = [every if (rows := batch.rows_of(view)) is None else rows for view in views]
    rows = every[torch.isin(every, present[0]) & torch.isin(every, present[1])][:MAX_ROWS]
    first, second = (torch.searchsorted(some, rows) for some in present)
    tokens = [batch.texts[number_of(view)] for view in views]
    is_twice = views[0] == views[1]
    anchors, positives = output.views[views[0]], (output.second_views if is_twice else output.views)[views[1]]
    ids = [some.text_ids[at] for some, at in zip(tokens, (first, second), strict=True) if some.text_ids is not None]
    strings = [some.strings or ("",) * len(some) for some in tokens]
    texts = [tuple(some[at] for at in ats.tolist()) for some, ats in zip(strings, (first, second), strict=True)]
    return _Pair(
        rows, anchors[first], positives[second], (texts[0], texts[1]), torch.stack(ids, dim=1) if ids else None
    )


def _append(file: Path, records: list[dict[str, Any]]) -> None:
    """Add records to those that are there already, but no two of the same rows, and never more than `MAX_EXAMPLES`."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    known = {_rows_of(json.loads(line)) for line in lines}
    with file.open("a", encoding="utf-8") as stream:
        for record in records:
            if len(known) < MAX_EXAMPLES and _rows_of(record) not in known:
                known.add(_rows_of(record))
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def _rows_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(key) for key in ("row", "other_row", "source", "other_source"))
