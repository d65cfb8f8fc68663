"""Loading transformers' configurations and models, with a user's mistakes told in one line."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import logging as transformers_logging
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from mmcl.errors import UserError, did_you_mean
from mmcl.towers.preprocessing import ImagePreprocessing

_log = logging.getLogger(__name__)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars and load reports; what matters of them is checked and said here."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_config(name: str) -> PreTrainedConfig:
    """Return the transformers configuration of a hub id or folder.

    Raises:
        UserError: there is none, or the hub cannot be reached.
    """
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(_why_not_a_model(name, error)) from error


def _why_not_a_model(name: str, error: Exception) -> str:
    folder = Path(name)
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return f"{name}/config.json does not describe a transformers model: {_first_line(error)}"
        if (folder / "recipe.yaml").is_file():
            return f"{name} is a run that has not written its model yet: it holds no model/"
        return f"{name} is a folder without a model: it holds no config.json, open_clip_config.json or mmcl.json"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return f"no folder {name}"
    near = did_you_mean(name, [entry.name for entry in Path().iterdir() if entry.is_dir()])
    return (
        f'cannot load "{name}": no folder here, not in the cache, and the hub could not be reached or has no such'
        f" model.{near} Ways out: go online, give a local folder, or build it from config ({_first_line(error)})"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def config_from_dict(fields: dict[str, Any], extra: dict[str, Any] | None = None) -> PreTrainedConfig:
    """Return a fresh transformers configuration.

    Args:
        fields: the recipe's ``config``, with ``model_type``.
        extra: fields that are not the recipe's to choose.

    Raises:
        UserError: an unknown model type, an unknown field, or a value of the wrong kind.
    """
    config_class = _config_class(fields["model_type"])
    _check_names(config_class, fields, "config")
    given = {name: value for name, value in fields.items() if name != "model_type"}
    extra = dict(extra or {})
    # Some, such as ModernBERT's, have ids of BERT's names beside these, by default those of their own vocabulary.
    known = inspect.signature(config_class.__init__).parameters
    aliases = {"cls_token_id": "bos_token_id", "sep_token_id": "eos_token_id"}
    extra |= {name: extra[other] for name, other in aliases.items() if name in known and other in extra}
    try:
        return config_class(**{**given, **extra})
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise UserError(f"config of {fields['model_type']}: {' '.join(str(error).split())}") from error


def _config_class(model_type: str) -> Any:
    if model_type not in CONFIG_MAPPING:
        raise UserError(
            f'config.model_type: transformers knows no "{model_type}".{did_you_mean(model_type, CONFIG_MAPPING.keys())}'
        )
    return CONFIG_MAPPING[model_type]


def _check_names(config_class: Any, fields: dict[str, Any], where: str) -> None:
    """Refuse unknown fields: transformers would keep a misspelt one as a new attribute that nothing reads."""
    known = set(inspect.signature(config_class.__init__).parameters) | set(getattr(config_class, "attribute_map", {}))
    for name, value in fields.items():
        if name not in known and name != "model_type":
            raise UserError(f'{where}: {config_class.model_type} has no "{name}".{did_you_mean(name, known)}')
        if isinstance(value, dict) and name in getattr(config_class, "sub_configs", {}):
            part = config_class.sub_configs[name]
            part = _config_class(value["model_type"]) if "model_type" in value else part
            if hasattr(part, "model_type"):
                _check_names(part, value, f"{where}.{name}")


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model with random weights, drawn from torch's global generator.

    Raises:
        UserError: the configuration describes no model that can be built.
    """
    _check_known(config)
    try:
        with quiet_transformers():
            model = AutoModel.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, ImportError, AssertionError) as error:
        raise UserError(f"cannot build a {config.model_type} model from its config: {_first_line(error)}") from error
    if config.model_type == "timm_wrapper":
        # transformers draws every convolution from N(0, 0.02); timm's architectures have their own initialisation.
        fresh = timm.create_model(config.architecture, pretrained=False, num_classes=0, **(config.model_args or {}))
        model.timm_model.load_state_dict(fresh.state_dict())
    return model


