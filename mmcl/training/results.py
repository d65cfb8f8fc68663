"""Result files and the report of a run or of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import Change, TaskResult, TradeOff, write_report
from mmcl.errors import UserError, writing


def new_results_folder(folder: Path) -> Path:
    """Make a folder for results.

    Raises:
        UserError: when something is there already; nothing of it is touched.
    """
    refuse_results_in(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_results_in(folder: Path) -> None:
    """Refuse a folder for results in which something is.

    Raises:
        UserError: there is.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} already holds something; give another --output")


def write_results(
    folder: Path,
    results: Sequence[TaskResult],
    title: str,
    training_log: Sequence[dict[str, Any]] = (),
    recipe_text: str = "",
    changes: Sequence[Change] = (),
    trade_off: TradeOff | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Write ``results/<dataset>-<task>.json`` and ``.parquet`` for each result, and ``report.html``.

    Args:
        folder: exists.
        results: of what is exported.
        title: of the report.
        training_log: of the run.
        recipe_text: of the run.
        changes: what the report opens with.
        trade_off: between before and after.
        warnings: what the report says before all else.
    """
    for result in results:
        result.write(folder / "results" / f"{file_name(result.dataset, result.task)}.json")
    write_report(
        folder / "report.html",
        title,
        results,
        training_log,
        recipe_text,
        changes=changes,
        trade_off=trade_off,
        warnings=warnings,
    )


def file_name(dataset: str, task: str) -> str:
    """Return the name of a result's file, without suffix."""
    return re.sub(r"[^\w.-]+", "-", f"{dataset}-{task}")
