"""Which implementation of attention the towers use."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from mmcl.towers.towers import Towers


def attention_of(towers: Towers) -> dict[str, str]:
    """Return ``sdpa`` or ``eager`` by the name of the class that attends; empty where nothing does.

    ``sdpa`` is torch's scaled dot-product attention, of which a GPU takes the flash kernel where it fits. transformers
    falls back to ``eager``, without a word, for models that it has nothing else for. What is not transformers' own, as
    timm's and open_clip's, calls torch's.
    """
    models = [module for module in towers.modules() if isinstance(module, PreTrainedModel) and _attends(module)]
    found = {
        type(model).__name__: model.config._attn_implementation or "eager"
        for model in models
        if not any(part is not model and part in models for part in model.modules())
    }
    return found or ({type(towers).__name__: "sdpa"} if _attends(towers) else {})


def _attends(module: nn.Module) -> bool:
    return any("Attention" in type(part).__name__ or type(part).__name__ == "Attn" for part in module.modules())