def load_backbone(name: str, config: PreTrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    """Return a pretrained model in float32, and the names of the weights that its checkpoint lacks.

    Args:
        name: hub id or folder.
        config: its configuration, or the part of it that describes one tower of a joint model.

    Raises:
        UserError: the weights cannot be had.
    """
    _check_known(config)
    try:
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(name, config=config, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise UserError(f"cannot load the weights of {name}: {_first_line(error)}") from error
    except SafetensorError as error:
        raise UserError(f"{damaged_weights(name)} is damaged: {_first_line(error)}") from error
    return model, set(info["missing_keys"])


def damaged_weights(name: str) -> str:
    """Return the first safetensors file of a folder that cannot be opened; the model's name where there is none."""
    for path in sorted(Path(name).glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError:
            return str(path)
    return f"the checkpoint of {name}"


def _check_known(config: PreTrainedConfig) -> None:
    if type(config) not in MODEL_MAPPING:
        raise UserError(
            f"a {config.model_type} cannot be a tower: transformers' AutoModel has no model for it alone, so that what"
            " is trained could not be opened again"
        )


def refuse_missing(missing: set[str], name: str, saved_as: str = "") -> None:
    """Refuse a checkpoint that leaves weights of the model to chance.

    Args:
        missing: names of weights that it lacks.
        name: of the checkpoint.
        saved_as: the class that it was saved from, where that explains it.

    Raises:
        UserError: naming some of them.
    """
    if missing:
        shown = ", ".join(sorted(missing)[:3])
        hint = f"; it was saved from a {saved_as}" if saved_as else ""
        raise UserError(f"the checkpoint {name} lacks {len(missing)} weights of its model, such as {shown}{hint}")


def load_preprocessing(name: str, config: PreTrainedConfig | None) -> ImagePreprocessing:
    """Return the preprocessing of a hub id or folder; a plain one, said in a line, where it comes with none.

    Raises:
        UserError: it has one that cannot be expressed here.
    """
    try:
        with quiet_transformers():
            processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, KeyError):
        plain = default_preprocessing(config)
        _log.warning("%s says nothing about preprocessing: %d px, mean and deviation 0.5", name, plain.size)
        return plain
    return ImagePreprocessing.from_processor(processor, name)


def default_preprocessing(config: PreTrainedConfig | None) -> ImagePreprocessing:
    """Return mean and deviation 0.5 at the size in the configuration, else 224 pixels."""
    size = getattr(config, "image_size", None)
    if config is not None and config.model_type == "timm_wrapper":
        size = (config.model_args or {}).get("img_size")
    if isinstance(size, (list, tuple)):
        size = size[0]
    return ImagePreprocessing(size or 224)


def num_positions(model: nn.Module) -> int | None:
    """Return how many tokens a text model takes; None when nothing limits them."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rsplit(".", 1)[-1].startswith(("position_embedding", "wpe")):
            # RoBERTa and its kin count positions from after the padding index.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None)


def longest_text_of_processor(model_type: str) -> int | None:
    """Return how many tokens of a text the processor of a joint model keeps; None where it leaves that to others.

    ALIGN's model takes 512 tokens and its processor 64, because it was trained on those.
    """
    processor = getattr(transformers, PROCESSOR_MAPPING_NAMES.get(model_type) or "", None)
    found: int | None = getattr(processor, "text_kwargs", {}).get("max_length")
    return found


def num_token_embeddings(model: PreTrainedModel, label: str) -> int:
    """Return how many token ids a text model embeds.

    Raises:
        UserError: it embeds no tokens.
    """
    try:
        # Some text models that are parts of a joint one do not say which of their modules it is.
        embeds = getattr(getattr(model, "embeddings", None), "token_embedding", None)
        return int((embeds or model.get_input_embeddings()).num_embeddings)
    except (AttributeError, NotImplementedError) as error:
        raise UserError(f"{label} ({model.config.model_type}) is not a text encoder") from error
