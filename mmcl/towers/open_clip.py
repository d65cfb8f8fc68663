"""open_clip's models: ``ARCH,TAG``, ``ARCH`` alone for random weights, ``local-dir:`` and ``hf-hub:``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from torch import Tensor, nn

from mmcl.batch import TokenBatch
from mmcl.errors import UserError, did_you_mean
from mmcl.text.tokenizer import OpenClipTokenizer
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.quick_gelu import CONFIG_FILE, check_hub_weights, check_weights_file, quick_gelu_of_tag
from mmcl.towers.towers import LoadedTowers, Towers, freeze_unused, probe, take_weights

_SCHEMES = ("local-dir:", "hf-hub:")


class OpenClipTowers(Towers):
    """An open_clip model. Its towers project by themselves, so features are the embeddings before normalisation.

    Its temperature and bias are taken out of it: there is one of each, and `mmcl.model.TwoTower` has it.

    Args:
        model: from ``open_clip.create_model``.
        model_config: its ``model_cfg``, from which open_clip builds it again.
    """

    def __init__(self, model: Any, model_config: dict[str, Any]) -> None:
        super().__init__()
        self.model: Any = model
        self.model_config = model_config
        self.log_scale = model.logit_scale.item()
        self._scale_shape: torch.Size = model.logit_scale.shape
        self.logit_bias: float | None = None
        del model.logit_scale
        if isinstance(model.logit_bias, Tensor):
            self.logit_bias = model.logit_bias.item()
            del model.logit_bias
        self._reads_end_token = (
            type(model) is open_clip.CLIP and model.attn_mask is not None and model.text_pool_type in ("argmax", "eos")
        )

    @property
    def takes_short_texts(self) -> bool:
        """True when a batch may be narrower than the context without changing any embedding."""
        return self._reads_end_token or isinstance(getattr(self.model, "text", None), HFTextEncoder)

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        projected = self.model.encode_image(pixels)
        return projected, projected

    def encode_text(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        ids = tokens.input_ids
        projected = self._encode_short(ids) if self._reads_end_token else self.model.encode_text(ids)
        return projected, projected

    def _encode_short(self, ids: Tensor) -> Tensor:
        """open_clip's ``CLIP.encode_text`` without its assumption that every text is padded to the whole context."""
        model, length = self.model, ids.shape[1]
        states = model.token_embedding(ids) + model.positional_embedding[:length]
        states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
        end = ids.argmax(dim=1) if model.text_pool_type == "argmax" else (ids == model.text_eos_id).int().argmax(dim=1)
        pooled = states[torch.arange(len(ids), device=ids.device), end]
        if isinstance(model.text_projection, nn.Linear):
            return model.text_projection(pooled)
        return pooled if model.text_projection is None else pooled @ model.text_projection

    def reset(self) -> None:
        with TemporaryDirectory() as folder, _asking_open_clip("from its own configuration"):
            config = {"model_cfg": self.model_config, "preprocess_cfg": {}}
            (Path(folder) / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
            fresh = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        take_weights(self.model, fresh)

    def state_dict_with(self, log_scale: float, logit_bias: float | None) -> dict[str, Tensor]:
        """Return open_clip's whole state, temperature and bias put back in their places."""
        state = {**self.model.state_dict(), "logit_scale": torch.full(self._scale_shape, log_scale)}
        if logit_bias is not None:
            state["logit_bias"] = torch.full(self._scale_shape, logit_bias)
        return state


def is_open_clip_name(name: str) -> bool:
    """True for ``ARCH,TAG``, an architecture of open_clip, a ``local-dir:`` or ``hf-hub:`` name, or a folder that
    open_clip alone reads."""
    if name.startswith(_SCHEMES) or _is_open_clip_folder(name):
        return True
    return not Path(name).is_dir() and ("," in name or name in open_clip.list_models())


def _is_open_clip_folder(name: str) -> bool:
    # Some folders hold a transformers model beside it, which trains as well and opens in more places.
    return (Path(name) / CONFIG_FILE).is_file() and not (Path(name) / "config.json").is_file()


def build_open_clip(name: str, pretrained: bool) -> LoadedTowers:
    """Return an open_clip model.

    Args:
        name: one that `is_open_clip_name`.
        pretrained: load its weights; else draw them from torch's generator.

    Raises:
        UserError: an unknown architecture or tag, or weights that cannot be had.
    """
    source, tag = _parse(name, pretrained)
    model, config, backend = _create(name, source, tag, pretrained)
    preprocessing = ImagePreprocessing.from_open_clip(model.visual.preprocess_cfg, name)
    towers = OpenClipTowers(model, config)
    tokenizer = _tokenizer(backend, towers.takes_short_texts)
    towers.skips_padding = not tokenizer.pads_to_max_length
    outputs = probe(towers, preprocessing.size, tokenizer)
    towers.image_dim = towers.text_dim = towers.embedding_dim = outputs["image"][1].shape[1]
    freeze_unused(towers, outputs)
    return LoadedTowers(towers, preprocessing, tokenizer, towers.log_scale, towers.logit_bias, name)


def _create(name: str, source: str, tag: str | None, pretrained: bool) -> tuple[Any, dict[str, Any], Any]:
    """Return open_clip's model, its ``model_cfg`` and its tokenizer."""
    with _asking_open_clip(name):
        config = open_clip.get_model_config(source)
    _check_activation(source, tag, config)
    # OpenAI's weights were trained with an activation that the architecture's plain name does not have.
    quick_gelu = tag is not None and quick_gelu_of_tag(source, tag)
    if quick_gelu:
        config["quick_gelu"] = True
    with _asking_open_clip(name):
        model = open_clip.create_model(
            source,
            tag,
            load_weights=pretrained,
            force_quick_gelu=quick_gelu,
            pretrained_text=pretrained,
            require_pretrained=pretrained,  # else it says in its log alone that the weights are random
        )
        return model, config, open_clip.get_tokenizer(source)


def _check_activation(source: str, tag: str | None, config: dict[str, Any]) -> None:
    if source.startswith("hf-hub:"):
        check_hub_weights(source.removeprefix("hf-hub:"), config)
    elif tag is not None and Path(tag).is_file() and not open_clip.get_pretrained_cfg(source, tag):
        check_weights_file(source, tag, config)


def open_clip_has_bias(name: str) -> bool:
    """Return whether an open_clip model has SigLIP's bias, by its configuration alone.

    Args:
        name: one that `is_open_clip_name`.

    Raises:
        UserError: an unknown architecture, or a configuration that cannot be had.
    """
    source, _ = _parse(name, pretrained=False)
    with _asking_open_clip(name):
        return "init_logit_bias" in open_clip.get_model_config(source)


def check_open_clip(name: str) -> None:
    """Make sure that open_clip knows an architecture and its weights, without loading them.

    Args:
        name: one that `is_open_clip_name`.

    Raises:
        UserError: an unknown architecture or tag, or a configuration that cannot be had.
    """
    source, _ = _parse(name, pretrained=True)
    with _asking_open_clip(name):
        open_clip.get_model_config(source)


def load_open_clip_tokenizer(name: str) -> OpenClipTokenizer:
    """Return the tokenizer of an open_clip model without the model; it pads every text to its longest.

    Args:
        name: one that `is_open_clip_name`.

    Raises:
        UserError: an unknown architecture, or a tokenizer that cannot be had.
    """
    source, _ = _parse(name, pretrained=False)
    with _asking_open_clip(name):
        return _tokenizer(open_clip.get_tokenizer(source), takes_short_texts=False)


def _tokenizer(backend: Any, takes_short_texts: bool) -> OpenClipTokenizer:
    hf_tokenizer = getattr(backend, "tokenizer", None)
    pad_id = 0 if hf_tokenizer is None else hf_tokenizer.pad_token_id
    # Some tokenizers put a token behind the padding, which then is no padding to cut.
    plain = getattr(backend, "tokenizer_mode", "") == ""
    return OpenClipTokenizer(backend, pad_id, pads_to_max_length=not (plain and takes_short_texts))


def _parse(name: str, pretrained: bool) -> tuple[str, str | None]:
    """Return what open_clip calls the model, and the tag of its weights."""
    if name.startswith(_SCHEMES):
        return name, None
    if _is_open_clip_folder(name):
        return f"local-dir:{name}", None
    architecture, _, tag = name.partition(",")
    architecture, tag = architecture.strip(), tag.strip()
    known = open_clip.list_models()
    if architecture not in known:
        raise UserError(f'open_clip has no architecture "{architecture}".{did_you_mean(architecture, known)}')
    if not pretrained:
        return architecture, None
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags and not Path(tag).is_file():
        raise UserError(
            f'{architecture} has no weights "{tag}" in open_clip; allowed are {", ".join(tags) or "none"}, a file, or'
            f" pretrained: false.{did_you_mean(tag, tags)}"
        )
    return architecture, tag


@contextmanager
def _asking_open_clip(name: str) -> Iterator[None]:
    """Tell of its failures in a line, hold back what it logs, and keep it from configuring the root logger by that."""
    root, handler, level = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.ERROR)
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"cannot load the open_clip model {name}: {reason}") from error
    finally:
        logging.disable(level)
        root.removeHandler(handler)
