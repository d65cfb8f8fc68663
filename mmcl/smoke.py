"""``--smoke``: any recipe, small enough to run on a CPU in seconds, without a network.

The towers keep their family and lose their size and weights, the data becomes glyphs, the run a few steps. It shows
that a recipe works from end to end before a GPU is rented for it; its numbers mean nothing.
"""

from __future__ import annotations

import inspect
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig

from mmcl.recipe import (
    ColumnsConfig,
    ImageTowerConfig,
    ModelConfig,
    Recipe,
    SourceConfig,
    TextTowerConfig,
    ZeroShotClassificationConfig,
)

NUM_STEPS = 4
BATCH_SIZE = 16
NUM_ROWS = 256
IMAGE_SIZE = 32
GLYPH_COLUMNS = ColumnsConfig(image="image", text="text", group="group", label="script")
TINY = {
    "hidden_size": 32,
    "d_model": 32,
    "dim": 32,
    "embed_dim": 16,
    "hidden_sizes": [8, 16, 16, 32],
    "depths": [1, 1, 1, 1],
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layers": 2,
    "num_attention_heads": 2,
    "num_heads": [1, 1, 2, 2],
    "n_heads": 2,
    "intermediate_size": 64,
    "hidden_dim": 64,
    "embedding_size": 8,
    "projection_dim": 32,
    "patch_size": 8,
    "window_size": 2,
}
JOINT_FALLBACK, IMAGE_FALLBACK, TEXT_FALLBACK = "clip", "vit", "bert"


def smoke_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe's small likeness."""
    tasks = []
    for task in recipe.evaluate:
        update: dict[str, Any] = {"data": _glyphs("unseen_characters"), "columns": GLYPH_COLUMNS}
        if isinstance(task, ZeroShotClassificationConfig):
            update["class_names"] = None
        tasks.append(task.model_copy(update=update))
    return recipe.model_copy(
        update={
            "name": f"{recipe.name or 'run'}-smoke",
            "model": _tiny_model(recipe.model),
            "data": recipe.data.model_copy(
                update={
                    "train": _glyphs("train"),
                    "validation": _glyphs("unseen_characters"),
                    "columns": GLYPH_COLUMNS,
                    "num_workers": 0,
                }
            ),
            "batch_size": BATCH_SIZE,
            "max_steps": NUM_STEPS,
            "lr": 1e-3,
            "precision": "fp32",
            "evaluate": tuple(tasks),
            "log_every": 1,
            "save_every": None,
            "eval_every": None,
            "report_to": (),
        }
    )


def _glyphs(split: str) -> SourceConfig:
    return SourceConfig(path="glyphs", split=split, limit=NUM_ROWS)


def _tiny_model(model: ModelConfig) -> ModelConfig:
    tiny: dict[str, Any] = {
        "temperature": model.temperature,
        "learn_temperature": model.learn_temperature,
        "max_logit_scale": model.max_logit_scale,
        "batch_norm": model.batch_norm,
        "embedding_dim": 32,
    }
    if model.image is None or model.text is None:
        family = _family(model.name, model.config, JOINT_FALLBACK)
        return ModelConfig(config=_tiny_joint(family), tokenizer="glyphs", **tiny)
    image = _family(model.image.name, model.image.config, IMAGE_FALLBACK)
    text = _family(model.text.name, model.text.config, TEXT_FALLBACK)
    image_config = dict(model.image.config or {}) if image == "timm_wrapper" else _tiny_config(image)
    return ModelConfig(
        image=ImageTowerConfig(config=image_config, pooling=model.image.pooling, image_size=IMAGE_SIZE),
        text=TextTowerConfig(config=_tiny_config(text), pooling=model.text.pooling, tokenizer="glyphs", max_length=32),
        **tiny,
    )


def _family(name: str | None, config: dict[str, Any] | None, fallback: str) -> str:
    """Find a model's type: from its config, from its folder or the local cache, or from its name."""
    if config is not None:
        return str(config["model_type"])
    assert name is not None
    try:
        return str(AutoConfig.from_pretrained(name, local_files_only=True).model_type)
    except (OSError, ValueError):
        plain = name.lower().split("/")[-1].replace("-", "_")
        known = [family for family in CONFIG_MAPPING if family.replace("-", "_") in plain]
        return max(known, key=len) if known else fallback


def _tiny_config(family: str) -> dict[str, Any]:
    default = CONFIG_MAPPING[family]()
    known = inspect.signature(type(default).__init__).parameters
    small = {key: _fit(value, getattr(default, key)) for key, value in TINY.items() if key in known}
    if "image_size" in known:
        small["image_size"] = IMAGE_SIZE
    if "depths" in known:
        # Each stage halves the map again.
        small["patch_size"] = 2
    return {"model_type": family, **small}


def _fit(value: Any, default: Any) -> Any:
    """Give a size as the family wants it: one number, or one for each stage."""
    if isinstance(default, (list, tuple)):
        return list(value)[: len(default)] if isinstance(value, list) else [value] * len(default)
    return value[-1] if isinstance(value, list) else value


def _tiny_joint(family: str) -> dict[str, Any]:
    default = CONFIG_MAPPING[family]()
    tiny: dict[str, Any] = {"model_type": family}
    if hasattr(default, "projection_dim"):
        tiny["projection_dim"] = 32
    for part in ("text_config", "vision_config"):
        part_family = getattr(default, part).model_type
        tiny[part] = {key: value for key, value in _tiny_config(part_family).items() if key != "model_type"}
    return tiny
