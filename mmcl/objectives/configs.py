"""The objectives a recipe may name. The union is the registry: one line for each method."""

from __future__ import annotations

from typing import Any

from mmcl.objectives.clip import CLIPConfig

AnyObjective = CLIPConfig


def expand_objective(value: Any) -> Any:
    """Turn the short forms ``clip`` and ``{clip: 0.5}`` (a weight) or ``{clip: {...}}`` into the whole mapping."""
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, dict) and len(value) == 1 and "type" not in value:
        ((name, rest),) = value.items()
        return {"type": name, **rest} if isinstance(rest, dict) else {"type": name, "weight": rest}
    return value
