"""``mmcl evaluate --suite``: the benchmarks of others, by their own packages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from evaluation.mteb_suite import MTEBScore

MTEB_PREFIX = "mteb:"
"""What the name of a suite of MTEB begins with."""


def evaluate_suite(model: str, suite: str, folder: Path, batch_size: int, as_json: bool) -> None:
    """Judge a model by MTEB, leave its result files in ``folder/results`` and print the main scores.

    Raises:
        UserError: the suite is not MTEB's, or the data of a task cannot be had.
    """
    from evaluation.mteb_suite import find_tasks, format_scores, judge_by_mteb
    from mmcl.embedder import load
    from mmcl.errors import UnreachableError, UserError, writing

    if not suite.startswith(MTEB_PREFIX) or suite == MTEB_PREFIX:
        raise UserError(
            f'--suite: unknown suite "{suite}" (known: {MTEB_PREFIX}NAMES, where NAMES are benchmarks and tasks of '
            f"MTEB, for example '{MTEB_PREFIX}STSBenchmark,SICK-R')"
        )
    tasks = find_tasks(suite.removeprefix(MTEB_PREFIX))
    with writing(folder):
        (folder / "results").mkdir(parents=True, exist_ok=True)
    scores = judge_by_mteb(
        load(model, batch_size=batch_size), _name_of(model), tasks, folder, batch_size, _Progress(len(tasks))
    )
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(score) for score in scores], indent=2))
    elif any(score.value is not None for score in scores):
        typer.echo(f"{format_scores(scores)}\n\nresults  {folder / 'results'}")
    missing = [score for score in scores if score.value is None]
    if missing:
        raise UnreachableError(
            f"{len(missing)} of {len(scores)} tasks have no score; {missing[0].task}: {missing[0].reason}. MTEB "
            f"fetches data from the Hugging Face hub, gated ones after hf auth login; where that is the cause, give "
            f"the same command again with a network, and it goes on"
        )


class _Progress:
    """Says of each of several tasks what came of it."""

    def __init__(self, num_tasks: int) -> None:
        self.num_tasks, self.num_done = num_tasks, 0

    def __call__(self, score: MTEBScore) -> None:
        self.num_done += 1
        if self.num_tasks > 1:
            found = f"no score, {score.reason}" if score.value is None else f"{100 * score.value:.1f}"
            typer.echo(f"{self.num_done}/{self.num_tasks}  {score.task}  {found}", err=True)


def _name_of(model: str) -> str:
    """Return what MTEB files the results under: a hub id as it is, else ``mmcl`` and the name of the run."""
    path = Path(model)
    if path.exists():
        path = path.resolve()
        return f"mmcl/{path.parent.name if path.name == 'model' else path.name}"
    return model if "/" in model else f"mmcl/{model}"
