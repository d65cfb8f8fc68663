"""Whether a model whose weights are not loaded was trained by SigLIP's loss."""

from __future__ import annotations

import json
from pathlib import Path

from mmcl.towers.description import Description, is_saved
from mmcl.towers.loading import load_config
from mmcl.towers.open_clip import is_open_clip_name, open_clip_has_bias
from mmcl.towers.quick_gelu import CONFIG_FILE
from mmcl.towers.source import resolve_folder


def has_siglip_bias(name: str) -> bool:
    """Return whether a joint model comes with SigLIP's bias, by what is said of it beside its weights.

    Args:
        name: a hub id, a folder, a run, or open_clip's ``ARCH,TAG``.

    Raises:
        UserError: there is no such model, or its configuration cannot be had.
    """
    place = resolve_folder(name)
    if is_saved(place):
        description = Description.read(Path(place))
        if description.form == "open_clip":
            config = json.loads((Path(place) / CONFIG_FILE).read_text(encoding="utf-8"))
            return config["model_cfg"].get("init_logit_bias") is not None
        if description.form != "transformers":
            return description.logit_bias is not None
    if is_open_clip_name(place):
        return open_clip_has_bias(place)
    return str(load_config(place).model_type).startswith("siglip")
