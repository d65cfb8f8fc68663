"""Guards by name: pinned sets of the Hugging Face hub, kept as data in ``guards.yaml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def named_guards() -> dict[str, dict[str, Any]]:
    """Return what ``guards.yaml`` holds, by name: ``license``, ``num_rows``, ``prompts_sha256``, and the ``task``."""
    text = (Path(__file__).parent / "guards.yaml").read_text(encoding="utf-8")
    guards: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return guards


def expand_guard(task: Any) -> Any:
    """Write out ``{task: NAME}`` where NAME is that of a set; whatever else ``task`` is comes back as it is.

    Raises:
        ValueError: more is said of a set, all of which is fixed.
    """
    name = task.get("task") if isinstance(task, dict) else None
    if not isinstance(name, str) or name not in named_guards():
        return task
    if len(task) > 1:
        said = ", ".join(key for key in task if key != "task")
        raise ValueError(f"{name} is a pinned set and takes no {said}; write a task of its own for other settings")
    return named_guards()[name]["task"]
