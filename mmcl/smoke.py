"""``--smoke``: any recipe, small enough to run on a CPU in seconds, without a network.

The towers keep their family and lose their size and weights, heads and queues shrink, the data becomes glyphs unless it
is digits, the run a few steps. It shows that a recipe works from end to end before a GPU is rented for it; its numbers
mean nothing.
"""

from __future__ import annotations

import os
from typing import Any

from mmcl.objectives.views import num_views
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, DataConfig, ImageViewConfig, SourceConfig
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tasks import (
    AnyTask,
    ClusteringConfig,
    MultiLabelZeroShotConfig,
    PairClassificationConfig,
    RetrievalConfig,
    STSConfig,
    TextRetrievalConfig,
    TextTaskConfig,
    ZeroShotClassificationConfig,
)
from mmcl.recipe_tuning import TuningConfig
from mmcl.section import Section
from mmcl.smoke_model import IMAGE_SIZE, tiny_model

NUM_STEPS = 4
BATCH_SIZE = 16
NUM_ROWS = 256
MICRO_BATCH_SIZE = 8
USUAL_IMAGE_SIZE = 224
GLYPH_COLUMNS = ColumnsConfig(
    image="image", text="text", group="group", label="script", labels="script", score="codepoint"
)
GLYPH_NEGATIVES = ("script", "face", "character")
GLYPH_PAIRS = ColumnsConfig(text="text", positive="character", negatives="script", score="codepoint", group="group")
DIGIT_COLUMNS = ColumnsConfig(image="image", text=False, group=False, label="label")
MOST = {
    "queue_size": 64,
    "memory": 64,
    "num_noise": 64,
    "num_prototypes": 16,
    "hidden_dim": 64,
    "output_dim": 64,
    # Of a few hundred texts nearly every token is frequent, and next to none would be left.
    "subsample": 0,
}
"""The largest values of an objective's fields."""


def smoke_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe's small likeness."""
    size = recipe.micro_batch_size
    return recipe.model_copy(
        update={
            "name": f"{recipe.name or 'run'}-smoke",
            "model": tiny_model(recipe.model),
            "tuning": _small_tuning(recipe.tuning),
            "data": _small_data(recipe),
            "objectives": recipe.objectives and tuple(map(_small, recipe.objectives)),
            "batch_size": _batch_size(),
            "micro_batch_size": min(size, MICRO_BATCH_SIZE) if isinstance(size, int) else size,
            "max_steps": NUM_STEPS,
            "lr": 1e-3,
            "precision": "fp32",
            "compile": False,
            "evaluate": tuple(_small_task(task, recipe.model) for task in recipe.evaluate),
            "guard": tuple(
                _small_task(task, recipe.model).model_copy(update={"name": f"guard {number}"})
                for number, task in enumerate(recipe.guard)
            ),
            "wise_ft": recipe.wise_ft and (0.5,),
            "log_every": 1,
            "save_every": None,
            "eval_every": None,
            "report_to": (),
        }
    )


def _small_tuning(tuning: TuningConfig) -> TuningConfig:
    """Of a tiny tower there is one block at least."""
    counts = {name: 1 for name in ("image", "text") if isinstance(getattr(tuning, name), int)}
    return tuning.model_copy(update=counts)


def _small_data(recipe: Recipe) -> DataConfig:
    data = recipe.data
    update: dict[str, Any] = {
        "image_views": tuple(_small_view(view, recipe.model) for view in data.image_views),
        # All of the glyphs have all that any objective needs.
        "paired_per_batch": None,
        "num_workers": 0,
    }
    if isinstance(data.train, SourceConfig) and data.train.path == "digits":
        update["train"] = data.train.model_copy(update={"limit": NUM_ROWS})
        if isinstance(data.validation, SourceConfig):
            update["validation"] = _digits("test")
    else:
        update |= {"train": _glyphs("train"), "validation": _glyphs("unseen_characters"), "columns": _columns(recipe)}
        update["class_names"] = None
    return data.model_copy(update=update)


def _columns(recipe: Recipe) -> ColumnsConfig:
    """Give the glyphs' columns the roles that the objectives name, and none that the recipe gives to no column."""
    num_texts = max(1, num_views(recipe.chosen_objectives, "text"))
    update: dict[str, Any] = {
        "positive": "text" if num_texts > 1 else False,
        "negatives": GLYPH_NEGATIVES[: num_texts - 2] if num_texts > 2 else False,
    }
    for role in ("image", "text", "group", "label"):
        if recipe.data.columns.given(role)[1] is False:
            update[role] = False
    if recipe.data.caption_templates:
        update["text"] = False
    return GLYPH_COLUMNS.model_copy(update=update)


def _small_view(view: ImageViewConfig, model: ModelConfig) -> ImageViewConfig:
    """Keep the ratio of a view's side to the model's, in eighths of the tiny model's."""
    if view.size is None:
        return view
    whole = (model.image and model.image.image_size) or USUAL_IMAGE_SIZE
    eighths = max(4, round(8 * view.size / whole))
    return view.model_copy(update={"size": eighths * IMAGE_SIZE // 8})


def _small(part: Section) -> Any:
    """Return a copy of a part of an objective whose heads, queues and the like are small."""
    update: dict[str, Any] = {}
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Section):
            update[name] = _small(value)
        elif name in MOST and value is not None:
            update[name] = min(value, MOST[name])
        elif name == "teacher":
            update[name] = None  # the tiny model itself: another's weights might have to be fetched
    return part.model_copy(update=update)


def _small_task(task: AnyTask, model: ModelConfig) -> AnyTask:
    if isinstance(task, (RetrievalConfig, ZeroShotClassificationConfig, MultiLabelZeroShotConfig)):
        update: dict[str, Any] = {"data": _glyphs("unseen_characters"), "columns": GLYPH_COLUMNS}
        if isinstance(task, ZeroShotClassificationConfig):
            update["class_names"] = None
        if isinstance(task, MultiLabelZeroShotConfig):
            update |= {"class_names": None, "separator": ";"}
        return task.model_copy(update=update)
    if isinstance(task, ClusteringConfig):
        columns = (
            GLYPH_COLUMNS if model.text is None or model.image else GLYPH_COLUMNS.model_copy(update={"image": False})
        )
        return task.model_copy(update={"data": _glyphs("unseen_characters"), "columns": columns})
    if isinstance(task, TextTaskConfig):
        return _small_text_task(task)
    return task.model_copy(update={"train": _digits("train"), "data": _digits("test"), "columns": DIGIT_COLUMNS})


def _small_text_task(task: TextTaskConfig) -> AnyTask:
    # Tasks on different data are on one now, and have to be told apart.
    name = task.name or (task.data and task.data.path.rpartition("/")[2])
    update = {"name": name, "data": _glyphs("unseen_characters"), "columns": GLYPH_PAIRS}
    if isinstance(task, PairClassificationConfig):  # glyphs have no pairs that do not belong together
        return STSConfig.model_validate(update)
    return task.model_copy(update=update | ({"corpus": None} if isinstance(task, TextRetrievalConfig) else {}))


def _glyphs(split: str) -> SourceConfig:
    return SourceConfig(path="glyphs", split=split, limit=NUM_ROWS)


def _digits(split: str) -> SourceConfig:
    return SourceConfig(path="digits", split=split, limit=NUM_ROWS)


def _batch_size() -> int:
    """Return the smallest size from `BATCH_SIZE` on that divides over the processes."""
    num_processes = int(os.environ.get("WORLD_SIZE", 1))
    return -(-BATCH_SIZE // num_processes) * num_processes
