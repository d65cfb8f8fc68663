"""The joint families of transformers: a tiny checkpoint of each, saved by transformers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers import AutoConfig, AutoModel, AutoProcessor

from tests.towers import tiny_tokenizers as tokenizers
from tests.towers.samples import TEXTS, pictures
from tests.towers.tiny_configs import scramble

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
PATCHES: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
POSITIONS: dict[str, Any] = {**SIZES, "max_position_embeddings": tokenizers.LENGTH}
"""Of models that count positions from 0."""
SHIFTED: dict[str, Any] = {**SIZES, "max_position_embeddings": tokenizers.LENGTH + 2}
"""Of RoBERTa's kin, which count them from after the padding id."""
SMALL_EFFICIENTNET = {"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 32}
CROPPED = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
SQUASHED = {"size": {"height": 32, "width": 32}}


@dataclass(frozen=True)
class JointFamily:
    """How the checkpoints of a family are made, and how transformers' own documentation encodes with them.

    Attributes:
        config: of the model, by transformers' names.
        make_tokenizer: its tokenizer; given a folder where it may leave files.
        image_processor: its class and fields.
        processor: class that holds both.
        text_options: what its documentation hands to the processor besides ``truncation``.
        task: the class that its public checkpoints were saved from, where that is another than the model's.
        texts: strings that are encoded.
    """

    config: dict[str, Any]
    make_tokenizer: Callable[[Path], Any]
    image_processor: tuple[str, dict[str, Any]] = ("CLIPImageProcessor", CROPPED)
    processor: str = "CLIPProcessor"
    text_options: dict[str, Any] = field(default_factory=lambda: {"padding": True})
    task: str | None = None
    texts: list[str] = field(default_factory=lambda: TEXTS)


def _both(model_type: str, text: dict[str, Any], vision: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model_type": model_type, "text_config": text, "vision_config": vision, "projection_dim": 8, **fields}


def _clip(folder: Path) -> Any:
    return tokenizers.clip()


def _clip_padded_with_an_exclamation_mark(folder: Path) -> Any:
    return tokenizers.clip(pad_token="!")


def _bert(folder: Path) -> Any:
    return tokenizers.bert()


def _xlm_roberta(folder: Path) -> Any:
    return tokenizers.xlm_roberta()


END = 517
"""Id of the end token of `tokenizers.clip`."""
FAMILIES: dict[str, JointFamily] = {
    # OpenAI's files call the end token 2, which transformers reads as the largest id.
    "clip": JointFamily(_both("clip", {**POSITIONS, "eos_token_id": 2}, PATCHES), _clip),
    "clip with gelu": JointFamily(
        _both("clip", {**POSITIONS, "eos_token_id": END, "hidden_act": "gelu"}, {**PATCHES, "hidden_act": "gelu"}),
        _clip_padded_with_an_exclamation_mark,
    ),
    "metaclip 2": JointFamily(_both("metaclip_2", {**POSITIONS, "eos_token_id": 2}, PATCHES), _xlm_roberta),
    "siglip": JointFamily(
        {"model_type": "siglip", "text_config": POSITIONS, "vision_config": PATCHES},
        tokenizers.siglip,
        ("SiglipImageProcessor", SQUASHED),
        "SiglipProcessor",
        {"padding": "max_length"},
    ),
    "siglip 2": JointFamily(
        {"model_type": "siglip", "text_config": POSITIONS, "vision_config": PATCHES},
        lambda folder: tokenizers.siglip2(),
        ("SiglipImageProcessor", {**SQUASHED, "resample": 2}),
        "SiglipProcessor",
        {"padding": "max_length", "max_length": tokenizers.LENGTH},
    ),
    "siglip 2 with gemma": JointFamily(
        {"model_type": "siglip", "text_config": POSITIONS, "vision_config": PATCHES},
        lambda folder: tokenizers.gemma(),
        ("SiglipImageProcessor", {**SQUASHED, "resample": 2}),
        "SiglipProcessor",
        {"padding": "max_length", "max_length": tokenizers.LENGTH},
    ),
    "chinese clip": JointFamily(
        _both("chinese_clip", POSITIONS, PATCHES),
        _bert,
        ("ChineseCLIPImageProcessor", SQUASHED | {"do_center_crop": False}),
        "ChineseCLIPProcessor",
    ),
    "align": JointFamily(
        _both("align", {**SIZES, "max_position_embeddings": 80}, SMALL_EFFICIENTNET, projection_dim=32),
        lambda folder: tokenizers.bert(model_max_length=80),
        (
            "EfficientNetImageProcessor",
            {
                "size": {"height": 48, "width": 48},
                "crop_size": {"height": 32, "width": 32},
                "do_center_crop": True,
                "rescale_factor": 1 / 127.5,
                "rescale_offset": True,
                "do_normalize": False,
                "include_top": False,
            },
        ),
        "AlignProcessor",
        {},
    ),
    "altclip": JointFamily(
        _both("altclip", {**SHIFTED, "project_dim": 16}, PATCHES), _xlm_roberta, processor="AltCLIPProcessor"
    ),
    "aimv2": JointFamily(_both("aimv2", {**POSITIONS, "eos_token_id": END}, PATCHES), _clip),
    "blip": JointFamily(
        _both("blip", {**POSITIONS, "encoder_hidden_size": 16}, {**PATCHES, "initializer_range": 0.02}),
        _bert,
        ("BlipImageProcessor", SQUASHED),
        "BlipProcessor",
    ),
    "clipseg": JointFamily(
        _both("clipseg", {**POSITIONS, "eos_token_id": END}, PATCHES, extract_layers=[0, 1]),
        _clip,
        ("ViTImageProcessor", {"size": {"height": 48, "width": 48}}),
        "CLIPSegProcessor",
        task="CLIPSegForImageSegmentation",
    ),
    "flava": JointFamily(
        {
            "model_type": "flava",
            "text_config": POSITIONS,
            "image_config": PATCHES,
            "multimodal_config": SIZES,
            "image_codebook_config": {"hidden_size": 8, "vocab_size": 8},
            "hidden_size": 16,
            "projection_dim": 8,
        },
        _bert,
        ("FlavaImageProcessor", {**SQUASHED, "crop_size": {"height": 32, "width": 32}}),
        "FlavaProcessor",
        task="FlavaForPreTraining",
    ),
    "groupvit": JointFamily(
        _both(
            "groupvit",
            {**POSITIONS, "eos_token_id": END},
            {**PATCHES, "depths": [1, 1], "num_group_tokens": [4, 0], "num_output_groups": [4, 4]},
            projection_intermediate_dim=16,
        ),
        _clip,
    ),
    "owlvit": JointFamily(
        _both("owlvit", {**POSITIONS, "eos_token_id": END}, PATCHES),
        _clip_padded_with_an_exclamation_mark,
        ("OwlViTImageProcessor", SQUASHED),
        "OwlViTProcessor",
        {},
        task="OwlViTForObjectDetection",
    ),
}


FAMILIES["tipsv2"] = JointFamily(
    {
        "model_type": "tipsv2",
        "text_config": POSITIONS,
        "vision_config": {name: value for name, value in PATCHES.items() if name != "intermediate_size"},
    },
    lambda folder: tokenizers.tipsv2(),
    ("Tipsv2ImageProcessor", SQUASHED),
    "Tipsv2Processor",
    {"padding": "max_length", "max_length": tokenizers.LENGTH},
    # Its tokenizer adds nothing to a text, and its pooling divides by nothing where there is none.
    texts=TEXTS[:-1],
)
FAMILIES["dual encoder"] = JointFamily(
    {
        "model_type": "vision-text-dual-encoder",
        "text_config": {"model_type": "bert", **POSITIONS},
        "vision_config": {"model_type": "vit", **PATCHES},
        "projection_dim": 8,
    },
    _bert,
    ("ViTImageProcessor", SQUASHED),
    "VisionTextDualEncoderProcessor",
)


def save(family: JointFamily, folder: Path, model_class: Any = AutoModel) -> None:
    """Save a checkpoint of random weights the way a hub repository of the family holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = family.make_tokenizer(folder)
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(**{**family.config, "text_config": {**ids, **family.config["text_config"]}})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config) if model_class is AutoModel else model_class(config)
    scramble(model)
    model.save_pretrained(folder)
    kind, options = family.image_processor
    image_processor = getattr(hf, kind)(**options)
    getattr(hf, family.processor)(image_processor=image_processor, tokenizer=tokenizer).save_pretrained(folder)


def save_for_its_task(family: JointFamily, folder: Path) -> None:
    """The same with the head of the task that the family's public checkpoints are for."""
    assert family.task is not None
    save(family, folder, getattr(hf, family.task))


@torch.no_grad()
def encode(family: JointFamily, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what transformers makes of the sample pictures and texts, as its documentation has it, unit norm."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    pixels = processor(images=pictures(), return_tensors="pt")["pixel_values"]
    tokens = processor(text=family.texts, truncation=True, return_tensors="pt", **family.text_options)
    images = _first(model.get_image_features(pixel_values=pixels).pooler_output)
    texts = _first(model.get_text_features(**tokens).pooler_output)
    return torch.nn.functional.normalize(images, dim=-1), torch.nn.functional.normalize(texts, dim=-1)


def _first(rows: torch.Tensor) -> torch.Tensor:
    # FLAVA projects every position; its contrastive loss takes the first (FlavaForPreTraining.forward).
    return rows if rows.dim() == 2 else rows[:, 0]
