"""Reading back a folder that `mmcl.export` wrote, as exactly the towers that were exported."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel

from mmcl.errors import UserError
from mmcl.text.tokenizer import HuggingFaceTokenizer, load_tokenizer
from mmcl.towers.description import (
    IMAGE_FOLDER,
    IMAGE_PROJECTION_FOLDER,
    PROJECTION_KEY,
    TEXT_FOLDER,
    TEXT_PROJECTION_FOLDER,
    Description,
)
from mmcl.towers.encoder import drop_pooler
from mmcl.towers.joint import assemble_joint
from mmcl.towers.loading import damaged_weights, load_backbone, load_config, refuse_missing
from mmcl.towers.open_clip import build_open_clip
from mmcl.towers.pair import PairTowers
from mmcl.towers.sentence_model import dense_folders
from mmcl.towers.single import SingleTower
from mmcl.towers.static import load_static
from mmcl.towers.towers import LoadedTowers, freeze_unused, probe
from mmcl.towers.weights import copy_weights


def load_saved(name: str) -> LoadedTowers:
    """Return the towers of a folder that `mmcl.export` wrote.

    Raises:
        UserError: something in it is damaged or missing.
    """
    description = Description.read(Path(name))
    loaded = _load(name, description)
    if loaded.tokenizer is not None:
        loaded.tokenizer.prompts = description.prompts
    return loaded


def _load(name: str, description: Description) -> LoadedTowers:
    folder = Path(name)
    if description.form == "open_clip":
        try:
            return build_open_clip(name, pretrained=True)
        except SafetensorError as error:
            raise UserError(f"{damaged_weights(name)} is damaged: {error}") from error
    if description.form == "static":
        return load_static(folder)
    if description.form == "single":
        return _load_single(folder, description)
    assert description.preprocessing is not None
    if description.form == "router":
        return _load_router(folder, description)
    model, missing = load_backbone(name, load_config(name))
    refuse_missing(missing, name)
    return assemble_joint(model, load_tokenizer(name), description.preprocessing, description.origin, pretrained=True)


def _load_single(folder: Path, description: Description) -> LoadedTowers:
    single, preprocessing = description.single, description.preprocessing
    assert single is not None
    towers = SingleTower(
        single["modality"], _load_backbone(folder, single["pooling"]), single["pooling"], single["dim"]
    )
    if single["has_head"]:
        towers.load_head(dense_folders(folder))
    tokenizer = None
    if single["modality"] == "text":
        tokenizer = HuggingFaceTokenizer(load_tokenizer(str(folder)), single["max_length"])
    freeze_unused(towers, probe(towers, None if preprocessing is None else preprocessing.size, tokenizer))
    return LoadedTowers(
        towers, preprocessing, tokenizer, description.log_scale, description.logit_bias, description.origin
    )


def _load_backbone(folder: Path, pooling: str) -> PreTrainedModel:
    """Load one tower's model, without the pooler that another pooling leaves unused."""
    model, missing = load_backbone(str(folder), load_config(str(folder)))
    if not pooling.endswith("pooler"):
        drop_pooler(model)
        missing = {name for name in missing if not name.startswith("pooler.")}
    refuse_missing(missing, str(folder))
    return model


def _load_router(folder: Path, description: Description) -> LoadedTowers:
    pair, preprocessing = description.pair, description.preprocessing
    assert pair is not None
    assert preprocessing is not None
    image, text = pair[IMAGE_FOLDER], pair[TEXT_FOLDER]
    towers = PairTowers(
        _load_backbone(folder / IMAGE_FOLDER, image["pooling"]),
        _load_backbone(folder / TEXT_FOLDER, text["pooling"]),
        image["pooling"],
        text["pooling"],
        image["dim"],
        text["dim"],
        pair["embedding_dim"],
    )
    tokenizer = HuggingFaceTokenizer(load_tokenizer(str(folder / TEXT_FOLDER)), pair["max_length"])
    for projection, part in (
        (towers.image_projection, IMAGE_PROJECTION_FOLDER),
        (towers.text_projection, TEXT_PROJECTION_FOLDER),
    ):
        copy_weights({PROJECTION_KEY: projection.weight}, folder / part / "model.safetensors")
    freeze_unused(towers, probe(towers, preprocessing.size, tokenizer))
    return LoadedTowers(
        towers, preprocessing, tokenizer, description.log_scale, description.logit_bias, description.origin
    )
