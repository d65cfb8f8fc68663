"""Result files and the report of a run or of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import TaskResult, write_report
from mmcl.errors import UserError


def new_results_folder(folder: Path) -> Path:
    """Make a folder for results.

    Raises:
        UserError: when something is there already; nothing of it is touched.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} already holds something; give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_results(
    folder: Path,
    results: Sequence[TaskResult],
    title: str,
    training_log: Sequence[dict[str, Any]] = (),
    recipe_text: str = "",
) -> None:
    """Write ``results/<dataset>-<task>.json`` for each result, and ``report.html``."""
    for result in results:
        name = re.sub(r"[^\w.-]+", "-", f"{result.dataset}-{result.task}")
        result.write(folder / "results" / f"{name}.json")
    write_report(folder / "report.html", title, results, training_log, recipe_text)
