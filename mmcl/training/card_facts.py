"""What a run knows of itself for the model card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation import Change, TaskResult
from mmcl.data.loader import TrainData
from mmcl.export import ModelCardFacts, Score, hub_ids
from mmcl.recipe import Recipe
from mmcl.recipe_data import SourceConfig
from mmcl.recipe_files import dump_recipe


def card_facts(
    name: str,
    recipe: Recipe,
    data: TrainData,
    results: Sequence[TaskResult],
    changes: Sequence[Change],
    alpha: float | None,
    unseen: Sequence[str],
) -> ModelCardFacts:
    """Return what the card of a run's model says.

    Args:
        name: of the run.
        recipe: the run.
        data: what it learnt from.
        results: of what is exported.
        changes: from before to what is exported.
        alpha: share of the fine-tuned weights in it, where one was chosen; the changes are then of the half of the
            examples that did not choose.
        unseen: what was not looked at.
    """
    model = recipe.model
    towers = [part for part in (model, model.image, model.text) if part is not None and part.pretrained]
    return ModelCardFacts(
        name,
        training_data=_said_of(recipe, data),
        recipe=dump_recipe(recipe),
        scores=[score for result in results for score in _scores(result)],
        changes=changes,
        alpha=alpha,
        limitations=[f"{line[0].upper()}{line[1:]}." for line in unseen],
        license=recipe.license,
        languages=recipe.language,
        base_models=hub_ids(part.name for part in towers),
        datasets=hub_ids(each.config.path for each in data.sources),
    )


def _scores(result: TaskResult) -> list[Score]:
    found = []
    for metric in result.headline:
        interval = result.intervals.get(metric)
        low, high = (interval.low, interval.high) if interval else (None, None)
        found.append(Score(result.task, result.dataset, metric, result.metrics[metric], low, high, result.split))
    return found


def _said_of(recipe: Recipe, data: TrainData) -> str:
    """Say what was learnt from, and what was held out of it."""
    if data.num_rows is None:
        return f"Learnt from {data.remarks[0]}."
    learnt = f"Learnt from {data.num_rows:,} rows, {data.num_groups:,} groups, of {data.name}"
    if len(data.sources) == 1:
        learnt += f" ({data.sources[0].roles.described()})."
    else:
        learnt += f": {'; '.join(data.remarks[: len(data.sources)])}."
    if isinstance(recipe.data.validation, SourceConfig):
        return f"{learnt} Validation rows: {recipe.data.validation.path}."
    num_groups = len(np.unique(data.group_ids[data.held_out]))
    return f"{learnt} Held out: {len(data.held_out):,} rows, {num_groups:,} groups, none of which it learnt from."
