"""Runs many recipes, as many at a time as there are cores, and keeps what has been done."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Metrics = dict[str, float]

OUTCOMES = "outcomes.npz"


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        name: its folder's; what is there already, by the same recipe, is not run again.
        recipe: a packaged name or a path.
        overrides: of the recipe's keys.
        keeps_outcomes: also keep the tasks' per-example outcomes, in ``outcomes.npz``: arrays by
            ``<dataset>-<task>/<name>``.
        keeps_model: do not remove the exported model.
    """

    name: str
    recipe: str
    overrides: dict[str, Any] = field(default_factory=dict)
    keeps_outcomes: bool = False
    keeps_model: bool = False


def run_all(jobs: Sequence[Job], folder: Path, num_parallel: int) -> dict[str, Metrics]:
    """Train by every job and return its metrics, ``<dataset>-<task>/<metric>``, by the job's name.

    A job that has been run by the same recipe into ``folder`` is not run again, so that a call that was stopped goes on
    where it was.
    """
    found = {job.name: finished_metrics(job, folder) for job in jobs}
    todo = [job for job in jobs if not found[job.name]]
    began = time.time()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmcl.training.run", "timm", "sentence_transformers"])
    with ProcessPoolExecutor(num_parallel, mp_context=context, initializer=_use_one_thread) as pool:
        running = {pool.submit(run_one, job, folder): job for job in todo}
        for number, future in enumerate(as_completed(running), 1):
            job = running[future]
            found[job.name] = future.result()
            print(f"{number}/{len(todo)} {job.name}  {(time.time() - began) / 60:.1f} min", flush=True)
    return {job.name: found[job.name] for job in jobs}


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def run_one(job: Job, folder: Path) -> Metrics:
    """Train by one job; its checkpoints are not kept, nor its exported model where that is not asked for."""
    import mmcl

    target = folder / job.name
    shutil.rmtree(target, ignore_errors=True)
    run = mmcl.train(job.recipe, output=target, **job.overrides)
    if job.keeps_outcomes:
        outcomes = {
            f"{result.dataset}-{result.task}/{name}": values
            for result in run.results
            for name, values in result.examples.items()
        }
        np.savez(target / OUTCOMES, **outcomes)
    for part in ("checkpoints",) if job.keeps_model else ("checkpoints", "model"):
        shutil.rmtree(target / part, ignore_errors=True)
    return read_metrics(target)


def finished_metrics(job: Job, folder: Path) -> Metrics:
    """Return the metrics of a job that has been run; nothing when it has not finished, or went by another recipe."""
    from mmcl.recipe_files import dump_recipe, load_recipe

    run = folder / job.name
    if not (run / "report.html").is_file() or (job.keeps_outcomes and not (run / OUTCOMES).is_file()):
        return {}
    asked, found = load_recipe(job.recipe, job.overrides), load_recipe(run / "recipe.yaml")
    if asked.objectives is None:  # which the run has settled
        asked = asked.model_copy(update={"objectives": found.objectives})
    return read_metrics(run) if dump_recipe(asked) == dump_recipe(found) else {}


def read_metrics(run: Path) -> Metrics:
    """Return a finished run's metrics."""
    metrics = {}
    for path in sorted((run / "results").glob("*.json")):
        for name, value in json.loads(path.read_text(encoding="utf-8"))["metrics"].items():
            if value is not None:
                metrics[f"{path.stem}/{name}"] = value
    return metrics


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (of a sample) over seeds."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def default_parallel() -> int:
    """As many as there are cores."""
    return os.cpu_count() or 1
