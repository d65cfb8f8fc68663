"""Runs of the trainer alone, in processes that start fast: forked from a server that has torch imported."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from mmcl.recipe import Recipe
from mmcl.training.run_folder import RunFolder

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.runs", "mmcl.training.run", "timm", "transformers.models.clip"])


def fit(recipe: Recipe, folder: Path, resume: bool, log: Path) -> None:
    """Train in ``folder``; exit as the command line would."""
    import torch

    from mmcl.data.loader import build_train_data
    from mmcl.errors import RunStopped
    from mmcl.model import build_model
    from mmcl.training.accelerator import build_accelerator
    from mmcl.training.observer import Observer
    from mmcl.training.trainer import Trainer

    torch.set_num_threads(1)
    with log.open("a") as stream:
        os.dup2(stream.fileno(), 2)
        model = build_model(recipe.model, recipe.seed)
        data = build_train_data(recipe, model.preprocessing, model.tokenizer)
        trainer = Trainer(recipe, model, data, RunFolder(folder), build_accelerator(recipe), Observer())
        if resume:
            trainer.resume()
        try:
            trainer.fit(lambda step: {})
        except RunStopped as stop:
            sys.exit(stop.exit_code)


def start(recipe: Recipe, folder: Path, resume: bool = False) -> ForkServerProcess:
    """Start `fit` in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    process = CONTEXT.Process(target=fit, args=(recipe, folder, resume, folder.parent / f"{folder.name}.log"))
    process.start()
    return process


def finish(recipe: Recipe, folder: Path, resume: bool = False) -> dict[str, str]:
    """Train to the end in a process of its own; return the last checkpoint's SHA-256 sums, file by file."""
    process = start(recipe, folder, resume)
    process.join(120)
    assert process.exitcode == 0, (folder.parent / f"{folder.name}.log").read_text()
    return last_sums(folder)


def last_sums(folder: Path) -> dict[str, str]:
    """The manifest of the newest checkpoint: sums of weights, optimiser, average, and of the order of samples."""
    newest = max((folder / "checkpoints").glob("step-*"))
    sums: dict[str, str] = json.loads((newest / "manifest.json").read_text())
    return sums


def kill(process: ForkServerProcess) -> None:
    """SIGKILL: no handler runs, nothing is flushed."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def wait_for(condition: object, timeout_s: float = 60.0) -> bool:
    """Poll a callable as fast as possible; false when it did not come true in time."""
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
    return False
