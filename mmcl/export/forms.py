"""The forms a model can take on disk; each holds the weights once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import transformers
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedConfig, VisionTextDualEncoderConfig
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from mmcl.errors import UserError
from mmcl.export import sentence_transformers_files as st
from mmcl.export.pretrained import on_cpu, save_pretrained, write_json
from mmcl.export.to_open_clip import WEIGHTS_FILE, write_as_open_clip
from mmcl.model import TwoTower
from mmcl.text.tokenizer import HuggingFaceTokenizer
from mmcl.towers.description import HEAD_FOLDER, IMAGE_FOLDER, TEXT_FOLDER, Description
from mmcl.towers.joint import JointTowers
from mmcl.towers.open_clip import OpenClipTowers
from mmcl.towers.pair import PairTowers
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.quick_gelu import CONFIG_FILE
from mmcl.towers.single import SingleTower, TextHead
from mmcl.towers.static import StaticTower

Form = Literal["joint", "dual_encoder", "router", "open_clip", "single", "static"]
NORMALIZE_FOLDER = "normalize"


def form_of(model: TwoTower) -> Form:
    """Return the form that most libraries open: a lone tower, a joint model, a dual encoder, a Router, open_clip's."""
    towers = model.towers
    if isinstance(towers, SingleTower):
        return "single"
    if isinstance(towers, StaticTower):
        return "static"
    if isinstance(towers, JointTowers):
        return "joint"
    if isinstance(towers, OpenClipTowers):
        return "open_clip"
    if not isinstance(towers, PairTowers):
        raise UserError(f"no form on disk for {type(towers).__name__}")
    return "dual_encoder" if _is_dual_encoder(model, towers) else "router"


def write_form(model: TwoTower, folder: Path, form: Form) -> Description:
    """Write weights, configurations, preprocessing and tokenizer.

    Args:
        model: what to write; it may be on any device.
        folder: exists and is empty.
        form: from `form_of`, or ``open_clip`` for a model of transformers.

    Returns:
        What else it takes to load exactly this model again.

    Raises:
        UserError: a model of transformers that open_clip has no form for.
    """
    return replace(_write(model, folder, form), prompts=model.prompts)


def _write(model: TwoTower, folder: Path, form: Form) -> Description:
    towers = model.towers
    if form == "open_clip" and not isinstance(towers, OpenClipTowers):
        return write_as_open_clip(model, folder)
    if isinstance(towers, JointTowers):
        _write_joint(model, towers, folder)
        return Description("transformers", model.origin, model.preprocessing)
    if isinstance(towers, OpenClipTowers):
        _write_open_clip(model, towers, folder)
        return Description("open_clip", model.origin, model.preprocessing)
    if isinstance(towers, SingleTower):
        return _described(model, "single", single=_write_single(model, towers, folder))
    if isinstance(towers, StaticTower):
        return _described(model, "static", single=_write_static(model, towers, folder))
    assert isinstance(towers, PairTowers)
    if form == "dual_encoder":
        _write_dual_encoder(model, towers, folder)
        return Description("transformers", model.origin, model.preprocessing)
    _write_router(model, towers, folder)
    return _described(model, "router", pair=_pair(model, towers))


def _described(model: TwoTower, form: Literal["router", "single", "static"], **parts: Any) -> Description:
    """Describe a form whose weights have no place for the temperature."""
    return Description(form, model.origin, model.preprocessing, log_scale(model), logit_bias(model), **parts)


def log_scale(model: TwoTower) -> float:
    """Return ln(1 / temperature)."""
    return model.logit_scale.log_scale.item()


def logit_bias(model: TwoTower) -> float | None:
    """Return SigLIP's bias."""
    return None if model.logit_bias is None else model.logit_bias.item()


def _is_dual_encoder(model: TwoTower, towers: PairTowers) -> bool:
    """True when both towers are pooled by themselves, to the width that VisionTextDualEncoderModel expects.

    Its image processor is one of transformers', so that the preprocessing must be one as well.
    """
    assert model.preprocessing is not None
    if (towers.image_pooling, towers.text_pooling) != ("pooler", "pooler") or model.logit_bias is not None:
        return False
    if not model.preprocessing.fits_a_processor:
        return False
    widths = ((towers.image_model.config, towers.image_dim), (towers.text_model.config, towers.text_dim))
    return all(getattr(config, "hidden_size", width) == width for config, width in widths)


