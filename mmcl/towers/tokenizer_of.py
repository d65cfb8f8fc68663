"""The tokenizer of a model whose weights are not loaded, to count what it would cut."""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from mmcl.recipe_model import STATIC, ModelConfig, TextTowerConfig
from mmcl.text.prompts import Prompts
from mmcl.text.tokenizer import HuggingFaceTokenizer, TextTokenizer, load_tokenizer, longest_text
from mmcl.towers.description import is_saved
from mmcl.towers.loading import build_backbone, config_from_dict, load_config, num_positions
from mmcl.towers.open_clip import is_open_clip_name, load_open_clip_tokenizer
from mmcl.towers.saved import load_saved
from mmcl.towers.sentence_model import find_sentence_model
from mmcl.towers.single import build_single
from mmcl.towers.source import locate_tower, resolve_folder


def tokenizer_of(config: ModelConfig) -> TextTokenizer | None:
    """Return the tokenizer of the model that a recipe describes, with its longest text; None for a model of pictures.

    No weights are fetched from a hub, nor read, but those of a run, which is at hand.

    Raises:
        UserError: the tokenizer or the configuration cannot be had, or is none of such a model.
    """
    found = _tokenizer_of(config)
    if found is not None and config.prompts is not None:
        found.prompts = Prompts(config.prompts)
    return found


def _tokenizer_of(config: ModelConfig) -> TextTokenizer | None:
    if config.image is not None and config.text is None:
        return None
    if config.text is not None:
        return _of_text_tower(config.text)
    if config.config is not None:
        assert config.tokenizer is not None
        backend = load_tokenizer(config.tokenizer)
        return _with_longest(config_from_dict(config.config), backend, None, "the model of the recipe")
    assert config.name is not None
    name = resolve_folder(config.name)
    if is_saved(name):
        return load_saved(name).tokenizer
    if is_open_clip_name(name):
        return load_open_clip_tokenizer(name)
    if find_sentence_model(name) is not None:
        return _of_text_tower(TextTowerConfig(name=name, tokenizer=config.tokenizer))
    return _with_longest(load_config(name), load_tokenizer(config.tokenizer or name), None, name)


def _of_text_tower(tower: TextTowerConfig) -> TextTokenizer | None:
    label = tower.name or "the text tower of the recipe"
    if tower.name is None:
        assert tower.config is not None
        assert tower.tokenizer is not None
        backend = load_tokenizer(tower.tokenizer)
        if tower.config.get("model_type") == STATIC:
            return HuggingFaceTokenizer(backend, longest_text(backend, None, tower.max_length, label))
        return _with_longest(config_from_dict(tower.config), backend, tower.max_length, label)
    source = locate_tower(tower.name, "text")
    if source.is_static or is_saved(source.place):
        return build_single(tower).tokenizer
    whole = load_config(source.place)
    config = getattr(whole, "text_config", whole)
    found = _with_longest(config, source.load_tokenizer(tower.tokenizer), tower.max_length, label)
    found.prompts = source.prompts
    return found


def _with_longest(
    config: PreTrainedConfig, backend: PreTrainedTokenizerBase, max_length: int | None, label: str
) -> HuggingFaceTokenizer:
    with torch.device("meta"):  # its shape without its weights
        model = build_backbone(config)
    positions = num_positions(getattr(model, "text_model", model))
    return HuggingFaceTokenizer(backend, longest_text(backend, positions, max_length, label))
