"""Between a recipe's tasks of pictures that learn nothing and the evaluation package."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation import (
    EvaluationError,
    ImageCaptionSelectionTask,
    ImageRetrievalTask,
    RepresentationHealthTask,
    WinogroundTask,
)
from mmcl.data.evaluation_rows import EvaluationRows, LazyPictures
from mmcl.data.wrong_captions import read_wrong_captions
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig
from mmcl.recipe_tasks import ImageCaptionSelectionConfig, ImageRetrievalConfig, RepresentationHealthConfig

ImageTaskConfig = ImageRetrievalConfig | RepresentationHealthConfig | ImageCaptionSelectionConfig
ImageTask = ImageRetrievalTask | RepresentationHealthTask | ImageCaptionSelectionTask | WinogroundTask


def build_image_task(
    config: ImageTaskConfig,
    rows: EvaluationRows,
    name: str,
    columns: ColumnsConfig,
    key: str = "evaluate.0",
    gallery: EvaluationRows | None = None,
) -> ImageTask:
    """Make a task of its part of a recipe and its rows.

    Args:
        config: the task.
        rows: what it judges on.
        name: what results call it.
        columns: its column roles.
        key: where the recipe has it.
        gallery: what image retrieval searches in; None for the rows themselves.

    Raises:
        UserError: rows that it cannot judge by.
    """
    try:
        if isinstance(config, ImageRetrievalConfig):
            return _image_retrieval(rows, gallery, name)
        if isinstance(config, RepresentationHealthConfig):
            return _representation_health(rows, name, config.language)
        wrong = read_wrong_captions(config.data, columns, rows.ids, f"{key}.data")
        return _image_caption_selection(config, rows, wrong, name)
    except EvaluationError as error:
        raise UserError(f"{config.task}: {error}") from error


def _image_retrieval(rows: EvaluationRows, gallery: EvaluationRows | None, name: str) -> ImageRetrievalTask:
    rows.check_has("image", task="image_retrieval")
    labels = [str(group) for group in rows.groups] if rows.labels is None else rows.labels
    # Groups that are the classes themselves say nothing of which pictures depend on each other.
    is_told = rows.labels is None or len(set(rows.groups)) > len(set(rows.labels))
    fields: dict[str, Any] = {"groups": rows.groups if is_told else None}
    if gallery is not None:
        gallery.check_has("image", *(("label",) if rows.labels is not None else ()), task="image_retrieval")
        found = map(str, gallery.groups) if rows.labels is None else gallery.labels
        fields |= {"gallery": gallery.images, "gallery_labels": list(found or ())}
    return ImageRetrievalTask(
        images=rows.images,
        labels=labels,
        ids=list(map(str, rows.ids)),
        dataset=name,
        split=rows.split,
        **fields,
    )


def _representation_health(rows: EvaluationRows, name: str, language: str) -> RepresentationHealthTask:
    return RepresentationHealthTask(
        images=rows.images,
        captions=rows.texts if any(rows.texts) else (),
        language=language,
        groups=rows.groups,
        ids=list(map(str, rows.ids)),
        dataset=name,
        split=rows.split,
    )


def _image_caption_selection(
    config: ImageCaptionSelectionConfig, rows: EvaluationRows, wrong: list[list[str]] | None, name: str
) -> ImageCaptionSelectionTask | WinogroundTask:
    rows.check_has("image", "text", task=config.task)
    fields: dict[str, Any] = {"dataset": name, "split": rows.split, "language": config.language}
    if wrong is None:
        return _winoground(rows, fields)
    return ImageCaptionSelectionTask(
        images=rows.images,
        captions=[[texts[0], *others] for texts, others in zip(rows.texts, wrong, strict=True)],
        subsets=rows.labels or (),
        groups=rows.groups,
        ids=list(map(str, rows.ids)),
        **fields,
    )


def _winoground(rows: EvaluationRows, fields: dict[str, Any]) -> WinogroundTask:
    """Return the task of rows that come in pairs of one group; an example has the id of the first of its rows."""
    groups = np.unique(rows.groups, return_inverse=True)[1]
    sizes = np.bincount(groups)
    if (sizes != 2).any():
        raise UserError(
            f"image_caption_selection needs wrong captions, or two pictures with a caption each in every group: "
            f"{rows.name} has no column of wrong captions, and {(sizes != 2).sum():,} of its {len(sizes):,} groups are "
            "not two rows; name the one as columns.negatives, or the other as columns.group"
        )
    _, first = np.unique(groups, return_index=True)
    # Examples in the order of their first rows, each with its two rows.
    order = np.lexsort((np.arange(len(groups)), first[groups]))
    images, chosen = rows.images, order.tolist()
    return WinogroundTask(
        images=LazyPictures(images.reader, images.positions[order], images.max_pixels),
        captions=[rows.texts[row][0] for row in chosen],
        subsets=[rows.labels[row] for row in chosen[::2]] if rows.labels is not None else (),
        ids=[str(rows.ids[row]) for row in chosen[::2]],
        **fields,
    )
