"""Reading back a folder that `mmcl.export` wrote, as exactly the towers that were exported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mmcl.errors import UserError
from mmcl.text.tokenizer import HuggingFaceTokenizer, load_tokenizer
from mmcl.towers.joint import assemble_joint
from mmcl.towers.loading import damaged_weights, load_backbone, load_config, refuse_missing
from mmcl.towers.open_clip import build_open_clip
from mmcl.towers.pair import PairTowers, drop_pooler
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.towers import LoadedTowers, freeze_unused, probe

DESCRIPTION_FILE = "mmcl.json"
FORMAT = 1
IMAGE_FOLDER, TEXT_FOLDER = "image", "text"
IMAGE_PROJECTION_FOLDER, TEXT_PROJECTION_FOLDER = "image_projection", "text_projection"
PROJECTION_KEY = "linear.weight"


@dataclass(frozen=True)
class Description:
    """What ``mmcl.json`` holds: what the other libraries' files in the folder do not say.

    Attributes:
        form: ``transformers`` (a joint model at the root), ``router`` (a folder per tower), or ``open_clip``.
        origin: what the towers were made from.
        preprocessing: what pictures go through.
        log_scale: ln(1 / temperature); None where the weights hold it.
        logit_bias: SigLIP's bias; None where there is none or the weights hold it.
        pair: pooling, width and tokenizer settings of the two towers of a ``router``.
    """

    form: Literal["transformers", "router", "open_clip"]
    origin: str
    preprocessing: ImagePreprocessing
    log_scale: float | None = None
    logit_bias: float | None = None
    pair: dict[str, Any] | None = None

    def write(self, folder: Path, version: str) -> None:
        """Write ``mmcl.json``."""
        fields = {
            "format": FORMAT,
            "mmcl_version": version,
            "form": self.form,
            "origin": self.origin,
            "preprocessing": self.preprocessing.to_dict(),
            "log_scale": self.log_scale,
            "logit_bias": self.logit_bias,
            "pair": self.pair,
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read ``mmcl.json``.

        Raises:
            UserError: it is damaged, or of a later format.
        """
        path = folder / DESCRIPTION_FILE
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if fields["format"] != FORMAT:
                raise UserError(f"{path} has format {fields['format']}, this version of mmcl reads {FORMAT}")
            if fields["form"] == "router":
                _check_pair(fields["pair"], path)
            return cls(
                fields["form"],
                fields["origin"],
                ImagePreprocessing.from_dict(fields["preprocessing"]),
                fields["log_scale"],
                fields["logit_bias"],
                fields["pair"],
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(f"{path} is damaged: {error!r}") from error


def _check_pair(pair: Any, path: Path) -> None:
    _check_keys(pair, ("max_length", "embedding_dim", IMAGE_FOLDER, TEXT_FOLDER), "pair", path)
    for part in (IMAGE_FOLDER, TEXT_FOLDER):
        _check_keys(pair[part], ("pooling", "dim"), f"pair.{part}", path)


def _check_keys(fields: Any, keys: Iterable[str], where: str, path: Path) -> None:
    if not isinstance(fields, dict):
        raise UserError(f"{path} is damaged: {where} must be a mapping, got {fields!r}")
    lacking = [key for key in keys if key not in fields]
    if lacking:
        raise UserError(f"{path} is damaged: {where} lacks {', '.join(lacking)}")


def is_saved(name: str) -> bool:
    """True for a folder that `mmcl.export` wrote."""
    return (Path(name) / DESCRIPTION_FILE).is_file()


def load_saved(name: str) -> LoadedTowers:
    """Return the towers of a folder that `mmcl.export` wrote.

    Raises:
        UserError: something in it is damaged or missing.
    """
    folder = Path(name)
    description = Description.read(folder)
    if description.form == "open_clip":
        try:
            return build_open_clip(name, pretrained=True)
        except SafetensorError as error:
            raise UserError(f"{damaged_weights(name)} is damaged: {error}") from error
    if description.form == "router":
        return _load_router(folder, description)
    model, missing = load_backbone(name, load_config(name))
    refuse_missing(missing, name)
    return assemble_joint(model, load_tokenizer(name), description.preprocessing, description.origin, pretrained=True)


def _load_router(folder: Path, description: Description) -> LoadedTowers:
    pair = description.pair
    assert pair is not None
    models = []
    for part in (IMAGE_FOLDER, TEXT_FOLDER):
        source = str(folder / part)
        model, missing = load_backbone(source, load_config(source))
        if not pair[part]["pooling"].endswith("pooler"):
            drop_pooler(model)
            missing = {name for name in missing if not name.startswith("pooler.")}
        refuse_missing(missing, source)
        models.append(model)
    backend = load_tokenizer(str(folder / TEXT_FOLDER))
    tokenizer = HuggingFaceTokenizer(backend, pair["max_length"])
    towers = PairTowers(
        models[0],
        models[1],
        pair[IMAGE_FOLDER]["pooling"],
        pair[TEXT_FOLDER]["pooling"],
        pair[IMAGE_FOLDER]["dim"],
        pair[TEXT_FOLDER]["dim"],
        pair["embedding_dim"],
    )
    _load_projection(towers.image_projection, folder / IMAGE_PROJECTION_FOLDER / "model.safetensors")
    _load_projection(towers.text_projection, folder / TEXT_PROJECTION_FOLDER / "model.safetensors")
    freeze_unused(towers, *probe(towers, description.preprocessing.size, tokenizer))
    return LoadedTowers(
        towers,
        description.preprocessing,
        tokenizer,
        description.log_scale,
        description.logit_bias,
        description.origin,
    )


def _load_projection(projection: nn.Linear, path: Path) -> None:
    try:
        weight = load_file(path)[PROJECTION_KEY]
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    except KeyError as error:
        raise UserError(f"{path} is damaged: it holds no {PROJECTION_KEY}") from error
    if weight.shape != projection.weight.shape:
        expected, got = tuple(projection.weight.shape), tuple(weight.shape)
        raise UserError(f"{path} has a projection of shape {got}; {DESCRIPTION_FILE} says {expected}")
    with torch.no_grad():
        projection.weight.copy_(weight)
