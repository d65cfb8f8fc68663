"""``mmcl.json``: what a folder that `mmcl.export` wrote says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmcl.errors import UserError
from mmcl.text.prompts import NO_PROMPTS, Prompts
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.towers import MODALITIES

DESCRIPTION_FILE = "mmcl.json"
FORMAT = 1
IMAGE_FOLDER, TEXT_FOLDER = "image", "text"
IMAGE_PROJECTION_FOLDER, TEXT_PROJECTION_FOLDER = "image_projection", "text_projection"
HEAD_FOLDER = "head"
PROJECTION_KEY, BIAS_KEY = "linear.weight", "linear.bias"
EMBEDDING_KEY = "embedding.weight"


@dataclass(frozen=True)
class Description:
    """What ``mmcl.json`` holds: what the other libraries' files in the folder do not say.

    Attributes:
        form: ``transformers`` (a joint model at the root), ``router`` (a folder per tower), ``open_clip``, ``single``
            (one transformers model at the root), or ``static`` (a table of token vectors).
        origin: what the towers were made from.
        preprocessing: what pictures go through; None where there is no image tower.
        log_scale: ln(1 / temperature); None where the weights hold it.
        logit_bias: SigLIP's bias; None where there is none or the weights hold it.
        pair: pooling, width and tokenizer settings of the two towers of a ``router``.
        single: modality, pooling, width, longest text and whether there is a head, of a ``single``; of a ``static``
            the longest text.
        prompts: of the text tower.
    """

    form: Literal["transformers", "router", "open_clip", "single", "static"]
    origin: str
    preprocessing: ImagePreprocessing | None
    log_scale: float | None = None
    logit_bias: float | None = None
    pair: dict[str, Any] | None = None
    single: dict[str, Any] | None = None
    prompts: Prompts = NO_PROMPTS

    def write(self, folder: Path, version: str) -> None:
        """Write ``mmcl.json``."""
        fields = {
            "format": FORMAT,
            "mmcl_version": version,
            "form": self.form,
            "origin": self.origin,
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
            "log_scale": self.log_scale,
            "logit_bias": self.logit_bias,
            "pair": self.pair,
            "single": self.single,
            "prompts": dict(self.prompts.texts),
            "default_prompt": self.prompts.default,
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
            if fields["form"] in ("single", "static"):
                _check_single(fields, path)
            given = fields["preprocessing"]
            return cls(
                fields["form"],
                fields["origin"],
                None if given is None else ImagePreprocessing.from_dict(given),
                fields["log_scale"],
                fields["logit_bias"],
                fields["pair"],
                fields.get("single"),
                Prompts(fields.get("prompts", {}), fields.get("default_prompt")),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(f"{path} is damaged: {error!r}") from error


def _check_pair(pair: Any, path: Path) -> None:
    _check_keys(pair, ("max_length", "embedding_dim", IMAGE_FOLDER, TEXT_FOLDER), "pair", path)
    for part in (IMAGE_FOLDER, TEXT_FOLDER):
        _check_keys(pair[part], ("pooling", "dim"), f"pair.{part}", path)


def _check_single(fields: dict[str, Any], path: Path) -> None:
    single: Any = fields.get("single")
    keys = ("modality", "pooling", "dim", "max_length", "has_head") if fields["form"] == "single" else ("max_length",)
    _check_keys(single, keys, "single", path)
    if fields["form"] == "static":
        return
    if single["modality"] not in MODALITIES:
        raise UserError(f"{path} is damaged: single.modality must be image or text, got {single['modality']!r}")
    if single["modality"] == "image" and fields["preprocessing"] is None:
        raise UserError(f"{path} is damaged: preprocessing lacks, which pictures need")


def _check_keys(fields: Any, keys: Iterable[str], where: str, path: Path) -> None:
    if not isinstance(fields, dict):
        raise UserError(f"{path} is damaged: {where} must be a mapping, got {fields!r}")
    lacking = [key for key in keys if key not in fields]
    if lacking:
        raise UserError(f"{path} is damaged: {where} lacks {', '.join(lacking)}")


def is_saved(name: str) -> bool:
    """True for a folder that `mmcl.export` wrote."""
    return (Path(name) / DESCRIPTION_FILE).is_file()
