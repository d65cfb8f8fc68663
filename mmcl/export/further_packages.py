"""What must be installed to open a model, beside the library that opens it."""

from __future__ import annotations

from transformers import TimmWrapperModel

from mmcl.export.forms import Form
from mmcl.export.to_open_clip import is_clips_own
from mmcl.model import TwoTower
from mmcl.text.tokenizer import HuggingFaceTokenizer, OpenClipTokenizer


def further_packages(model: TwoTower, form: Form) -> list[str]:
    """Return a sentence for each package, for the card."""
    said = []
    if form != "open_clip" and any(isinstance(module, TimmWrapperModel) for module in model.modules()):
        said.append("The picture tower is one of timm's: to open it, `pip install timm` too.")
    if form == "open_clip" and _is_opened_by_transformers(model):
        said.append("open_clip opens its tokenizer by transformers: `pip install transformers` too.")
    return said


def _is_opened_by_transformers(model: TwoTower) -> bool:
    tokenizer = model.tokenizer
    if isinstance(tokenizer, OpenClipTokenizer):
        return hasattr(tokenizer.backend, "save_pretrained")
    return isinstance(tokenizer, HuggingFaceTokenizer) and not is_clips_own(tokenizer)
