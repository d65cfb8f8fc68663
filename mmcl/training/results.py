"""Result files and the report of a run or of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import Change, TaskResult, write_report
from mmcl.errors import UserError, writing


def new_results_folder(folder: Path) -> Path:
    """Make a folder for results.

    Raises:
        UserError: when something is there already; nothing of it is touched.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} already holds something; give another --output")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_results(
    folder: Path,
    results: Sequence[TaskResult],
    title: str,
    training_log: Sequence[dict[str, Any]] = (),
    recipe_text: str = "",
    changes: Sequence[Change] = (),
) -> None:
    """Write ``results/<dataset>-<task>.json`` for each result, and ``report.html``, which opens with ``changes``."""
    for result in results:
        result.write(folder / "results" / f"{file_name(result.dataset, result.task)}.json")
    write_report(folder / "report.html", title, results, training_log, recipe_text, changes=changes)


def file_name(dataset: str, task: str) -> str:
    """Return the name of a result's file, without suffix."""
    return re.sub(r"[^\w.-]+", "-", f"{dataset}-{task}")
