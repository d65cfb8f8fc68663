"""Which activation a checkpoint was trained with: GELU, or OpenAI's approximation of it, QuickGELU.

Neither leaves a trace in the weights, and with the wrong one a model works, only worse. So whatever declares it is
asked: open_clip's list of weights, an ``open_clip_config.json`` beside the weights, ``hidden_act`` of transformers.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import open_clip
from transformers import PreTrainedConfig
from transformers.utils import cached_file

from mmcl.errors import UserError

CONFIG_FILE = "open_clip_config.json"
_SUFFIX = "-quickgelu"

_log = logging.getLogger(__name__)


def quick_gelu_of_tag(architecture: str, tag: str) -> bool:
    """True when open_clip's list of weights declares that these were trained with QuickGELU."""
    return bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))


def check_weights_file(architecture: str, path: str, config: dict[str, Any]) -> None:
    """Refuse a file of weights that was trained with another activation than an architecture of open_clip has.

    Args:
        architecture: its name.
        path: of the file, which says nothing of itself; an ``open_clip_config.json`` beside it does.
        config: the architecture's ``model_cfg``.

    Raises:
        UserError: naming both activations. Where nobody says, a line of the log tells what is assumed.
    """
    if "timm_model_name" in config["vision_cfg"] and "hf_model_name" in config["text_cfg"]:
        return  # neither tower is open_clip's own, and theirs are not changed by it
    has_it = bool(config.get("quick_gelu"))
    other = architecture.removesuffix(_SUFFIX) if architecture.endswith(_SUFFIX) else architecture + _SUFFIX
    way = (
        f"write {other},{path}"
        if other in open_clip.list_models()
        else f'give a folder with the weights and an {CONFIG_FILE} whose model_cfg says "quick_gelu"'
    )
    declared = _declared_in_folder(Path(path).parent)
    if declared is None:
        _log.warning(
            "%s does not say with which activation it was trained; %s is assumed, as %s has it; for %s %s",
            path,
            _called(has_it),
            architecture,
            _called(not has_it),
            way,
        )
    elif declared != has_it:
        raise UserError(
            f"{path} was trained with {_called(declared)}, as {CONFIG_FILE} beside it says, and {architecture} has"
            f" {_called(has_it)}: {way}"
        )


def check_hub_weights(name: str, config: dict[str, Any]) -> None:
    """Refuse a hub repository whose ``model_cfg`` lacks the QuickGELU that open_clip's list of weights declares.

    Raises:
        UserError: saying so.
    """
    if _is_listed_with_quick_gelu(name) and not config.get("quick_gelu"):
        raise UserError(
            f"{name} was trained with QuickGELU, as open_clip's list of weights says, and its {CONFIG_FILE} has GELU:"
            ' take a copy whose model_cfg says "quick_gelu": true'
        )


def check_transformers_clip(name: str, config: PreTrainedConfig) -> None:
    """Refuse a transformers CLIP whose ``hidden_act`` is not what it was trained with, where anybody says.

    Args:
        name: hub id or folder.
        config: of a model of type ``clip``; others are let through.

    Raises:
        UserError: an ``open_clip_config.json`` beside it, or open_clip's list of weights, says otherwise.
    """
    if config.model_type != "clip":
        return
    acts = {part: getattr(config, part).hidden_act for part in ("text_config", "vision_config")}
    declared = True if _is_listed_with_quick_gelu(name) else _declared_beside(name)
    wrong = [part for part, act in acts.items() if declared is not None and (act == "quick_gelu") != declared]
    if wrong:
        raise UserError(
            f"{name} was trained with {_called(bool(declared))}, as open_clip says of it, and its config.json has"
            f' hidden_act "{acts[wrong[0]]}" in {" and ".join(wrong)}: correct it in a copy, or load it by'
            f" open_clip, as {_by_open_clip(name)}"
        )
    if len(set(acts.values())) > 1:
        _log.warning(
            '%s: its config.json has hidden_act "%s" in text_config and "%s" in vision_config, which is taken as it is',
            name,
            *acts.values(),
        )


def _called(is_quick: bool) -> str:
    return "QuickGELU" if is_quick else "GELU"


def _by_open_clip(name: str) -> str:
    return f"local-dir:{name}" if Path(name).is_dir() else f"hf-hub:{name}"


def _is_listed_with_quick_gelu(name: str) -> bool:
    listed = (open_clip.get_pretrained_cfg(*pair) for pair in open_clip.list_pretrained())
    return any(entry.get("quick_gelu") and entry["hf_hub"].rstrip("/") == name for entry in listed)


def _declared_beside(name: str) -> bool | None:
    try:
        path = cached_file(
            name,
            CONFIG_FILE,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):
        return None
    return None if path is None else _declared_in_folder(Path(path).parent)


def _declared_in_folder(folder: Path) -> bool | None:
    """What an ``open_clip_config.json`` says, where silence means GELU; None without one."""
    try:
        fields = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return bool(fields["model_cfg"].get("quick_gelu"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
