"""Multimodal contrastive learning: train, fine-tune and judge CLIP-style models.

``mmcl.load`` opens a model, ``mmcl.train`` makes one, ``mmcl.merge`` makes one of two; torch is imported when any of
them is first used.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmcl.embedder import load as load
    from mmcl.interpolation import merge as merge
    from mmcl.training.run import Run

__version__ = "0.1.0"
__all__ = ["__version__", "load", "merge", "train"]


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


def __getattr__(name: str) -> Any:
    if name == "load":
        from mmcl.embedder import load

        return load
    if name == "merge":
        from mmcl.interpolation import merge

        return merge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
