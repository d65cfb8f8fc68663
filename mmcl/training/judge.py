"""Between a recipe's ``evaluate`` list and the evaluation package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from evaluation import CachedEmbedder, RetrievalTask, TaskResult, ZeroShotClassificationTask
from evaluation.embedder import Embedder, Embeddings, Picture
from mmcl import distributed
from mmcl.data.evaluation_rows import EvaluationRows, open_evaluation_rows
from mmcl.errors import UserError
from mmcl.recipe_data import DEFAULT_MAX_PIXELS, ColumnsConfig
from mmcl.recipe_tasks import AnyTask, RetrievalConfig, ZeroShotClassificationConfig
from mmcl.training.results import file_name

Item = TypeVar("Item")


AnyBuiltTask = RetrievalTask | ZeroShotClassificationTask


def build_tasks(
    configs: Sequence[AnyTask],
    columns: ColumnsConfig,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    validation: EvaluationRows | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[AnyBuiltTask]:
    """Make tasks of their part of a recipe, their rows opened and checked.

    Args:
        configs: the tasks.
        columns: column roles of tasks that name none.
        max_pixels: larger pictures are refused from their header.
        validation: the held-out rows, for tasks without data of their own; None when nothing is held out.
        tell: called with a line for each data set of which rows had to be left out.

    Raises:
        UserError: when a task has no rows to judge on, or no labels.
    """
    opened: dict[str, EvaluationRows] = {}
    tasks: list[AnyBuiltTask] = []
    names: set[str] = set()
    for number, config in enumerate(configs):
        rows = validation
        if config.data is not None:
            roles = config.columns or columns
            key = f"{config.data!r} {roles!r}"
            if key not in opened:
                opened[key] = open_evaluation_rows(config.data, roles, max_pixels, key=f"evaluate.{number}.data")
                if left_out := opened[key].left_out:
                    reason = left_out[-1].reason
                    tell(f"{opened[key].name}: {len(left_out):,} rows cannot be judged on; the last: {reason}")
            rows = opened[key]
        if rows is None:
            raise UserError(
                f"evaluate.{config.task}: no rows to judge on, because data.validation is 0; "
                f"give the task data of its own, or hold some out"
            )
        name = config.name or rows.name
        if isinstance(config, RetrievalConfig):
            tasks.append(_retrieval_task(rows, name))
        else:
            tasks.append(_zeroshot_task(config, rows, name))
        if file_name(name, config.task) in names:
            raise UserError(
                f'evaluate.{number}: two tasks of kind {config.task} are called "{name}", and their results would be '
                f"one; give each a name"
            )
        names.add(file_name(name, config.task))
    return tasks


def _retrieval_task(rows: EvaluationRows, name: str) -> RetrievalTask:
    return RetrievalTask.from_captions(
        rows.images, rows.texts, groups=rows.groups, dataset=name, split=rows.split, image_kinds=rows.labels or ()
    )


def _zeroshot_task(config: ZeroShotClassificationConfig, rows: EvaluationRows, name: str) -> ZeroShotClassificationTask:
    if rows.labels is None:
        raise UserError(
            f"{config.task} needs labels: {rows.name} has no label column; name one as columns.label of its data"
        )
    classes = sorted(set(rows.labels))
    # Groups that are the classes themselves say nothing of which pictures depend on each other.
    groups = rows.groups if len(set(rows.groups)) > len(classes) else None
    names = config.class_names or {}
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise UserError(f"class_names has {unknown[0]!r}, which is no label of {rows.name} ({', '.join(classes)})")
    return ZeroShotClassificationTask(
        images=rows.images,
        labels=rows.labels,
        class_names={label: names.get(label, label) for label in classes},
        templates=config.templates,
        dataset=name,
        split=rows.split,
        groups=groups,
    )


def judge(embedder: Embedder, tasks: Sequence[AnyBuiltTask]) -> list[TaskResult]:
    """Evaluate every task; rows that several share are encoded once, and spread over all processes."""
    cached = CachedEmbedder(ShardedEmbedder(embedder) if distributed.is_distributed() else embedder)
    return [task.evaluate(cached) for task in tasks]


def headline_metrics(results: Sequence[TaskResult]) -> dict[str, float]:
    """Flatten the headline metrics of results for the log, as ``<dataset>/<metric>``."""
    return {
        f"{result.dataset}/{name}": value
        for result in results
        for name in result.headline
        if (value := result.metrics[name]) is not None
    }


@dataclass(frozen=True)
class ShardedEmbedder:
    """Encodes a share of the rows on each process and gives every process the whole, each row encoded once.

    Every process must call it with the same rows.

    Attributes:
        embedder: does the work on this process.
    """

    embedder: Embedder

    @property
    def name(self) -> str:
        return self.embedder.name

    @property
    def fingerprint(self) -> str:
        return self.embedder.fingerprint

    @property
    def pretrained(self) -> str:
        return str(getattr(self.embedder, "pretrained", ""))

    @property
    def preprocessing(self) -> dict[str, Any]:
        return dict(getattr(self.embedder, "preprocessing", {}))

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, in order."""
        return _encode_shares(images, self.embedder.encode_images)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, in order."""
        return _encode_shares(texts, self.embedder.encode_texts)


def _encode_shares(items: Sequence[Item], encode: Callable[[Sequence[Item]], Embeddings]) -> Embeddings:
    world_size, rank = distributed.world_size(), distributed.rank()
    bounds = np.linspace(0, len(items), world_size + 1).round().astype(int)
    mine = [items[index] for index in range(bounds[rank], bounds[rank + 1])]
    shares = distributed.gather_objects(encode(mine) if mine else None)
    return np.concatenate([share for share in shares if share is not None])
