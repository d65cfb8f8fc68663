"""Between a recipe's tasks that judge embeddings by labels, other than classifiers, and the evaluation package."""

from __future__ import annotations

from collections.abc import Callable

from evaluation import ClusteringTask, EvaluationError, MultiLabelZeroShotTask
from mmcl.data.evaluation_rows import EvaluationRows
from mmcl.errors import UserError
from mmcl.recipe_tasks import ClusteringConfig, MultiLabelZeroShotConfig
from mmcl.training.judge_zeroshot import names_of_classes, templates_for


def build_multilabel_task(
    config: MultiLabelZeroShotConfig,
    rows: EvaluationRows,
    name: str,
    key: str = "evaluate.0",
    tell: Callable[[str], None] = lambda line: None,
) -> MultiLabelZeroShotTask:
    """Make the task of its part of a recipe and its rows.

    Args:
        config: the task.
        rows: what it judges on.
        name: what results call it.
        key: where the recipe has it.
        tell: called with a line about names and templates that came with the data.

    Raises:
        UserError: rows without lists of labels or pictures, or names that fit no label.
    """
    rows.check_has("image", task=config.task)
    if rows.label_lists is None:
        raise UserError(f"{key}: {config.task} needs rows with lists of labels; give it data of its own")
    labels = [_split(cell, config.separator, rows.name, key) for cell in rows.label_lists]
    named = config.class_names if isinstance(config.class_names, dict) else {}
    classes = sorted({*named, *(label for each in labels for label in each)})
    try:
        return MultiLabelZeroShotTask(
            images=rows.images,
            labels=labels,
            class_names=names_of_classes(config, rows, classes, f"{key}.class_names"),
            templates=templates_for(config, rows, name, tell),
            language=config.language,
            dataset=name,
            split=rows.split,
            groups=rows.groups,
            ids=list(map(str, rows.ids)),
        )
    except EvaluationError as error:
        raise UserError(f"{config.task}: {error}") from error


def build_clustering_task(config: ClusteringConfig, rows: EvaluationRows, name: str) -> ClusteringTask:
    """Make the task of its part of a recipe and its rows: of their pictures where there are any, else of their texts.

    Of several texts of a row the first is taken.

    Args:
        config: the task.
        rows: what it judges on.
        name: what results call it.

    Raises:
        UserError: rows without labels, or with neither pictures nor texts.
    """
    has_pictures = len(rows.images) > 0
    rows.check_has("image" if has_pictures else "text", "label", task=config.task)
    labels = rows.labels or []
    try:
        return ClusteringTask(
            images=rows.images if has_pictures else None,
            texts=None if has_pictures else [texts[0] for texts in rows.texts],
            labels=labels,
            dataset=name,
            num_seeds=config.num_seeds,
            language=config.language,
            # Groups that are the classes themselves say nothing of which examples depend on each other.
            groups=rows.groups if len(set(rows.groups)) > len(set(labels)) else None,
            ids=list(map(str, rows.ids)),
            split=rows.split,
        )
    except EvaluationError as error:
        raise UserError(f"{config.task}: {error}") from error


def _split(cell: list[str] | str, separator: str | None, name: str, key: str) -> list[str]:
    if isinstance(cell, list):
        return cell
    if separator is None:
        raise UserError(
            f'{key}.separator: the labels of {name} are one text, such as "{cell}"; say what stands between them'
        )
    return [part.strip() for part in cell.split(separator) if part.strip()]
