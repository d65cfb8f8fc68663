"""What can be known of a model before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmcl.errors import UserError
from mmcl.file_embedder import FileEmbedder, is_embeddings_file
from mmcl.towers.description import Description, is_saved
from mmcl.towers.joint import check_joint
from mmcl.towers.loading import load_config
from mmcl.towers.open_clip import check_open_clip, is_open_clip_name
from mmcl.towers.sentence_model import UnknownModulesError, find_sentence_model
from mmcl.towers.source import resolve_folder
from mmcl.towers.towers import MODALITIES, Modality

UNTRAINED = "untrained:"
"""What goes before the name of a model whose weights are drawn afresh."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.npz", "*.parquet")


@dataclass(frozen=True)
class ModelFacts:
    """A model as its small files describe it.

    Attributes:
        name: as it was given.
        modalities: what it encodes.
        num_bytes: of its weights; 0 where they are not on this machine yet, or in the other library's cache.
    """

    name: str
    modalities: tuple[Modality, ...]
    num_bytes: int


def look_at_model(name: str) -> ModelFacts:
    """Return what a model is, without loading it.

    Raises:
        UserError: there is none of that name, or what its folder holds is no model that can be opened here.
    """
    bare = name.removeprefix(UNTRAINED)
    if is_embeddings_file(bare):
        if name.startswith(UNTRAINED):
            raise UserError(f"{name}: embeddings in a file have no architecture; give a model after {UNTRAINED}")
        return ModelFacts(name, FileEmbedder(bare).modalities, Path(bare).stat().st_size)
    place = resolve_folder(bare)
    modalities = _modalities(place)
    num_bytes = sum(file.stat().st_size for pattern in _WEIGHTS for file in Path(place).rglob(pattern))
    if Path(place).is_dir() and not num_bytes:
        raise UserError(f"{place} holds no weights: none of {', '.join(_WEIGHTS)}")
    return ModelFacts(name, modalities, num_bytes)


def _modalities(place: str) -> tuple[Modality, ...]:
    if is_saved(place):
        description = Description.read(Path(place))
        if description.form == "static":
            return ("text",)
        return MODALITIES if description.single is None else (description.single["modality"],)
    if is_open_clip_name(place):
        check_open_clip(place)
        return MODALITIES
    try:
        if find_sentence_model(place) is not None:
            return ("text",)
    except UnknownModulesError as found:
        return found.modalities
    check_joint(load_config(place), place)
    return MODALITIES
