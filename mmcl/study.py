"""Many models judged by the same tasks: checked before, encoded together, written as it goes, gone on with later."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation import CachedEmbedder, EvaluationError, TaskResult, write_report
from evaluation.embedder import Embedder
from evaluation.result_folders import NOT_JUDGED
from evaluation.results import library_versions
from mmcl.data.evaluation_rows import LazyPictures
from mmcl.errors import UnreachableError, UserError, writing
from mmcl.feature_cache import FeatureCache
from mmcl.file_embedder import FileEmbedder
from mmcl.item_digests import Digests
from mmcl.open_model import open_model
from mmcl.shared_pass import encode_images_once
from mmcl.study_config import CACHE, StudyConfig
from mmcl.study_log import StudyLog
from mmcl.study_plan import Judged, StudyPlan, plan_study
from mmcl.study_tasks import StudyTask, different_pictures
from mmcl.towers.towers import MODALITIES


class UnjudgedError(UserError):
    """Tasks that some models could not do.

    Args:
        message: which, and why.
        results: of all the others.
    """

    def __init__(self, message: str, results: Sequence[TaskResult]) -> None:
        super().__init__(message)
        self.results = results


def run_study(
    study: StudyConfig,
    models: Sequence[Judged] | None = None,
    *,
    in_one_folder: bool = False,
    missing: list[UnreachableError] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[TaskResult]:
    """Judge every model by every task.

    Everything that can be known beforehand is checked first. Results are written one by one; of a call that was
    stopped, the next one takes those whose model, rows and settings are still the same.

    Args:
        study: models, tasks and where results go.
        models: in the place of the study's: names, and objects with ``encode_images`` and ``encode_texts``.
        in_one_folder: write ``results`` straight into the output, for one model.
        missing: is filled with why the data of some tasks of the suite cannot be had now; the others are judged. With
            None that is an error.
        tell: called with a line for everything worth knowing on the way.

    Returns:
        The results, all of the first model before those of the second. Those taken from an earlier call have no
        exhibits.

    Raises:
        UserError: for all mistakes that can be known beforehand.
        UnjudgedError: at the end, tasks that a model could not do.
    """
    plan = plan_study(study, study.models if models is None else models, tell)
    plan.refuse_problems()
    if plan.unreachable:
        if missing is None:
            raise plan.unreachable[0]
        missing += plan.unreachable
        for error in plan.unreachable:
            tell(str(error))
    run = _Run(study, plan, in_one_folder, tell)
    size = study.resident or len(plan.models)
    for start in range(0, len(plan.models), size):
        run.judge(range(start, min(start + size, len(plan.models))))
    run.finish()
    return [run.results[model, task] for model in range(len(plan.models)) for task in range(len(plan.tasks))]


class _Run:
    """One call of a study."""

    def __init__(self, study: StudyConfig, plan: StudyPlan, in_one_folder: bool, tell: Callable[[str], None]) -> None:
        self.study, self.plan, self.tell = study, plan, tell
        self.digests = Digests()
        self.output = None if study.output is None else Path(study.output)
        self.folders = [""] if in_one_folder else [f"{slug}/" for slug in slugs(plan.names)]
        self.log = None if self.output is None else StudyLog(self.output)
        cache = study.cache_folder
        self.cache = None if cache is None else FeatureCache(cache, self.digests, tell)
        self.results: dict[tuple[int, int], TaskResult] = {}
        self.failures: list[str] = []
        self.num_new = 0

    def judge(self, numbers: Sequence[int]) -> None:
        """Judge some models by every task, tasks on the same pictures together."""
        embedders = {number: self._opened(number) for number in numbers}
        for bundle in bundles(self.plan.tasks):
            todo = {number: self._not_done(number, embedder, bundle) for number, embedder in embedders.items()}
            cached = {number: self._cached(embedders[number]) for number in embedders if todo[number]}
            for images in different_pictures([self.plan.tasks[task] for task in bundle]):
                sharing = self._sharing(images, list(cached.values()), bundle)
                encode_images_once(images, sharing, self.study.batch_size)
            for number, embedder in cached.items():
                for task in todo[number]:
                    self._judge_one(number, embedder, task)

    def finish(self) -> None:
        """Write the report, and tell of what could not be done.

        Raises:
            UnjudgedError: a task that a model could not do.
        """
        ordered = [self.results[key] for key in sorted(self.results)]
        if self.output is not None and self.results and (self.num_new or not (self.output / "report.html").is_file()):
            num_old = len(self.results) - self.num_new
            note = f"{num_old} results were there before the last call; pictures and maps are of the others"
            title = f"{len(self.plan.names)} models" if len(self.plan.names) > 1 else self.plan.names[0]
            with writing(self.output):
                write_report(self.output / "report.html", title, ordered, warnings=[note] if num_old else [])
        self._tell_of_others()
        if self.failures:
            count = len(self.plan.names) * len(self.plan.tasks)
            message = "\n".join([f"{len(self.failures)} of {count} results cannot be had:", *self.failures])
            raise UnjudgedError(message, ordered)

    def _tell_of_others(self) -> None:
        """Name results in the output that a call with other data, names or models has left beside those of this one."""
        if self.log is None:
            return
        own = {self._file(model, task) for model in range(len(self.plan.names)) for task in range(len(self.plan.tasks))}
        others = [file for file in self.log.files() if file not in own]
        if others:
            shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            what = "results that are not of this call, and mmcl compare takes them in"
            self.tell(f"{self.output} also holds {what}: {shown}")

    def _opened(self, number: int) -> Embedder:
        model = self.plan.models[number]
        if not isinstance(model, str):
            return model
        return open_model(model, batch_size=self.study.batch_size, precision=self.study.precision)

    def _cached(self, embedder: Embedder) -> CachedEmbedder:
        # What a file holds needs no second file, and goes by where a picture is in its data, not by its bytes.
        return CachedEmbedder(embedder, None if isinstance(embedder, FileEmbedder) else self.cache)

    def _sharing(
        self, images: LazyPictures, models: Sequence[CachedEmbedder], bundle: Sequence[int]
    ) -> list[CachedEmbedder]:
        """Return the models that encode a sequence of pictures, untrained ones too where a task asks for those."""
        reading = [
            model
            for model in models
            if not isinstance(model.embedder, FileEmbedder)
            and "image" in getattr(model.embedder, "modalities", MODALITIES)
        ]
        tasks = [self.plan.tasks[task] for task in bundle]
        if any(getattr(one.task, "baselines", False) and any(each is images for each in one.pictures) for one in tasks):
            reading += [untrained for model in list(reading) if (untrained := model.untrained()) is not None]
        return reading

    def _not_done(self, number: int, embedder: Embedder, bundle: Sequence[int]) -> list[int]:
        """Return the tasks of which an earlier call has left no result that still holds; read the other results."""
        if self.log is None or self.output is None:
            return list(bundle)
        todo = []
        for task in bundle:
            file = self._file(number, task)
            changes = self.log.changes(file, self._follows_from(embedder, task))
            if changes:
                self.tell(f"{file} is redone: {', '.join(changes)} changed")
            try:
                if changes == []:
                    self.results[number, task] = TaskResult.read(self.output / file)
                    continue
            except EvaluationError as error:
                self.tell(f"{file} is redone: {error}")
            todo.append(task)
        return todo

    def _judge_one(self, number: int, embedder: CachedEmbedder, task: int) -> None:
        one = self.plan.tasks[task]
        try:
            result = one.task.evaluate(embedder)
        except (UserError, EvaluationError) as error:
            if len(self.plan.names) == 1:
                raise
            self.failures.append(f"{self.plan.names[number]} {one.file_name}: {error}")
            self.tell(self.failures[-1])
            return
        result = replace(result, is_partial=True) if one.is_partial else result
        self.results[number, task] = result
        self.num_new += 1
        if self.output is not None and self.log is not None:
            file = self._file(number, task)
            self.log.forget(file)
            with writing(self.output):
                result.write(self.output / file)
            if not one.is_partial:
                self.log.add(file, self._follows_from(embedder, task))
        if len(self.plan.names) > 1:
            total = len(self.plan.names) * len(self.plan.tasks)
            self.tell(f"{len(self.results)}/{total}  {self.plan.names[number]}  {one.task.dataset} {one.config.task}")

    def _file(self, number: int, task: int) -> str:
        return f"{self.folders[number]}results/{self.plan.tasks[task].file_name}.json"

    def _follows_from(self, embedder: Embedder, task: int) -> dict[str, str]:
        """Return sums of everything a result follows from, by what a user calls it."""
        model = [embedder.name, embedder.fingerprint, self.study.precision]
        return {
            "model": self.digests.of(model)[:16],
            "versions of libraries": self.digests.of(library_versions())[:16],
            **self.digests.of_fields(self.plan.tasks[task].task),
        }


def bundles(tasks: Sequence[StudyTask]) -> Iterator[list[int]]:
    """Yield the numbers of tasks that share pictures, together; what they share is forgotten after them."""
    left = list(range(len(tasks)))
    while left:
        bundle = [left.pop(0)]
        seen = set(map(id, tasks[bundle[0]].pictures))
        for number in list(left):
            own = set(map(id, tasks[number].pictures))
            if own & seen:
                bundle.append(number)
                left.remove(number)
                seen |= own
        yield bundle


def slugs(names: Sequence[str]) -> list[str]:
    """Return a folder's name for each model, all different: ``ViT-B-32-openai`` for ``ViT-B-32,openai``.

    None is that of a folder which may be deleted, or in which `evaluation.read_results` looks for no results.
    """
    taken = [*NOT_JUDGED, CACHE]
    for name in names:
        slug = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
        taken.append(next(each for each in (slug, *(f"{slug}-{n}" for n in range(2, 1000))) if each not in taken))
    return taken[-len(names) :]
