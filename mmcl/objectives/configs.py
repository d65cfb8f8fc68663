"""The objectives a recipe may name.

Their fields stand here, apart from their arithmetic, so that reading a recipe does not import torch. The union at the
end is the registry: one line for each method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl.section import Section

if TYPE_CHECKING:
    from mmcl.objectives.clip import CLIPObjective


class CLIPConfig(Section):
    """Symmetric InfoNCE between pictures and texts; rows of equal group are positives of each other, never negatives
    (arXiv:2103.00020, figure 3)."""

    type: Literal["clip"] = "clip"
    weight: float = Field(default=1.0, gt=0)
    """Factor on this objective's loss in the sum."""

    def build(self) -> CLIPObjective:
        """Make the objective."""
        from mmcl.objectives.clip import CLIPObjective

        return CLIPObjective()


AnyObjective = CLIPConfig


def expand_objective(value: Any) -> Any:
    """Turn the short forms ``clip`` and ``{clip: 0.5}`` (a weight) or ``{clip: {...}}`` into the whole mapping."""
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, dict) and len(value) == 1 and "type" not in value:
        ((name, rest),) = value.items()
        return {"type": name, **rest} if isinstance(rest, dict) else {"type": name, "weight": rest}
    return value
