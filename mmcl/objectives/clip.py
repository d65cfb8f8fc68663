"""CLIP: symmetric InfoNCE between pictures and texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmcl.section import Section


class CLIPConfig(Section):
    """Symmetric InfoNCE between pictures and texts (arXiv:2103.00020, figure 3)."""

    type: Literal["clip"] = "clip"
    weight: float = Field(default=1.0, gt=0)
    """Factor on this objective's loss in the sum."""
