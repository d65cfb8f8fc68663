"""The tiny stand-in of any model: its family, without its size and weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from mmcl.model import build_model
from mmcl.recipe_model import STATIC, ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.towers.description import Description, is_saved
from mmcl.towers.sentence_model import find_sentence_model
from mmcl.towers.source import TowerSource, locate_tower, resolve_folder

IMAGE_SIZE = 32
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


def tiny_model(model: ModelConfig) -> ModelConfig:
    """Return a model of the same towers and families, small enough to be built in a moment, from nothing.

    A family that cannot be had so small becomes a common one.
    """
    tiny: dict[str, Any] = {
        "temperature": model.temperature,
        "learn_temperature": model.learn_temperature,
        "max_logit_scale": model.max_logit_scale,
        "batch_norm": model.batch_norm,
    }
    image, text = _towers_of(model)
    tiny["prompts"] = _prompts_of(model, text)
    if image is not None or text is not None:
        parts = {"image": image and _tiny_image(image), "text": text and _tiny_text(text)}
        width = 32 if image is not None and text is not None else None
        return ModelConfig(**parts, embedding_dim=width, **tiny)
    place = None if model.name is None else resolve_folder(model.name)
    family = _family(place, model.config, _is_joint, JOINT_FALLBACK)
    if not _is_joint(family) or not _builds(lambda: _joint(family)):
        family = JOINT_FALLBACK
    return _joint(family).model_copy(update={**tiny, "embedding_dim": 32})


def _towers_of(model: ModelConfig) -> tuple[ImageTowerConfig | None, TextTowerConfig | None]:
    """Return the recipe's towers; of a name, the lone one that an exported model of that name has."""
    if model.name is None:
        return model.image, model.text
    if not is_saved(resolve_folder(model.name)):
        is_sentence_model = find_sentence_model(resolve_folder(model.name)) is not None
        return None, TextTowerConfig(name=model.name) if is_sentence_model else None
    description = Description.read(Path(resolve_folder(model.name)))
    if description.form == "static" or (description.single or {}).get("modality") == "text":
        return None, TextTowerConfig(name=model.name)
    return (ImageTowerConfig(name=model.name) if description.form == "single" else None), None


def _prompts_of(model: ModelConfig, text: TextTowerConfig | None) -> dict[str, str] | None:
    """Return the recipe's prompts; where it has none, those that its text tower comes with."""
    if model.prompts is not None or text is None or text.name is None:
        return model.prompts
    return dict(locate_tower(text.name, "text").prompts.texts) or None


def _joint(family: str) -> ModelConfig:
    return ModelConfig(config=_tiny_joint(family), tokenizer="glyphs")


def _tiny_image(tower: ImageTowerConfig) -> ImageTowerConfig:
    source = None if tower.name is None else locate_tower(tower.name, "image")

    def likeness() -> ImageTowerConfig:
        family = _family(_place(source), tower.config, CONFIG_MAPPING.__contains__, IMAGE_FALLBACK)
        if family == "timm_wrapper":
            config = dict(tower.config or TINY_TIMM)
        else:
            config = _tiny_config(_part(family, "vision_config"))
        return ImageTowerConfig(config=config, pooling=tower.pooling, image_size=IMAGE_SIZE)

    if _builds(lambda: ModelConfig(image=likeness())):
        return likeness()
    return _image(IMAGE_FALLBACK)


def _tiny_text(tower: TextTowerConfig) -> TextTowerConfig:
    source = None if tower.name is None else locate_tower(tower.name, "text")
    if (source is not None and source.is_static) or (tower.config or {}).get("model_type") == STATIC:
        config = {"model_type": STATIC, "embedding_dim": 32}
        return TextTowerConfig(config=config, tokenizer="glyphs", max_length=32)

    def likeness() -> TextTowerConfig:
        family = _family(_place(source), tower.config, CONFIG_MAPPING.__contains__, TEXT_FALLBACK)
        return _text(_part(family, "text_config"), tower.pooling, _dropouts(tower.config))

    if _builds(lambda: ModelConfig(text=likeness())):
        return likeness()
    return _text(TEXT_FALLBACK)


def _place(source: TowerSource | None) -> str | None:
    return None if source is None else source.place


def _image(family: str) -> ImageTowerConfig:
    return ImageTowerConfig(config=_tiny_config(family), image_size=IMAGE_SIZE)


def _text(family: str, pooling: Any = "auto", dropouts: dict[str, Any] | None = None) -> TextTowerConfig:
    config = {**_tiny_config(family), **(dropouts or {})}
    return TextTowerConfig(config=config, pooling=pooling, tokenizer="glyphs", max_length=32)


def _dropouts(config: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a configuration says of dropout, which SimCSE cannot do without."""
    return {name: value for name, value in (config or {}).items() if "dropout" in name}


def _builds(likeness: Callable[[], ModelConfig]) -> bool:
    """Tell whether a family can be had so small: there are hundreds, and each refuses sizes in its own way."""
    try:
        build_model(likeness())
    except Exception:
        return False
    return True


def _family(place: str | None, config: dict[str, Any] | None, fits: Callable[[str], bool], fallback: str) -> str:
    """Find a model's type: from its config, from its folder or the local cache, or from its name."""
    if config is not None:
        return str(config["model_type"])
    assert place is not None
    try:
        return str(AutoConfig.from_pretrained(place, local_files_only=True).model_type)
    except (OSError, ValueError, KeyError):
        if place.startswith("timm/"):
            return "timm_wrapper"
        plain = place.lower().split("/")[-1].replace("-", "_")
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
