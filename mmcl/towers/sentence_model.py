"""What a model of sentence-transformers says of itself: pooling, Dense layers, longest text, prompts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub import snapshot_download
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import cached_file

from mmcl.errors import UserError
from mmcl.text.prompts import NO_PROMPTS, Prompts
from mmcl.towers.towers import MODALITIES, Modality

MODULES_FILE = "modules.json"
PROMPTS_FILE = "config_sentence_transformers.json"
ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid)
}
"""Of Dense layers, by the last part of torch's name."""

POOLINGS = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
"""Our names of sentence-transformers' poolings."""

_LIBRARY = "sentence_transformers."
_NAMES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_SETTINGS_FILES = tuple(f"sentence_{name}_config.json" for name in _NAMES)
"""Where versions of the library keep the settings of the Transformer module."""

_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Flags that versions before 6 have instead of ``pooling_mode``."""


class UnknownModulesError(UserError):
    """A model of sentence-transformers with parts that there is no form for here; the library itself opens it.

    Args:
        message: what is not known.
        modalities: what the model encodes.
    """

    def __init__(self, message: str, modalities: tuple[Modality, ...] = ("text",)) -> None:
        super().__init__(message)
        self.modalities = modalities


@dataclass(frozen=True)
class SentenceModel:
    """A text model as sentence-transformers saved it.

    Attributes:
        place: the hub id or folder that transformers opens.
        pooling: by our name; by the library's where we have none.
        dense: folders of its Dense layers, in order.
        max_length: longest text in tokens; None where only the tokenizer says.
        lowers_case: texts are lower-cased, whatever the tokenizer says.
        prompts: what may be put before texts.
    """

    place: str
    pooling: str
    dense: tuple[Path, ...] = ()
    max_length: int | None = None
    lowers_case: bool = False
    prompts: Prompts = NO_PROMPTS

    def settle(self, backend: PreTrainedTokenizerBase) -> None:
        """Bring its tokenizer to its longest text and its case, in place."""
        if self.max_length is not None:
            backend.model_max_length = self.max_length
        if self.lowers_case and backend.is_fast:
            fast = backend.backend_tokenizer
            rest = [] if fast.normalizer is None else [fast.normalizer]
            fast.normalizer = Normalizers([Lowercase(), *rest])


def find_sentence_model(name: str) -> SentenceModel | None:
    """Return what the files of a folder or hub id say; None where it is no model of sentence-transformers, or one of
    pictures and texts that is a joint transformers model and nothing else.

    Raises:
        UnknownModulesError: it is one with parts that are not known here.
    """
    folder = _folder_of(name)
    if folder is None:
        return None
    modules = _modules(folder)
    place, settings = modules[0][1], _settings(modules[0][1])
    modalities = _modalities(modules[0][0], folder, settings)
    if "image" in modalities:
        is_joint = modules[0] in (("CLIPModel", folder), ("Transformer", folder))
        if not is_joint or any(kind != "Normalize" for kind, _ in modules[1:]):
            _refuse(name, modules, modalities)
        return None
    _check_modules(name, modules)
    extra = _read(folder / PROMPTS_FILE) if (folder / PROMPTS_FILE).is_file() else {}
    return SentenceModel(
        name if place == folder else str(place),
        _pooling(name, settings, [_read(path / "config.json") for kind, path in modules if kind == "Pooling"]),
        dense_folders(folder),
        settings.get("max_seq_length"),
        bool(settings.get("do_lower_case")),
        Prompts(extra.get("prompts") or {}, extra.get("default_prompt_name")),
    )


def dense_folders(folder: Path) -> tuple[Path, ...]:
    """Return the folders of the Dense layers that ``modules.json`` names, in order."""
    return tuple(path for kind, path in _modules(folder) if kind == "Dense")


@dataclass(frozen=True)
class DenseSettings:
    """One Dense module.

    Attributes:
        weights: its file.
        has_bias: there is a bias beside the weight.
        activation: of torch.
    """

    weights: Path
    has_bias: bool
    activation: type[nn.Module]


def read_dense(folder: Path) -> DenseSettings:
    """Return what a Dense module says of itself.

    Raises:
        UserError: a missing or damaged file, or a kind of Dense that is not known here.
    """
    path = folder / "config.json"
    settings = _read(path)
    name = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if name not in ACTIVATIONS:
        raise UnknownModulesError(
            f"{path}: activation_function must be one of {', '.join(ACTIVATIONS)} of torch, got {name}"
        )
    if settings.get("use_residual") or settings.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise UnknownModulesError(f"{path}: a Dense with use_residual, or of single tokens, is not known here")
    pickled, weights = folder / "pytorch_model.bin", folder / "model.safetensors"
    is_old = pickled.is_file() and not weights.is_file()
    return DenseSettings(pickled if is_old else weights, settings.get("bias", True), ACTIVATIONS[name])


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Return (class, folder) of each module; of a class that is not the library's own with its package."""
    path = folder / MODULES_FILE
    try:
        named = [(str(module["type"]), folder / module["path"]) for module in _read(path)]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    if not named:
        raise UserError(f"{path} is damaged: it names no module")
    return [(kind.rsplit(".", 1)[-1] if kind.startswith(_LIBRARY) else kind, path) for kind, path in named]


