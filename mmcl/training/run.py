"""A whole run, read from top to bottom: folder, model, data, tasks, training, judgement, export, report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from evaluation import Change, TaskResult, TradeOff, main_metrics
from mmcl import distributed
from mmcl.data.loader import TrainData, build_train_data
from mmcl.embedder import ModelEmbedder
from mmcl.errors import UserError, writing
from mmcl.export import export_model
from mmcl.model import TwoTower, build_model
from mmcl.recipe import Recipe
from mmcl.recipe_files import dump_recipe, load_recipe
from mmcl.towers.lora import merged
from mmcl.towers.static import StaticTower
from mmcl.towers.towers import MODALITIES, Modality
from mmcl.training.accelerator import build_accelerator
from mmcl.training.card_facts import card_facts
from mmcl.training.equal_passes import warn_of_equal_passes
from mmcl.training.guard import Judges, build_judges, fallen, starts_from_a_trained_model
from mmcl.training.judge import AnyBuiltTask, check_modalities, headline_metrics, judge
from mmcl.training.observer import Observer
from mmcl.training.results import file_name, write_results
from mmcl.training.run_folder import RunFolder, new_run_folder, newest_run_folder, run_folder_at
from mmcl.training.sane_ranges import warn_of_fine_tuning
from mmcl.training.settle import settle_objectives
from mmcl.training.trainer import Trainer
from mmcl.training.view_sizes import check_view_sizes
from mmcl.training.wise_ft import Sweep, changes_by, sweep_alphas

MAY_CHANGE_ON_RESUME = {
    *("description", "license", "language", "output_dir", "report_to", "log_every", "save_every", "eval_every"),
    *("keep_checkpoints", "data.num_workers"),
}
"""Recipe fields that do not change what is learnt."""


@dataclass(frozen=True)
class Run:
    """What a finished run leaves.

    Attributes:
        path: the run's folder.
        results: one per task, with intervals.
        modalities: what the model embeds: ``image``, ``text``, or both.
        is_static: it is a table of token vectors.
        changes: the main metrics before and after, the guard's last; empty where a model is trained from nothing.
        sweep: what lies between before and after, and which of it is exported; None where nothing was tried.
        data_wait: how much of training was waiting for data and what to do about it; None where that is little.
    """

    path: Path
    results: tuple[TaskResult, ...]
    modalities: tuple[Modality, ...] = MODALITIES
    is_static: bool = False
    changes: tuple[Change, ...] = ()
    sweep: Sweep | None = None
    data_wait: str | None = None

    @property
    def report(self) -> Path:
        """The HTML report."""
        return RunFolder(self.path).report

    @property
    def model(self) -> Path:
        """The exported model's folder."""
        return RunFolder(self.path).model


