"""Multimodal contrastive learning: train, fine-tune and judge CLIP-style models.

``mmcl.load`` opens a model, ``mmcl.train`` makes one, ``mmcl.merge`` makes one of two, ``mmcl.evaluate`` judges as many
as there are; torch is imported when any of them is first used.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation import TaskResult
    from evaluation.embedder import Embedder
    from mmcl.interpolation import merge as merge
    from mmcl.open_model import open_model as load
    from mmcl.training.run import Run

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load", "merge", "train"]


def train(
    recipe: str | os.PathLike[str],
    *,
    resume: bool = False,
    output: str | os.PathLike[str] | None = None,
    **overrides: object,
) -> Run:
    """Train, judge and export by a recipe: ``mmcl.train("clip/finetune", data="products.csv", lr=1e-4)``.

    Args:
        recipe: a packaged name, a ``.yaml`` file, or a run's folder.
        resume: go on with the run in ``output``, or else with the newest of the recipe's name.
        output: the run's folder; by default the next free one.
        overrides: values of the recipe's keys; a key inside another is given by
            ``**{"model.embedding_dim": 64}``.

    Returns:
        The finished run: its folder and its results.

    Raises:
        mmcl.errors.UserError: for a mistake in the recipe or the data.
        mmcl.errors.RunError: when the run cannot go on.
        mmcl.errors.RunStopped: after SIGTERM or Ctrl-C, once a checkpoint is saved.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that was started afresh runs the script again, up to here.
        from mmcl.errors import UserError

        raise UserError('call mmcl.train under if __name__ == "__main__": the workers that load data import the script')
    from mmcl.recipe_files import locate_recipe
    from mmcl.training.run import run_recipe

    located = locate_recipe(recipe, overrides)
    with located.locating():
        return run_recipe(located.recipe, resume=resume, output=None if output is None else os.fspath(output))


def evaluate(
    models: str | os.PathLike[str] | Embedder | Sequence[str | os.PathLike[str] | Embedder], **keys: object
) -> list[TaskResult]:
    """Judge models: ``mmcl.evaluate(["runs/a", "runs/b"], tasks=["retrieval"], data="products.csv")``.

    Args:
        models: names as `mmcl.load` takes them, or objects with ``encode_images`` or ``encode_texts``; one, or several.
        keys: those of a study but ``models``: ``suite``, ``evaluate``, ``tasks``, ``data``, ``columns``, ``output``,
            ``limit`` ... With ``output`` a second call goes on with the first.

    Returns:
        A result for each model and task, all of the first model before those of the second.

    Raises:
        mmcl.errors.UserError: for all mistakes in models, tasks and data that can be known beforehand, at once.
        mmcl.study.UnjudgedError: tasks that one of several models could not do; its ``results`` are all the others.
    """
    from mmcl.study import run_study
    from mmcl.study_config import study_of

    is_one = isinstance(models, (str, os.PathLike)) or not isinstance(models, Sequence)
    given: list[Any] = [models] if is_one else list(models)  # type: ignore[arg-type]
    names = [os.fspath(model) if isinstance(model, (str, os.PathLike)) else model.name for model in given]
    return run_study(study_of({**keys, "models": names}), given, in_one_folder=is_one)


def __getattr__(name: str) -> Any:
    if name == "load":
        from mmcl.open_model import open_model

        return open_model
    if name == "merge":
        from mmcl.interpolation import merge

        return merge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
