"""``--smoke``: any recipe, small enough to run on a CPU in seconds, without a network.

The towers keep their family and lose their size and weights, the data becomes glyphs, the run a few steps. It shows
that a recipe works from end to end before a GPU is rented for it; its numbers mean nothing.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from mmcl.model import build_model, resolve_folder
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.recipe_model import ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.recipe_tasks import ZeroShotClassificationConfig

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
TINY_TIMM = {"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"channels": [8, 8, 16, 16]}}
JOINT_FALLBACK, IMAGE_FALLBACK, TEXT_FALLBACK = "clip", "vit", "bert"
PART_FALLBACKS = {"vision_config": "clip_vision_model", "text_config": "clip_text_model"}


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
            "batch_size": _batch_size(),
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


def _batch_size() -> int:
    """Return the smallest size from `BATCH_SIZE` on that divides over the processes."""
    num_processes = int(os.environ.get("WORLD_SIZE", 1))
    return -(-BATCH_SIZE // num_processes) * num_processes


def _tiny_model(model: ModelConfig) -> ModelConfig:
    tiny: dict[str, Any] = {
        "temperature": model.temperature,
        "learn_temperature": model.learn_temperature,
        "max_logit_scale": model.max_logit_scale,
        "batch_norm": model.batch_norm,
        "embedding_dim": 32,
    }
    if model.image is None or model.text is None:
        family = _family(model.name, model.config, _is_joint, JOINT_FALLBACK)
        if not _is_joint(family) or not _builds(lambda: _joint(family)):
            family = JOINT_FALLBACK
        return _joint(family).model_copy(update=tiny)
    return ModelConfig(image=_tiny_image(model.image), text=_tiny_text(model.text), **tiny)


def _joint(family: str) -> ModelConfig:
    return ModelConfig(config=_tiny_joint(family), tokenizer="glyphs")


def _tiny_image(tower: ImageTowerConfig) -> ImageTowerConfig:
    def likeness() -> ImageTowerConfig:
        family = _family(tower.name, tower.config, CONFIG_MAPPING.__contains__, IMAGE_FALLBACK)
        if family == "timm_wrapper":
            config = dict(tower.config or TINY_TIMM)
        else:
            config = _tiny_config(_part(family, "vision_config"))
        return ImageTowerConfig(config=config, pooling=tower.pooling, image_size=IMAGE_SIZE)

    if _builds(lambda: ModelConfig(image=likeness(), text=_text(TEXT_FALLBACK))):
        return likeness()
    return _image(IMAGE_FALLBACK)


def _tiny_text(tower: TextTowerConfig) -> TextTowerConfig:
    def likeness() -> TextTowerConfig:
        family = _family(tower.name, tower.config, CONFIG_MAPPING.__contains__, TEXT_FALLBACK)
        return _text(_part(family, "text_config"), tower.pooling)

    if _builds(lambda: ModelConfig(image=_image(IMAGE_FALLBACK), text=likeness())):
        return likeness()
    return _text(TEXT_FALLBACK)


def _image(family: str) -> ImageTowerConfig:
    return ImageTowerConfig(config=_tiny_config(family), image_size=IMAGE_SIZE)


def _text(family: str, pooling: Any = "auto") -> TextTowerConfig:
    return TextTowerConfig(config=_tiny_config(family), pooling=pooling, tokenizer="glyphs", max_length=32)


def _builds(likeness: Callable[[], ModelConfig]) -> bool:
    """Tell whether a family can be had so small: there are hundreds, and each refuses sizes in its own way."""
    try:
        build_model(likeness())
    except Exception:
        return False
    return True


def _family(name: str | None, config: dict[str, Any] | None, fits: Callable[[str], bool], fallback: str) -> str:
    """Find a model's type: from its config, from its folder or the local cache, or from its name."""
    if config is not None:
        return str(config["model_type"])
    assert name is not None
    try:
        return str(AutoConfig.from_pretrained(resolve_folder(name), local_files_only=True).model_type)
    except (OSError, ValueError, KeyError):
        if name.startswith("timm/"):
            return "timm_wrapper"
        plain = name.lower().split("/")[-1].replace("-", "_")
        known = [family for family in CONFIG_MAPPING if family.replace("-", "_") in plain and fits(family)]
        return max(known, key=len) if known else fallback


def _is_joint(family: str) -> bool:
    """True for a type that encodes both pictures and texts, and keeps the sizes of each in a part of its own."""
    if family not in CONFIG_MAPPING:
        return False
    model_class = MODEL_MAPPING.get(CONFIG_MAPPING[family], None)
    if not (hasattr(model_class, "get_image_features") and hasattr(model_class, "get_text_features")):
        return False
    return all(hasattr(CONFIG_MAPPING[family](), part) for part in PART_FALLBACKS)


def _part(family: str, part: str) -> str:
    """Return the type of one tower of a joint model, or the type itself where it is one tower's."""
    config = CONFIG_MAPPING[family]()
    if not all(hasattr(config, name) for name in PART_FALLBACKS):
        return family
    own = getattr(config, part)
    return own.model_type if type(own) in MODEL_MAPPING else PART_FALLBACKS[part]


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
