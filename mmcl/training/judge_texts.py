"""Between a recipe's tasks of texts alone and the evaluation package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation import (
    BitextMiningTask,
    EvaluationError,
    PairClassificationTask,
    STSTask,
    TextRetrievalTask,
    TripletAccuracyTask,
)
from mmcl.data.text_rows import TextNeeds, TextRows, read_texts
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig
from mmcl.recipe_tasks import STSConfig, TextRetrievalConfig, TextTaskConfig

TextTask = STSTask | PairClassificationTask | TextRetrievalTask | BitextMiningTask | TripletAccuracyTask

NEEDS = {
    needs.task: needs
    for needs in (
        TextNeeds("sts", score=True),
        TextNeeds("pair_classification", label=True),
        TextNeeds("text_retrieval", takes_negatives=True),
        TextNeeds("bitext_mining"),
        TextNeeds("triplet_accuracy", negatives=True),
    )
}
"""What each task needs of its rows."""

_TRUTHS = {"1": True, "true": True, "1.0": True, "0": False, "false": False, "0.0": False}


def build_text_task(
    config: TextTaskConfig, rows: TextRows, name: str, columns: ColumnsConfig, key: str = "evaluate.0"
) -> TextTask:
    """Make a task of its part of a recipe and its rows.

    Where a cell has several texts, the first is taken; in retrieval all are.

    Args:
        config: the task.
        rows: what it judges on.
        name: what results call it.
        columns: its column roles.
        key: where the recipe has it.

    Raises:
        UserError: rows that it cannot judge by.
    """
    fields: dict[str, Any] = {"dataset": name, "split": rows.split, "language": config.language}
    pairs: dict[str, Any] = {
        "first": _first(rows.anchors),
        "second": _first(rows.positives),
        "groups": rows.groups,
        "ids": list(map(str, rows.ids)),
    }
    try:
        if isinstance(config, STSConfig):
            return STSTask(**fields, **pairs, scores=rows.scores, baselines=config.baselines)
        if config.task == "pair_classification":
            return PairClassificationTask(**fields, **pairs, labels=_truths(rows, key))
        if config.task == "bitext_mining":
            return BitextMiningTask(**fields, **pairs)
        if isinstance(config, TextRetrievalConfig):
            return TextRetrievalTask(**fields, **_collection(rows, _further_documents(config, columns, key)))
        return TripletAccuracyTask(**fields, **_triplets(rows))
    except EvaluationError as error:
        raise UserError(f"{config.task}: {error}") from error


def _first(texts: Sequence[Sequence[str]]) -> list[str]:
    return [each[0] for each in texts]


def _truths(rows: TextRows, key: str) -> list[bool]:
    wrong = next((label for label in rows.labels if label.lower() not in _TRUTHS), None)
    if wrong is not None:
        raise UserError(
            f'{key}.columns.label: the label of a pair must be 1 or 0, true or false, got "{wrong}" in {rows.name}'
        )
    return [_TRUTHS[label.lower()] for label in rows.labels]


def _triplets(rows: TextRows) -> dict[str, Any]:
    """Return a triplet for each hard negative; those of a row are resampled together."""
    triplets = [
        (anchors[0], positives[0], negative, group, f"{row}.{number}")
        for anchors, positives, negatives, group, row in zip(
            rows.anchors, rows.positives, rows.negatives, rows.groups, rows.ids, strict=True
        )
        for number, negative in enumerate(negatives)
    ]
    names = ("anchors", "positives", "negatives", "groups", "ids")
    return dict(zip(names, map(list, zip(*triplets, strict=True)), strict=True))


def _further_documents(config: TextRetrievalConfig, columns: ColumnsConfig, key: str) -> list[str]:
    if config.corpus is None:
        return []
    positive = columns.positive if isinstance(columns.positive, str) else "positive"
    return read_texts(config.corpus, (positive, "text"), f"{key}.corpus")


def _collection(rows: TextRows, further: Sequence[str]) -> dict[str, Any]:
    """Return queries, corpus and relevance; equal queries of one group are one, and so are equal documents."""
    texts = [text for column in (rows.positives, rows.negatives) for cell in column for text in cell]
    documents = {text: f"d{number}" for number, text in enumerate(dict.fromkeys([*texts, *further]))}
    relevant: dict[int, dict[str, float]] = {}
    queries: dict[tuple[int, str], str] = {}
    for anchors, positives, group, row in zip(rows.anchors, rows.positives, rows.groups, rows.ids, strict=True):
        relevant.setdefault(group, {}).update({documents[text]: 1.0 for text in positives})
        for number, text in enumerate(anchors):
            queries.setdefault((group, text), f"{row}.{number}")
    return {
        "queries": {name: text for (_, text), name in queries.items()},
        "corpus": {name: text for text, name in documents.items()},
        "relevance": {name: relevant[group] for (group, _), name in queries.items()},
        "groups": [group for group, _ in queries],
    }