def run_recipe(
    recipe: Recipe, *, resume: bool = False, output: str | Path | None = None, observer: Observer | None = None
) -> Run:
    """Train, judge, export and report by a recipe.

    Args:
        recipe: the run.
        resume: go on with the run in ``output``, or else with the newest run of the recipe's name.
        output: the run's folder; by default the next free one of its name under ``output_dir``.
        observer: who is told; by default messages go to the ``mmcl`` logger.

    Raises:
        UserError: for a mistake in the recipe or the data, before anything is written where possible.
        RunError: when the loss is not finite.
        RunStopped: after SIGTERM or Ctrl-C, once a checkpoint is saved.
    """
    observer = observer or Observer()
    accelerator = build_accelerator(recipe)
    model = build_model(recipe.model, recipe.seed)
    recipe, chosen = settle_objectives(recipe, model)
    check_modalities(recipe.evaluate, model.towers.modalities)
    check_modalities(recipe.guard, model.towers.modalities, "guard")
    check_view_sizes(recipe, model)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    judges = build_judges(recipe, data, observer.message)
    warnings = [*warn_of_equal_passes(recipe, model), *judges.warnings, *warn_of_fine_tuning(recipe, model)]
    trainer = Trainer(recipe, model, data, None, accelerator, observer)
    folder = distributed.on_main_process(lambda: _open_folder(recipe, resume, output))
    trainer.folder = folder
    data.quarantine.write_to(folder.path)
    for line in [*([chosen] if chosen else []), *data.remarks, *(f"warning: {line}" for line in warnings)]:
        observer.message(line)
    accelerator.project_configuration.set_directories(str(folder.path.parent))
    accelerator.init_trackers(folder.path.name, {"recipe": dump_recipe(recipe)})
    # Also when resumed: what was found at the start is not kept.
    before = _judge(model, recipe, judges.all, folder.path.name) if starts_from_a_trained_model(recipe) else []
    start = _copy_of_state(trainer) if judges.guard and recipe.alphas else {}
    if resume:
        trainer.resume()
    trainer.fit(lambda step: _evaluate(trainer, judges, before, step))
    if num_left_out := sum(distributed.gather_objects(data.quarantine.num_quarantined)):
        observer.message(f"{num_left_out:,} rows met on the way could not be used: {folder.path}/quarantine.jsonl")
    model = _finished(trainer)
    found = _find_out(model, recipe, judges, before, start, folder.path.name)
    if distributed.rank() == 0:
        _leave(model, trainer.data, folder, recipe, found, observer)
    distributed.barrier()
    accelerator.end_training()
    towers, is_static = model.towers, isinstance(model.towers, StaticTower)
    return Run(
        folder.path,
        tuple(found.results),
        towers.modalities,
        is_static,
        tuple(found.changes),
        found.sweep,
        trainer.data_wait.advice(),
    )


@dataclass(frozen=True)
class _Findings:
    """What was found out: results of what is exported, of before, the changes between them, the sweep, and what was
    not looked at."""

    results: list[TaskResult]
    before: list[TaskResult]
    changes: list[Change]
    sweep: Sweep | None
    unseen: tuple[str, ...]

    @property
    def trade_off(self) -> TradeOff | None:
        """The sweep as a report shows it."""
        if self.sweep is None:
            return None
        points = tuple((f"alpha = {point.alpha:g}", point.guard, point.target) for point in self.sweep.points)
        return TradeOff(points, f"alpha = {self.sweep.alpha:g}", self.sweep.changes)


def _find_out(
    model: TwoTower, recipe: Recipe, judges: Judges, before: list[TaskResult], start: dict[str, Tensor], name: str
) -> _Findings:
    """Judge the finished model, and what lies between it and its start; it carries what is to be exported then."""
    results = _judge(model, recipe, judges.all, name)
    changes = changes_by(judges, before, results) if before else []
    if not judges.guard or not recipe.alphas:
        return _Findings(results, before, changes, None, judges.warnings)
    sweep = sweep_alphas(
        model,
        start,
        recipe.alphas,
        judges,
        lambda: _judge(model, recipe, judges.all, name),
        known={0.0: before, 1.0: results},
        max_guard_drop=recipe.max_guard_drop,
    )
    return _Findings(list(sweep.results), before, changes, sweep, judges.warnings)


def _evaluate(trainer: Trainer, judges: Judges, before: list[TaskResult], step: int) -> dict[str, float]:
    """Judge during the run: return what goes to the log, and end training where the guard has fallen too far."""
    with _averaged(trainer):
        found = _judge(trainer.model, trainer.recipe, judges.all, f"step {step}")
    results, guard = judges.split(found)
    trainer.observer.message(f"step {step}: {'; '.join([*_said(results), *_said(guard, 'guard ')])}")
    limit = trainer.recipe.max_guard_drop
    reason = None if limit is None else fallen(judges.split(before)[1], guard, limit)
    if reason:
        trainer.end(reason)
    metrics = headline_metrics(results)
    return metrics | {f"guard/{name}": value for name, value in headline_metrics(guard).items()}


