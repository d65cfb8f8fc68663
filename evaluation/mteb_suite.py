"""Benchmarks and tasks of MTEB by name: found, judged by MTEB itself, summed up in a table."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.embedder import Embedder
from evaluation.errors import EvaluationError
from evaluation.tables import align, format_value

COLUMNS = ("task", "type", "metric", "value")


@dataclass(frozen=True)
class MTEBScore:
    """What a model reaches in one task of MTEB.

    Attributes:
        task: its name.
        type: ``STS``, ``Retrieval`` ...
        metric: the task's main score, for example ``cosine_spearman`` or ``ndcg_at_10``.
        value: mean over splits and languages, a fraction; None where there is none.
        reason: why there is none; else empty.
    """

    task: str
    type: str
    metric: str
    value: float | None
    reason: str = ""


def find_tasks(names: str) -> list[Any]:
    """Return the tasks that a list of names stands for, each once.

    Args:
        names: benchmarks or tasks, with commas between; a comma within brackets belongs to the name.

    Raises:
        EvaluationError: MTEB is not installed, or has nothing of a name; the nearest is named.
    """
    _require_mteb()
    with warnings.catch_warnings():
        # The first look-up builds every benchmark there is, with warnings about tasks that nobody asked for.
        warnings.simplefilter("ignore")
        tasks = [task for name in re.split(r",(?![^(]*\))", names) for task in _tasks_called(name.strip())]
    return list({(task.metadata.name, *task.hf_subsets, *task.eval_splits): task for task in tasks}.values())


def judge_by_mteb(
    embedder: Embedder,
    name: str,
    tasks: Sequence[Any],
    folder: Path,
    batch_size: int = 64,
    tell: Callable[[MTEBScore], None] = lambda score: None,
) -> list[MTEBScore]:
    """Return a score for each task; MTEB's own files are left in ``folder/results/<name>/<fingerprint>/``.

    What is there already is not done again. A task whose data cannot be had has a reason in place of a value, and stops
    no other.

    Args:
        embedder: the model.
        name: OWNER/NAME by which MTEB files the results.
        tasks: from `find_tasks`.
        folder: what MTEB calls a cache of results.
        batch_size: pictures handed to the embedder at a time.
        tell: called with each score.

    Raises:
        EvaluationError: a task needs what the embedder does not embed.
    """
    import mteb

    from evaluation.mteb_encoder import MTEBEncoder

    encoder = MTEBEncoder(embedder, name)
    _check_modalities(tasks, encoder.mteb_model_meta.modalities)
    cache = mteb.ResultCache(folder)
    scores = []
    for task in tasks:
        metadata = task.metadata
        value, reason = _judge(encoder, task, cache, batch_size)
        scores.append(MTEBScore(metadata.name, str(metadata.type), metadata.main_score, value, reason))
        tell(scores[-1])
    return scores


def format_scores(scores: Sequence[MTEBScore]) -> str:
    """Return an aligned plain-text table of scores times 100, those without a value left out.

    Where all of several tasks have one, their mean stands below, and the mean over types of the means of their tasks:
    ``Mean (Task)`` and ``Mean (TaskType)`` of MTEB's leaderboard.
    """
    judged = [(score, score.value) for score in scores if score.value is not None]
    lines = [COLUMNS, *((score.task, score.type, score.metric, _times_100(value)) for score, value in judged)]
    if len(judged) == len(scores) > 1:
        by_type: dict[str, list[float]] = {}
        for score, value in judged:
            by_type.setdefault(score.type, []).append(value)
        lines.append(("Mean (Task)", "", "", _times_100(np.mean([value for _, value in judged]))))
        lines.append(("Mean (TaskType)", "", "", _times_100(np.mean([np.mean(values) for values in by_type.values()]))))
    return align(lines, num_text_columns=3)


def _times_100(value: float | np.floating[Any]) -> str:
    return format_value(float(value), "fraction")


def _require_mteb() -> None:
    try:
        importlib.import_module("evaluation.mteb_encoder")
    except ImportError as error:
        newest = "" if sys.version_info >= (3, 11) else "; on Python 3.10 that is MTEB 2.23, newer ones need 3.11"
        raise EvaluationError(f'needs MTEB ({error}): pip install "mmcl[mteb]"{newest}') from error


def _tasks_called(name: str) -> list[Any]:
    import mteb

    try:
        return list(mteb.get_benchmark(name).tasks)
    except KeyError:
        pass
    try:
        return [mteb.get_task(name)]
    except KeyError as error:
        known = {one.casefold(): one for one in _known_names()}
        nearest = difflib.get_close_matches(name.casefold(), known, n=1)
        hint = f' Did you mean "{known[nearest[0]]}"?' if nearest else ""
        raise EvaluationError(f'MTEB has no benchmark and no task "{name}".{hint}') from error


def _known_names() -> Iterator[str]:
    import mteb

    for benchmark in mteb.get_benchmarks():
        yield from (benchmark.name, *benchmark.aliases)
    for task in mteb.get_tasks(exclude_superseded=False, exclude_private=False):
        yield task.metadata.name


def _check_modalities(tasks: Sequence[Any], modalities: Sequence[str]) -> None:
    """MTEB checks this too, but lets a model of texts be judged on the texts alone of documents with pictures."""
    for task in tasks:
        missing = sorted(set(task.metadata.modalities) - set(modalities))
        if missing:
            raise EvaluationError(
                f"{task.metadata.name} needs a model that embeds {' and '.join(missing)} too; nothing was judged"
            )


def _judge(encoder: Any, task: Any, cache: Any, batch_size: int) -> tuple[float | None, str]:
    import mteb

    try:
        found = mteb.evaluate(
            encoder, task, cache=cache, encode_kwargs={"batch_size": batch_size}, show_progress_bar=False
        )
    except Exception as error:  # the loaders of a thousand data sets share no base class
        if task.data_loaded and not isinstance(error, OSError):
            raise
        return None, " ".join(f"{type(error).__name__}: {error}".split())
    if found.exceptions:
        return None, found.exceptions[0].exception
    # An earlier call may have left results of further languages in the same file.
    (result,) = (one.validate_and_filter_scores(task) for one in found.task_results)
    values = [each["main_score"] for split in result.scores.values() for each in split]
    if not values or any(value is None or np.isnan(value) for value in values):
        return None, "MTEB gives no main score"
    return float(np.mean(values)), ""