def _folder_of(name: str) -> Path | None:
    """Return a local folder with the small files of a model of sentence-transformers; None where it is none."""
    if Path(name).is_dir():
        return Path(name) if (Path(name) / MODULES_FILE).is_file() else None
    try:
        found = cached_file(
            name,
            MODULES_FILE,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):  # no such model, which is said where it is opened
        return None
    if found is None:
        return None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*_Dense/*"]))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the modules of {name}: {error}") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _settings(folder: Path) -> dict[str, Any]:
    found = next((folder / name for name in _SETTINGS_FILES if (folder / name).is_file()), None)
    settings: dict[str, Any] = {} if found is None else _read(found)
    return settings


def _modalities(kind: str, folder: Path, settings: dict[str, Any]) -> tuple[Modality, ...]:
    """Return what the first module of a model takes, of pictures and texts."""
    if kind == "CLIPModel":
        return MODALITIES
    if kind == "Router":
        taken = set(_read(folder / "router_config.json").get("structure", {}))
    else:
        taken = set(settings.get("modality_config", {"text": {}}))
    return ("text",) if "image" not in taken else tuple(one for one in MODALITIES if one in taken)


def _check_modules(name: str, modules: list[tuple[str, Path]]) -> None:
    if not re.fullmatch("Transformer( Pooling)?( Dense)*( Normalize)?", " ".join(kind for kind, _ in modules)):
        _refuse(name, modules)


def _refuse(name: str, modules: list[tuple[str, Path]], modalities: tuple[Modality, ...] = ("text",)) -> NoReturn:
    raise UnknownModulesError(
        f"{name} is a model of sentence-transformers made of {', '.join(kind for kind, _ in modules)}; only a"
        " Transformer, its Pooling, Dense layers and Normalize, in this order, can be opened here",
        modalities,
    )


def _pooling(name: str, settings: dict[str, Any], modules: list[dict[str, Any]]) -> str:
    output = settings.get("modality_config", {}).get("text", {}).get("method_output_name", "last_hidden_state")
    if not modules and output == "pooler_output":
        return "pooler"
    if not modules or output != "last_hidden_state":
        raise UnknownModulesError(
            f"{name}: its embedding is made of {output} of its Transformer, which is not known here"
        )
    if not modules[0].get("include_prompt", True):
        raise UnknownModulesError(
            f"{name} leaves prompts out of its pooling (include_prompt: false), which is not known here"
        )
    modes = modules[0].get("pooling_mode") or [mode for flag, mode in _OLD_MODES.items() if modules[0].get(flag)]
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    return " and ".join(POOLINGS.get(mode, mode) for mode in modes)