def _with_hidden_size(config: PreTrainedConfig, width: int) -> dict[str, Any]:
    """Return a tower's configuration with the width that some (timm, ConvNeXt) do not call ``hidden_size``."""
    return {**config.to_dict(), "hidden_size": width}


def _write_joint(model: TwoTower, towers: JointTowers, folder: Path) -> None:
    state = towers.state_dict_with(log_scale(model), logit_bias(model))
    save_pretrained(towers.model.config, state, folder)
    _write_whole(model, towers.model.config.model_type, folder)


def _write_dual_encoder(model: TwoTower, towers: PairTowers, folder: Path) -> None:
    config = VisionTextDualEncoderConfig(
        vision_config=_with_hidden_size(towers.image_model.config, towers.image_dim),
        text_config=_with_hidden_size(towers.text_model.config, towers.text_dim),
        projection_dim=towers.embedding_dim,
        logit_scale_init_value=log_scale(model),
    )
    parts: dict[str, nn.Module] = {
        "vision_model": towers.image_model,
        "text_model": towers.text_model,
        "visual_projection": towers.image_projection,
        "text_projection": towers.text_projection,
    }
    state = {f"{part}.{name}": tensor for part, child in parts.items() for name, tensor in child.state_dict().items()}
    save_pretrained(config, {**state, "logit_scale": model.logit_scale.log_scale}, folder)
    _write_whole(model, config.model_type, folder)


def _write_whole(model: TwoTower, model_type: str, folder: Path) -> None:
    """Write what goes with a model of both modalities: its processor, and sentence-transformers' files."""
    assert isinstance(model.tokenizer, HuggingFaceTokenizer)
    assert model.preprocessing is not None
    image_processor = model.preprocessing.to_processor()
    model.tokenizer.save(folder)
    image_processor.save_pretrained(folder)
    processor_class = PROCESSOR_MAPPING_NAMES.get(model_type)
    if processor_class is not None:
        with model.tokenizer.as_saved() as backend:
            processor = getattr(transformers, processor_class)(image_processor=image_processor, tokenizer=backend)
            processor.save_pretrained(folder)
    outputs = {
        "image": ("get_image_features", "pooler_output"),
        "text": ("get_text_features", "pooler_output"),
    }
    st.write_transformer(folder, outputs, is_pooled=True, tokenizer=model.tokenizer)
    _write_normalized(model, folder, [("", st.TRANSFORMER)])


def _write_router(model: TwoTower, towers: PairTowers, folder: Path) -> None:
    assert model.preprocessing is not None
    assert model.tokenizer is not None
    routes = {}
    for part, backbone, pooling, width, projection in (
        (IMAGE_FOLDER, towers.image_model, towers.image_pooling, towers.image_dim, towers.image_projection),
        (TEXT_FOLDER, towers.text_model, towers.text_pooling, towers.text_dim, towers.text_projection),
    ):
        modules = _write_tower(model, folder, part, part, backbone, pooling, width)
        st.write_dense(folder / f"{part}_projection", projection.weight)
        routes[part] = [*modules, (f"{part}_projection", st.DENSE), (NORMALIZE_FOLDER, st.NORMALIZE)]
    model.preprocessing.to_processor().save_pretrained(folder / IMAGE_FOLDER)
    model.tokenizer.save(folder / TEXT_FOLDER)
    st.write_normalize(folder / NORMALIZE_FOLDER)
    st.write_router(folder, routes)
    st.write_modules(folder, [("", st.ROUTER)], model.prompts)


