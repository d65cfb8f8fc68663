"""What a study may say, in YAML or in Python: which models are judged by which tasks.

Only ``models`` and something to judge them by are required. Relative paths start from the working folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, StrictBool, ValidationError, field_validator, model_validator

from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.recipe_errors import misplaced_booleans, problems_in
from mmcl.recipe_sections import expand
from mmcl.recipe_tasks import AnyTask
from mmcl.recipe_yaml import FILE, Node, Origin, Problem, at_origin, read_yaml
from mmcl.section import Section

CACHE = "cache"
"""Folder of embeddings in the output."""


class StudyConfig(Section):
    """Several models judged by the same tasks."""

    models: tuple[str, ...] = Field(min_length=1)
    """Runs, model folders, hub ids, open_clip's ``ARCH,TAG`` or ``ARCH,checkpoint.pt``, folders of
    sentence-transformers, embeddings in .npy, .npz or .parquet; ``untrained:`` before a name takes its architecture
    with fresh weights."""
    suite: str | None = None
    """A list of tasks with data of their own: a packaged one, or a .yaml file."""
    evaluate: tuple[AnyTask, ...] = ()
    """Tasks, as in a recipe; those of ``suite`` come after them."""
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the tasks to judge by: the others of ``evaluate`` and ``suite`` are left out. With neither of the two,
    these tasks, on ``data``."""
    data: SourceConfig | None = None
    """Rows to judge on, for tasks of ``evaluate`` without data of their own. Short form: the path."""
    dataset_root: str | None = None
    """Folder with copies of CLIP_benchmark's data sets, to which names such as ``wds/vtab/cifar10`` then go instead of
    the hub: ``wds_vtab-cifar10`` in it, or what ``{dataset}`` or ``{dataset_cleaned}`` in the path come to."""
    columns: ColumnsConfig = ColumnsConfig()
    """Column roles, for tasks without columns of their own."""
    output: str | None = None
    """Folder of the results, the report and the cache; a second call goes on in it. By default nothing is written."""
    limit: int | None = Field(default=None, gt=0)
    """Judge on only the first so many rows of each task; results are marked as partial, and nothing is cached."""
    batch_size: int = Field(default=64, gt=0)
    """Pictures or texts encoded at a time."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the towers; embeddings are float32 in any case."""
    baselines: bool = False
    """Ask every task that has baselines for them."""
    resident: int | None = Field(default=None, gt=0)
    """Models in memory at a time, which share the decoding of the pictures; by default all."""
    cache: str | StrictBool = True
    """Folder of embeddings that later calls take instead of encoding again; true is ``cache`` in ``output``, false
    keeps none."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("models")
    @classmethod
    def _models_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((name for number, name in enumerate(value) if name in value[:number]), None)
        if twice is not None:
            raise ValueError(f'must be all different, got "{twice}" twice')
        return value

    @model_validator(mode="after")
    def _has_tasks(self) -> StudyConfig:
        if not (self.suite or self.evaluate or self.tasks):
            raise ValueError("nothing to judge by: give suite, evaluate, or tasks and data")
        return self

    @property
    def cache_folder(self) -> Path | None:
        """Where embeddings are kept; None for nowhere, as of a part of the rows."""
        if self.cache is False or self.limit is not None:
            return None
        if isinstance(self.cache, str):
            return Path(self.cache)
        return None if self.output is None else Path(self.output) / CACHE


def read_study(path: str | os.PathLike[str], overrides: Mapping[str, object] | None = None) -> StudyConfig:
    """Read a study's YAML file.

    Args:
        path: of the file.
        overrides: values of keys, in the place of those of the file.

    Raises:
        UserError: all mistakes at once, one line each: ``paper.yaml:2 suit: unknown key. Did you mean "suite"?``
    """
    source = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise UserError(f"cannot read {source}: {reason}") from None
    root, problems = read_yaml(text, source, FILE)
    if not isinstance(root.value, dict):
        raise UserError(f"{source}: a study is a mapping of keys to values, such as models: [runs/products]")
    over = at_origin(overrides or {}, Origin("given besides"))
    assert isinstance(over.value, dict)
    return _checked(Node({**root.value, **over.value}, root.origin), problems)


def study_of(values: Mapping[str, object]) -> StudyConfig:
    """Return the study of Python values, short forms allowed as in a file.

    Raises:
        UserError: all mistakes at once, one line each.
    """
    return _checked(at_origin(values, Origin("study")), [])


def _checked(root: Node, problems: list[Problem]) -> StudyConfig:
    root = expand(root, (StudyConfig,))
    problems = [*problems, *misplaced_booleans(root, (StudyConfig,))]
    try:
        study = StudyConfig.model_validate(root.plain())
    except ValidationError as error:
        seen = {problem.path for problem in problems}
        found = problems_in(error, root, (StudyConfig,))
        problems += [problem for problem in found if problem.path not in seen]
    if problems:
        raise UserError("\n".join(dict.fromkeys(map(str, problems))))
    return study
