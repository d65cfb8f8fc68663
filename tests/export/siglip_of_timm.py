"""A SigLIP image tower of timm's that is small enough for tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
from timm.models import vision_transformer
from timm.models._registry import _model_entrypoints, _model_to_module, _module_to_models

NAME = "vit_tiny_patch8_siglip_32"


def vit_tiny_patch8_siglip_32(pretrained: bool = False, **options: Any) -> Any:
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return vision_transformer._create_vision_transformer(
        NAME, pretrained, **{**size, "class_token": False, "global_pool": "map", **options}
    )


@contextmanager
def register_tiny_siglip() -> Iterator[None]:
    """Let timm know it inside the block, as it knows SigLIP's own sizes."""
    assert NAME not in timm.list_models("*siglip*")
    module = sys.modules[__name__]
    _model_entrypoints[NAME] = vit_tiny_patch8_siglip_32
    _model_to_module[NAME] = module.__name__
    _module_to_models[module.__name__].add(NAME)
    try:
        yield
    finally:
        del _model_entrypoints[NAME], _model_to_module[NAME]
        del _module_to_models[module.__name__]
