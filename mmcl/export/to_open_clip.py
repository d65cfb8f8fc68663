"""A model of transformers as a folder that open_clip opens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from mmcl.errors import UserError
from mmcl.export.open_clip_towers import NoFormError, OpenClipTower, text_tower, vision_tower
from mmcl.export.pretrained import on_cpu, write_json
from mmcl.model import TwoTower
from mmcl.text.tokenizer import HuggingFaceTokenizer
from mmcl.towers.description import Description
from mmcl.towers.joint import JointTowers
from mmcl.towers.pair import PairTowers
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.quick_gelu import CONFIG_FILE

WEIGHTS_FILE = "open_clip_model.safetensors"
TOKENIZER_KEY = "hf_tokenizer_name"

# Cases, blanks, digits, apostrophes, accents, ideographs and emoji, each of which a tokenizer may treat as it likes.
_PROBE = "A photo,  of 12 Cats! the dog's café 中文 🙂"

_CAN_BE = (
    "open_clip's form can be had of transformers' CLIP, MetaCLIP 2 and SigLIP, of a pair of CLIP's towers, of CLIP's"
    " text tower with a timm model that is known by its name alone, and of open_clip's own models"
)


def as_open_clip_crops(preprocessing: ImagePreprocessing) -> ImagePreprocessing:
    """Return the preprocessing as open_clip does it: an odd margin is halved to the even pixel, not downwards.

    Raises:
        UserError: it scales to another size than it crops to, or by other than bilinear or bicubic interpolation.
    """
    side = preprocessing.resize_to or preprocessing.size
    if side != preprocessing.size:
        raise UserError(
            f"open_clip scales pictures to the size that it crops, and this model scales to {side} pixels and crops"
            f" {preprocessing.size}"
        )
    if preprocessing.interpolation not in ("bilinear", "bicubic"):
        raise UserError(f"open_clip interpolates bilinear or bicubic, and this model {preprocessing.interpolation}")
    return replace(preprocessing, crop_rounding="even")


def write_as_open_clip(model: TwoTower, folder: Path) -> Description:
    """Write ``open_clip_config.json``, the weights under open_clip's names, and the tokenizer where open_clip has not
    the same of its own; another one it opens by transformers.

    Args:
        model: of transformers, pictures and texts both.
        folder: exists and is empty.

    Raises:
        UserError: open_clip has no form for it; the message says what is in the way, and which forms there are.
    """
    try:
        config, state = convert(model)
    except NoFormError as reason:
        raise UserError(f"the model has no open_clip form: {reason}. {_CAN_BE}") from reason
    assert model.preprocessing is not None
    assert model.tokenizer is not None
    preprocessing = as_open_clip_crops(model.preprocessing)
    write_json(folder / CONFIG_FILE, {"model_cfg": config, "preprocess_cfg": preprocessing.to_open_clip()})
    save_file(on_cpu(state), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    if TOKENIZER_KEY in config["text_cfg"]:
        model.tokenizer.save(folder)
    return Description("open_clip", model.origin, preprocessing)


def convert(model: TwoTower) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return open_clip's ``model_cfg`` and the whole state.

    Raises:
        NoFormError: saying why not.
    """
    image, text = _towers(model)
    if image.quick_gelu is not None and image.quick_gelu != text.quick_gelu:
        raise NoFormError("one tower has quick_gelu and the other has not, and open_clip has one switch for both")
    assert isinstance(model.tokenizer, HuggingFaceTokenizer)
    # The name is not looked at: open_clip takes the tokenizer of a local folder from that folder.
    tokenizer = {} if is_clips_own(model.tokenizer) else {TOKENIZER_KEY: "."}
    config = {
        "embed_dim": model.embedding_dim,
        "quick_gelu": bool(text.quick_gelu),
        "custom_text": text.is_custom_text,
        "vision_cfg": {**image.config, "image_size": _image_size(model)},
        "text_cfg": {**text.config, **tokenizer},
    }
    prefix = "text." if text.is_custom_text else ""
    state = {f"visual.{name}": tensor for name, tensor in image.state.items()}
    state |= {f"{prefix}{name}": tensor for name, tensor in text.state.items()}
    state["logit_scale"] = torch.tensor(model.logit_scale.log_scale.item())
    if model.logit_bias is not None:
        config["init_logit_bias"] = model.logit_bias.item()
        state["logit_bias"] = torch.tensor(model.logit_bias.item())
    return config, state


def is_clips_own(tokenizer: HuggingFaceTokenizer) -> bool:
    """True for the tokenizer of OpenAI's CLIP, which open_clip has built in: the same tokens under the same ids.

    open_clip's mends broken Unicode and resolves HTML entities (``&amp;``) first, transformers' does not.
    """
    own = SimpleTokenizer()
    special = dict(zip(own.all_special_ids, ("<|startoftext|>", "<|endoftext|>"), strict=True))
    vocabulary = {special.get(number, token): number for token, number in own.encoder.items()}
    if tokenizer.backend.get_vocab() != vocabulary:
        return False
    ids = tokenizer([_PROBE])
    return bool(torch.equal(ids.input_ids, own([_PROBE], context_length=ids.input_ids.shape[1])))


def _image_size(model: TwoTower) -> int:
    assert model.preprocessing is not None
    return model.preprocessing.size


def _towers(model: TwoTower) -> tuple[OpenClipTower, OpenClipTower]:
    towers = model.towers
    if not (model.has_image_tower and model.has_text_tower):
        raise NoFormError(f"it embeds {towers.modalities[0]}s alone")
    assert model.tokenizer is not None
    max_length = model.tokenizer.max_length
    image_projection: Tensor | None
    text_projection: Tensor | None
    if isinstance(towers, PairTowers):
        poolings = (towers.image_pooling, towers.text_pooling)
        if poolings != ("pooler", "pooler"):
            asked = " and ".join(poolings)
            raise NoFormError(f"its towers are pooled by {asked}, where open_clip's pool by themselves")
        image_model, image_projection = towers.image_model, towers.image_projection.weight
        text_model, text_projection = towers.text_model, towers.text_projection.weight
    elif isinstance(towers, JointTowers):
        whole: Any = towers.model
        if not (hasattr(whole, "vision_model") and hasattr(whole, "text_model")):
            raise NoFormError(f"it is a {whole.config.model_type}")
        image_model, text_model = whole.vision_model, whole.text_model
        image_projection, text_projection = (
            getattr(getattr(whole, name, None), "weight", None) for name in ("visual_projection", "text_projection")
        )
    else:
        raise NoFormError(f"it is a {type(towers).__name__}")
    return vision_tower(image_model, image_projection), text_tower(text_model, text_projection, max_length)