def _said(results: list[TaskResult], kind: str = "") -> list[str]:
    """Say the main metrics of each result, x 100."""
    said = []
    for result in results:
        values = {name: result.metrics[name] for name in main_metrics(result)}
        numbers = ", ".join(f"{name} {100 * value:.1f}" for name, value in values.items() if value is not None)
        said.append(f"{kind}{result.dataset} {numbers}")
    return said


def _copy_of_state(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in merged(trainer.model).state_dict().items()}


def _finished(trainer: Trainer) -> TwoTower:
    """Return a copy of the model as it is exported: averaged, and low-rank updates merged."""
    # What the optimiser holds would lie on the device beside the copy.
    trainer.optimizer.zero_grad()
    trainer.optimizer.state.clear()
    with _averaged(trainer):
        model = merged(trainer.model)
        model = deepcopy(model) if model is trainer.model else model
    return model.to(trainer.accelerator.device)


def _open_folder(recipe: Recipe, resume: bool, output: str | Path | None) -> RunFolder:
    name = recipe.name or "run"
    if resume:
        folder = RunFolder(Path(output)) if output else newest_run_folder(Path(recipe.output_dir), name)
        _check_same_recipe(folder, recipe)
        return folder
    folder = run_folder_at(Path(output)) if output else new_run_folder(Path(recipe.output_dir), name)
    with writing(folder.path):
        folder.recipe.write_text(dump_recipe(recipe), encoding="utf-8")
    return folder


def _check_same_recipe(folder: RunFolder, recipe: Recipe) -> None:
    if not folder.recipe.is_file():
        raise UserError(f"nothing to resume: {folder.path} holds no run")
    before, now = _flat(load_recipe(folder.recipe).model_dump()), _flat(recipe.model_dump())
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    changed = [key for key in changed if re.sub(r"\.\d+$", "", key) not in MAY_CHANGE_ON_RESUME]
    if changed:
        shown = ", ".join(f"{key} (was {before.get(key)!r}, now {now.get(key)!r})" for key in changed[:5])
        raise UserError(f"{folder.path} was started with another recipe: {shown}. Resume it as it was")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = dict(enumerate(value)).items()
    else:
        return {prefix: value}
    return {key: leaf for name, child in items for key, leaf in _flat(child, f"{prefix}.{name}".strip(".")).items()}


def _leave(
    model: TwoTower, data: TrainData, folder: RunFolder, recipe: Recipe, found: _Findings, observer: Observer
) -> None:
    """Write the exported model, the result files and the report."""
    text = dump_recipe(recipe)
    sweep = found.sweep
    facts = card_facts(
        folder.path.name,
        recipe,
        data,
        found.results,
        sweep.changes if sweep else found.changes,
        sweep.alpha if sweep else None,
        found.unseen,
    )
    # First what the run found out; an export that fails must not take it along.
    for result in found.before:
        result.write(folder.path / "results" / "before" / f"{file_name(result.dataset, result.task)}.json")
    write_results(
        folder.path,
        found.results,
        folder.path.name,
        folder.read_metrics(),
        text,
        found.changes,
        found.trade_off,
        found.unseen,
    )
    if sweep is not None:
        record = {"alpha": sweep.alpha, "points": [asdict(point) for point in sweep.points]}
        (folder.path / "wise_ft.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    report = export_model(model, folder.model, facts)
    for failure in report.failures:
        observer.message(f"export: {failure}")


def _judge(model: TwoTower, recipe: Recipe, tasks: list[AnyBuiltTask], name: str) -> list[TaskResult]:
    # With local batch norm each process has statistics of its own; the main process's are the model's.
    distributed.copy_from_main_process(model.buffers())
    return judge(ModelEmbedder(model, name, max_pixels=recipe.data.max_pixels), tasks)


@contextmanager
def _averaged(trainer: Trainer) -> Iterator[None]:
    """Let the model carry its running average inside the block, where the recipe keeps one."""
    with trainer.average.swapped_in(trainer.model) if trainer.average else nullcontext():
        yield