def _write_tower(
    model: TwoTower, folder: Path, part: str, modality: str, backbone: Any, pooling: str, width: int
) -> list[tuple[str, str]]:
    """Write one tower, in the sub-folder ``part`` or at the root (empty), and its pooling; return their modules."""
    drops_pooler = hasattr(backbone, "pooler") and backbone.pooler is None
    config = _with_preprocessing(backbone.config, model.preprocessing) if modality == "image" else backbone.config
    save_pretrained(config, backbone.state_dict(), folder / part, has_pooler=not drops_pooler)
    st.write_transformer(
        folder / part,
        {modality: ("forward", "pooler_output" if pooling.endswith("pooler") else "last_hidden_state")},
        is_pooled=pooling == "pooler",
        # Else sentence-transformers would make a pooler of random weights, and say so.
        model_kwargs={"add_pooling_layer": False} if drops_pooler else None,
    )
    if pooling == "pooler":
        return [(part, st.TRANSFORMER)]
    place = f"{part}_pooling" if part else "pooling"
    st.write_pooling(folder / place, width, pooling)
    return [(part, st.TRANSFORMER), (place, st.POOLING)]


def _with_preprocessing(config: PreTrainedConfig, preprocessing: ImagePreprocessing | None) -> PreTrainedConfig:
    """Return a timm model's configuration with the transform in it, where transformers looks before anywhere else."""
    if preprocessing is None or getattr(config, "pretrained_cfg", None) is None:
        return config
    config = deepcopy(config)
    config.pretrained_cfg = {**config.pretrained_cfg, **preprocessing.to_timm()}
    return config


def _write_single(model: TwoTower, towers: SingleTower, folder: Path) -> dict[str, Any]:
    """Write one tower at the root, its kept head beside it; return what the description says of it."""
    width = towers.image_dim or towers.text_dim
    modules = _write_tower(model, folder, "", towers.modality, towers.backbone, towers.pooling, width)
    if model.preprocessing is not None:
        model.preprocessing.to_processor().save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save(folder)
    for number, layer in enumerate(towers.head or ()):
        assert isinstance(layer, TextHead)
        part = f"{HEAD_FOLDER}_{number}" if number else HEAD_FOLDER
        st.write_dense(folder / part, layer.linear.weight, layer.linear.bias, type(layer.activation))
        modules.append((part, st.DENSE))
    _write_normalized(model, folder, modules)
    return {
        "modality": towers.modality,
        "pooling": towers.pooling,
        "dim": width,
        "max_length": None if model.tokenizer is None else model.tokenizer.max_length,
        "has_head": towers.head is not None,
    }


def _write_static(model: TwoTower, towers: StaticTower, folder: Path) -> dict[str, Any]:
    """Write a table of token vectors and its tokenizer; return what the description says of it."""
    assert model.tokenizer is not None
    st.write_static_embedding(folder, towers.embedding.weight)
    model.tokenizer.save(folder)
    _write_normalized(model, folder, [("", st.STATIC_EMBEDDING)])
    return {"max_length": model.tokenizer.max_length}


def _write_normalized(model: TwoTower, folder: Path, modules: list[tuple[str, str]]) -> None:
    """Write ``modules.json``, a Normalize module last."""
    st.write_normalize(folder / NORMALIZE_FOLDER)
    st.write_modules(folder, [*modules, (NORMALIZE_FOLDER, st.NORMALIZE)], model.prompts)


def _pair(model: TwoTower, towers: PairTowers) -> dict[str, Any]:
    assert model.tokenizer is not None
    return {
        IMAGE_FOLDER: {"pooling": towers.image_pooling, "dim": towers.image_dim},
        TEXT_FOLDER: {"pooling": towers.text_pooling, "dim": towers.text_dim},
        "embedding_dim": towers.embedding_dim,
        "max_length": model.tokenizer.max_length,
    }


def _write_open_clip(model: TwoTower, towers: OpenClipTowers, folder: Path) -> None:
    assert model.preprocessing is not None
    assert model.tokenizer is not None
    config = {"model_cfg": deepcopy(towers.model_config), "preprocess_cfg": model.preprocessing.to_open_clip()}
    write_json(folder / CONFIG_FILE, config)
    state = on_cpu(towers.state_dict_with(log_scale(model), logit_bias(model)))
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    model.tokenizer.save(folder)
