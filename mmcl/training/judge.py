"""Between a recipe's ``evaluate`` list and the evaluation package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from evaluation import (
    CachedEmbedder,
    ClusteringTask,
    EvaluationError,
    FewLabelTask,
    KNNTask,
    LinearProbeTask,
    MultiLabelZeroShotTask,
    RetrievalTask,
    RobustnessTask,
    TaskResult,
    ZeroShotClassificationTask,
)
from evaluation.embedder import Embedder
from mmcl import distributed
from mmcl.data.evaluation_rows import EvaluationRows, LazyPictures, join_rows, open_evaluation_rows
from mmcl.data.loader import TrainData
from mmcl.data.mixture import TrainSource
from mmcl.data.split import is_held_out
from mmcl.data.text_rows import TextNeeds, TextRows, open_text_rows
from mmcl.errors import UnreachableError, UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import DEFAULT_MAX_PIXELS, ColumnsConfig, SourceConfig
from mmcl.recipe_tasks import (
    AnyTask,
    ClusteringConfig,
    FewLabelConfig,
    ImageRetrievalConfig,
    KNNConfig,
    LinearProbeConfig,
    MultiLabelZeroShotConfig,
    RepresentationHealthConfig,
    RetrievalConfig,
    RobustnessConfig,
    TextTaskConfig,
    ZeroShotClassificationConfig,
)
from mmcl.training.judge_images import ImageTask, ImageTaskConfig, build_image_task
from mmcl.training.judge_labels import build_clustering_task, build_multilabel_task
from mmcl.training.judge_texts import NEEDS, TextTask, build_text_task
from mmcl.training.judge_zeroshot import build_zeroshot_task
from mmcl.training.results import file_name
from mmcl.training.sharded_embedder import ShardedEmbedder

Item = TypeVar("Item")

LabelledImagesConfig = KNNConfig | LinearProbeConfig | FewLabelConfig
LabelledImagesTask = KNNTask | LinearProbeTask | FewLabelTask
AnyBuiltTask = (
    RetrievalTask
    | ZeroShotClassificationTask
    | RobustnessTask
    | LabelledImagesTask
    | ImageTask
    | TextTask
    | MultiLabelZeroShotTask
    | ClusteringTask
)

NAMED_BY_TASK = (
    *("knn", "linear_probe", "few_label", "pair_classification", "bitext_mining", "triplet_accuracy"),
    *("image_retrieval", "image_caption_selection", "robustness"),
)
"""Tasks whose metrics the log names by task as well: several of them give an accuracy on the same data."""


def build_tasks(
    configs: Sequence[AnyTask],
    columns: ColumnsConfig,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    validation: EvaluationRows | None = None,
    tell: Callable[[str], None] = lambda line: None,
    train: Callable[[], EvaluationRows] | None = None,
    key: str = "evaluate",
    unreachable: dict[int, UnreachableError] | None = None,
    validation_texts: Callable[[TextNeeds], TextRows | None] = lambda needs: None,
    opened: OpenedRows | None = None,
    first: int = 0,
) -> list[AnyBuiltTask]:
    """Make tasks of their part of a recipe, their rows opened and checked.

    Args:
        configs: the tasks.
        columns: column roles of tasks that name none.
        max_pixels: larger pictures are refused from their header.
        validation: the held-out rows, for tasks without data of their own; None when nothing is held out.
        tell: called with a line for each data set of which rows had to be left out.
        train: opens the training rows, for tasks that learn from rows and name none; called once, when there is one.
            None where nothing is trained.
        key: of the recipe, for messages.
        unreachable: is filled, by the numbers of the tasks, with why rows on the hub cannot be had now; those tasks are
            left out. With None that is an error.
        validation_texts: returns the held-out rows as a task of texts alone needs them, None when nothing is held out.
        opened: rows that earlier calls have opened, to be shared; by default none.
        first: number of the first of the tasks, for messages.

    Raises:
        UserError: when a task has no rows to judge on or to learn from, or no labels.
    """
    opened = opened or OpenedRows(columns, max_pixels, tell, key)
    tasks: list[AnyBuiltTask] = []
    names: set[str] = set()
    for number, config in enumerate(configs, start=first):
        rows: EvaluationRows | TextRows | None
        try:
            if isinstance(config, TextTaskConfig):
                rows = opened.texts_to_judge_on(config, number, validation_texts)
            else:
                rows = validation if config.data is None else opened.to_judge_on(config, number)
        except UnreachableError as error:
            if unreachable is None:
                raise
            unreachable[number] = error
            continue
        if rows is None:
            raise UserError(
                f"{key}.{config.task}: no rows to judge on, because data.validation is 0; "
                f"give the task data of its own, or hold some out"
            )
        name = config.name or rows.name
        if isinstance(rows, TextRows):
            assert isinstance(config, TextTaskConfig)
            tasks.append(build_text_task(config, rows, name, config.columns or columns, f"{key}.{number}"))
        elif isinstance(config, RetrievalConfig):
            rows = _with_texts(rows, tell) if config.data is None else rows
            tasks.append(_retrieval_task(rows, name, config.language))
        elif isinstance(config, ZeroShotClassificationConfig):
            labels = _labels(rows, config.task)
            groups = _dependent_groups(rows, labels)
            task = build_zeroshot_task(config, rows, labels, name, groups, f"{key}.{number}", tell)
            if isinstance(config, RobustnessConfig):
                tasks.append(RobustnessTask(zeroshot=task, corruptions=config.corruptions))
            else:
                tasks.append(task)
        elif isinstance(config, MultiLabelZeroShotConfig):
            tasks.append(build_multilabel_task(config, rows, name, f"{key}.{number}", tell))
        elif isinstance(config, ClusteringConfig):
            tasks.append(build_clustering_task(config, rows, name))
        elif isinstance(config, ImageTaskConfig):
            gallery = opened.to_search_in(config, number) if isinstance(config, ImageRetrievalConfig) else None
            tasks.append(build_image_task(config, rows, name, config.columns or columns, f"{key}.{number}", gallery))
        elif isinstance(config, LabelledImagesConfig):
            tasks.append(_labelled_images_task(config, opened.to_learn_from(config, number, train), rows, name))
        if file_name(name, config.task) in names:
            raise UserError(
                f'{key}.{number}: two tasks of kind {config.task} are called "{name}", and their results would be '
                f"one; give each a name"
            )
        names.add(file_name(name, config.task))
    return tasks


def check_modalities(configs: Sequence[AnyTask], modalities: Sequence[str], key: str = "evaluate") -> None:
    """Refuse a task that the model cannot do, before it is trained for it.

    Args:
        configs: the recipe's tasks.
        modalities: what the model has towers for.
        key: of the recipe, for the message.

    Raises:
        UserError: naming the task and what is missing.
    """
    for number, config in enumerate(configs):
        if isinstance(config, RepresentationHealthConfig | ClusteringConfig):
            continue  # pictures or texts, whichever there are
        needs_text = not isinstance(config, LabelledImagesConfig | ImageRetrievalConfig)
        needs_image = not isinstance(config, TextTaskConfig)
        for modality in (*(("image",) if needs_image else ()), *(("text",) if needs_text else ())):
            if modality not in modalities:
                tower = f"a{'n' if modality == 'image' else ''} {modality} tower"
                raise UserError(f"{key}.{number}: {config.task} needs a model with {tower}; this has none")


def training_rows(recipe: Recipe, data: TrainData) -> EvaluationRows:
    """Return the labelled rows that a run learns from: those of ``data.train`` of which no group is held out.

    A row is among them whether it has a caption or not. Of several sources those count that have pictures and labels
    and are no replay.

    Raises:
        UserError: the source is a stream, or for whatever else is wrong with it.
    """
    targets = [each for each in data.sources if not each.is_replay]
    labelled = [each for each in targets if each.roles.image is not None and each.roles.label is not None]
    return join_rows([_training_rows_of(each, recipe, data) for each in labelled or targets[:1]])


def _training_rows_of(each: TrainSource, recipe: Recipe, data: TrainData) -> EvaluationRows:
    config = recipe.data
    roles = each.columns.model_copy(update={"text": False})
    # The loader has said what it cannot use; here all that counts is which rows have a picture and a label.
    rows = open_evaluation_rows(each.config, roles, config.max_pixels, max_unreadable=1.0, key=each.source.key)
    if isinstance(config.validation, SourceConfig):
        return rows
    is_held = is_held_out(each.slice(data.group_ids), config.validation)
    return _part(rows, [index for index, position in enumerate(rows.ids) if not is_held[position]])


def _part(rows: EvaluationRows, kept: list[int]) -> EvaluationRows:
    images = rows.images
    return replace(
        rows,
        images=LazyPictures(images.reader, images.positions[kept], images.max_pixels),
        texts=[rows.texts[index] for index in kept],
        groups=[rows.groups[index] for index in kept],
        labels=None if rows.labels is None else [rows.labels[index] for index in kept],
        ids=[rows.ids[index] for index in kept],
        pictures=tuple(rows.pictures[index] for index in kept) if rows.pictures else (),
    )


def _with_texts(rows: EvaluationRows, tell: Callable[[str], None]) -> EvaluationRows:
    """Return the held-out rows that have a text of their own, where any has; prompts of a class are none."""
    kept = [index for index, texts in enumerate(rows.texts) if texts]
    if not kept or len(kept) == len(rows):
        return rows
    tell(f"{rows.name}: {len(rows) - len(kept):,} rows held out have no text of their own; retrieval leaves them out")
    return _part(rows, kept)


class OpenedRows:
    """Sources that tasks name, each opened once, so that tasks on the same rows share their embeddings."""

    def __init__(self, columns: ColumnsConfig, max_pixels: int, tell: Callable[[str], None], key: str) -> None:
        self.columns, self.max_pixels, self.tell, self.key = columns, max_pixels, tell, key
        self._opened: dict[str, EvaluationRows] = {}

    def to_judge_on(self, config: AnyTask, number: int) -> EvaluationRows:
        source, roles = config.data, config.columns or self.columns
        assert source is not None
        required = ("labels",) if isinstance(config, MultiLabelZeroShotConfig) else ()
        return self._once(
            f"{source!r} {roles!r} {required}",
            lambda: open_evaluation_rows(
                source, roles, self.max_pixels, required=required, key=f"{self.key}.{number}.data"
            ),
            "judged on",
        )

    def texts_to_judge_on(
        self, config: TextTaskConfig, number: int, validation: Callable[[TextNeeds], TextRows | None]
    ) -> TextRows | None:
        source, roles, needs = config.data, config.columns or self.columns, NEEDS[config.task]
        if source is None:
            rows = validation(needs)
        else:
            rows = open_text_rows(source, roles, needs, key=f"{self.key}.{number}.data")
        if rows is not None:
            self._tell_of(rows, "judged on")
        return rows

    def to_search_in(self, config: ImageRetrievalConfig, number: int) -> EvaluationRows | None:
        source, roles = config.gallery, config.columns or self.columns
        if source is None:
            return None
        return self._once(
            f"{source!r} {roles!r} ()",
            lambda: open_evaluation_rows(source, roles, self.max_pixels, key=f"{self.key}.{number}.gallery"),
            "searched in",
        )

    def to_learn_from(
        self, config: LabelledImagesConfig, number: int, train: Callable[[], EvaluationRows] | None
    ) -> EvaluationRows:
        source = config.train
        if source is None:
            if train is None:
                raise UserError(f"{self.key}.{number}.train: {config.task} learns from labelled rows; say which")
            return self._once("train", train, "learnt from")
        # A picture without a caption teaches as much, and of many pictures few may have a label.
        roles = (config.columns or self.columns).model_copy(update={"text": False})
        return self._once(
            f"{source!r} {roles!r}",
            lambda: open_evaluation_rows(
                source, roles, self.max_pixels, max_unreadable=1.0, key=f"{self.key}.{number}.train"
            ),
            "learnt from",
        )

    def _once(self, key: str, open_rows: Callable[[], EvaluationRows], use: str) -> EvaluationRows:
        if key not in self._opened:
            self._opened[key] = open_rows()
            self._tell_of(self._opened[key], use)
        return self._opened[key]

    def _tell_of(self, rows: EvaluationRows | TextRows, use: str) -> None:
        if rows.left_out:
            rows_left_out = f"{len(rows.left_out):,} row{'s' if len(rows.left_out) > 1 else ''}"
            self.tell(f"{rows.name}: {rows_left_out} cannot be {use}; the last: {rows.left_out[-1].reason}")


def _retrieval_task(rows: EvaluationRows, name: str, language: str) -> RetrievalTask:
    rows.check_has("image", "text", task="retrieval")
    return RetrievalTask.from_captions(
        rows.images,
        rows.texts,
        groups=rows.groups,
        same_pictures=rows.pictures,
        ids=list(map(str, rows.ids)),
        dataset=name,
        split=rows.split,
        language=language,
        image_kinds=rows.labels or (),
    )


def _labelled_images_task(
    config: LabelledImagesConfig, train: EvaluationRows, rows: EvaluationRows, name: str
) -> LabelledImagesTask:
    labels = _labels(rows, config.task)
    fields: dict[str, Any] = {
        "train_images": train.images,
        "train_labels": _labels(train, config.task),
        "images": rows.images,
        "labels": labels,
        "ids": list(map(str, rows.ids)),
        "dataset": name,
        "split": rows.split,
        "groups": _dependent_groups(rows, labels),
        "baselines": config.baselines,
    }
    try:
        if isinstance(config, KNNConfig):
            return KNNTask(**fields, k=config.k, temperature=config.temperature)
        if isinstance(config, LinearProbeConfig):
            return LinearProbeTask(**fields, c_grid=config.c_grid, validation_fraction=config.validation_fraction)
        return FewLabelTask(**fields, labels_per_class=config.labels_per_class, num_seeds=config.num_seeds, c=config.c)
    except EvaluationError as error:
        raise UserError(f"{config.task}: {error}") from error


def _labels(rows: EvaluationRows, task: str) -> list[str]:
    rows.check_has("image", "label", task=task)
    assert rows.labels is not None
    return rows.labels


def _dependent_groups(rows: EvaluationRows, labels: list[str]) -> list[int] | None:
    """Groups that are the classes themselves say nothing of which pictures depend on each other."""
    return rows.groups if len(set(rows.groups)) > len(set(labels)) else None


def judge(embedder: Embedder, tasks: Sequence[AnyBuiltTask]) -> list[TaskResult]:
    """Evaluate every task; rows that several share are encoded once, and spread over all processes."""
    cached = CachedEmbedder(ShardedEmbedder(embedder) if distributed.is_distributed() else embedder)
    return [task.evaluate(cached) for task in tasks]


def headline_metrics(results: Sequence[TaskResult]) -> dict[str, float]:
    """Flatten the headline metrics of results for the log, as ``<dataset>/<metric>``.

    Of tasks that learn from labels, which all give an accuracy, it is ``<dataset>/<task>/<metric>``.
    """
    return {
        f"{_log_name(result)}/{name}": value
        for result in results
        for name in result.headline
        if (value := result.metrics[name]) is not None
    }


def _log_name(result: TaskResult) -> str:
    return f"{result.dataset}/{result.task}" if result.task in NAMED_BY_TASK else result.dataset
