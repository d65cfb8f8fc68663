"""What a run would do: everything is built, one batch goes forward and backward, nothing is written."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmcl import distributed
from mmcl.batch_norm import has_batch_norm
from mmcl.data.loader import build_train_data
from mmcl.data.needs import RowNeeds
from mmcl.model import build_model
from mmcl.objectives.objective import DataFacts
from mmcl.recipe import Recipe
from mmcl.recipe_tasks import AnyTask
from mmcl.towers.attention import attention_of
from mmcl.training.accelerator import build_accelerator
from mmcl.training.equal_passes import warn_of_equal_passes
from mmcl.training.guard import build_judges
from mmcl.training.judge import AnyBuiltTask, check_modalities
from mmcl.training.observer import Observer
from mmcl.training.sane_ranges import warn_of_fine_tuning
from mmcl.training.settle import settle_objectives
from mmcl.training.trainer import Trainer
from mmcl.training.view_sizes import check_view_sizes

SMALL_BATCH_NORM = 16


@dataclass(frozen=True)
class GroupPlan:
    """One parameter group of the optimiser.

    Attributes:
        name: ``decay`` or ``no_decay``.
        num_parameters: scalars in it.
        lr: peak learning rate.
        weight_decay: weight decay.
    """

    name: str
    num_parameters: int
    lr: float
    weight_decay: float


@dataclass(frozen=True)
class Plan:
    """A dry run's findings.

    Attributes:
        num_parameters: of the model.
        num_trained: of those, how many are trained.
        num_training_parameters: of what there is in training alone and is not exported: heads, momentum encoders.
        num_training_trained: of those, how many are trained.
        groups: the optimiser's parameter groups.
        num_rows: training rows, None for a stream.
        num_groups: groups among them, None for a stream.
        steps_per_epoch: None for a stream.
        num_steps: optimiser steps of the whole run.
        optimizer: its name, and how the peak learning rate comes from the batch where it does.
        batch_size: pairs per step, over all processes.
        micro_batch_size: rows of one process that go through the towers at a time, None for all at once.
        fitting: how that size was found, where the recipe leaves it open; None where it does not.
        num_processes: that share it.
        num_negatives: most negatives that an anchor can have in a step, by objective; None for one without negatives.
        first_loss: of the batch that was tried.
        chance: the loss of a model that knows nothing; None where there is no such number.
        device: where it ran.
        precision: of the towers.
        attention: ``sdpa`` or ``eager`` by the class that attends, empty where none does.
        peak_memory_gib: of the device on a GPU, else of this process, over one step.
        seconds_per_step: of the step that was tried, its first: later ones are faster.
        tasks: what the model will be judged by.
        guard: what it is not to forget.
        remarks: what was found in the data.
        objectives: what the run minimises the sum of, by their names in the log.
        chosen: how the objective was chosen, where the recipe leaves it to the model; None where it does not.
        warnings: what the user should know before starting.
    """

    num_parameters: int
    num_trained: int
    num_training_parameters: int
    num_training_trained: int
    groups: tuple[GroupPlan, ...]
    num_rows: int | None
    num_groups: int | None
    steps_per_epoch: int | None
    num_steps: int
    optimizer: str
    batch_size: int
    micro_batch_size: int | None
    fitting: str | None
    num_processes: int
    num_negatives: dict[str, int | None]
    first_loss: float
    chance: float | None
    device: str
    precision: str
    attention: dict[str, str]
    peak_memory_gib: float
    seconds_per_step: float
    tasks: tuple[str, ...]
    guard: tuple[str, ...]
    remarks: tuple[str, ...]
    objectives: tuple[str, ...]
    chosen: str | None
    warnings: tuple[str, ...]

    @property
    def batch(self) -> str:
        """The batch and what it is computed in: ``1024 = 4 x 256 cached, exact``."""
        local = self.batch_size // self.num_processes
        shared = "" if self.num_processes == 1 else f" = {self.num_processes} x {local}"
        if self.micro_batch_size is None or self.micro_batch_size >= local:
            return f"{self.batch_size}{shared}"
        num_whole, rest = divmod(local, self.micro_batch_size)
        parts = f"{num_whole} x {self.micro_batch_size}" + (f" + {rest}" if rest else "")
        return f"{self.batch_size}{shared}{', each' if shared else ' ='} {parts} cached, exact"


def plan_recipe(recipe: Recipe) -> Plan:
    """Build all of a run and try one batch; write nothing.

    Raises:
        UserError: for every mistake that the run itself would stop at before its first step.
        RunError: when the first loss is not finite.
    """
    accelerator = build_accelerator(recipe)
    model = build_model(recipe.model, recipe.seed)
    recipe, chosen = settle_objectives(recipe, model)
    check_modalities(recipe.evaluate, model.towers.modalities)
    check_modalities(recipe.guard, model.towers.modalities, "guard")
    check_view_sizes(recipe, model)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    judges = build_judges(recipe, data)
    warnings = [*warn_of_equal_passes(recipe, model), *judges.warnings, *warn_of_fine_tuning(recipe, model)]
    trainer = Trainer(recipe, model, data, None, accelerator, Observer())
    record, seconds = _try_one_batch(trainer)
    num_parameters, num_trained = _count(model)
    num_training_parameters, num_training_trained = _count(trainer.module.objectives)
    return Plan(
        num_parameters=num_parameters,
        num_trained=num_trained,
        num_training_parameters=num_training_parameters,
        num_training_trained=num_training_trained,
        groups=_groups(recipe, trainer),
        num_rows=data.num_rows,
        num_groups=data.num_groups,
        steps_per_epoch=data.steps_per_epoch,
        num_steps=trainer.num_steps,
        optimizer=describe_optimizer(recipe),
        batch_size=recipe.batch_size,
        micro_batch_size=trainer.micro_batch_size,
        fitting=None if trainer.fitting is None else trainer.fitting.finding,
        num_processes=accelerator.num_processes,
        num_negatives=_negatives(recipe, trainer),
        first_loss=record["loss"],
        chance=record["chance"],
        device=str(accelerator.device),
        precision={"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
        attention=attention_of(model.towers),
        peak_memory_gib=_peak_memory_gib(),
        seconds_per_step=seconds,
        tasks=_said(recipe.evaluate, judges.tasks),
        guard=_said([task for number, task in enumerate(recipe.guard) if number not in judges.lacking], judges.guard),
        remarks=data.remarks,
        objectives=tuple(trainer.module.configs),
        chosen=chosen,
        warnings=(*warnings, *_warnings(recipe, trainer)),
    )


def _said(configs: Sequence[AnyTask], tasks: Sequence[AnyBuiltTask]) -> tuple[str, ...]:
    return tuple(f"{config.task}: {task.dataset}" for config, task in zip(configs, tasks, strict=True))


def _try_one_batch(trainer: Trainer) -> tuple[dict[str, Any], float]:
    """Take one step; return its record and the seconds that it took."""
    batch = next(trainer.batches())
    trainer.settle_micro_batch(batch)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    record, _ = trainer.train_step(batch)
    return record, time.perf_counter() - began


def _groups(recipe: Recipe, trainer: Trainer) -> tuple[GroupPlan, ...]:
    return tuple(
        GroupPlan(
            group["name"],
            sum(p.numel() for p in group["params"]),
            recipe.peak_lr * group["lr_factor"],
            group["weight_decay"],
        )
        for group in trainer.optimizer.param_groups
    )


def _count(module: nn.Module) -> tuple[int, int]:
    """Return how many parameters a module has, and how many of them are trained."""
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return sum(parameter.numel() for parameter in module.parameters()), trained


def _negatives(recipe: Recipe, trainer: Trainer) -> dict[str, int | None]:
    """Return the most negatives of an anchor, by objective."""
    needs = RowNeeds.of(recipe.chosen_objectives, len(recipe.data.expanded_views))
    counts = {}
    for (name, config), wanted in zip(trainer.module.configs.items(), needs.wanted, strict=True):
        # Of a batch that is drawn so, the others lack what this objective needs.
        is_paired = recipe.data.paired_per_batch is not None and wanted == frozenset(needs.parts) - needs.optional
        num_rows = recipe.data.paired_per_batch if is_paired else recipe.batch_size
        facts = DataFacts(trainer.data.num_source_rows, batch_size=num_rows or 0, num_captions=recipe.data.num_captions)
        counts[name] = config.most_negatives(facts)
    return counts


def describe_optimizer(recipe: Recipe) -> str:
    """Name the optimiser and, where the batch scales it, its peak rate: ``lars, peak lr 1.2 = 0.3 x 1024 / 256``."""
    if recipe.lr_scaling == "none":
        return recipe.optimizer
    ratio = f"{recipe.batch_size} / {recipe.lr_batch_size}"
    ratio = f"sqrt({ratio})" if recipe.lr_scaling == "sqrt" else ratio
    return f"{recipe.optimizer}, peak lr {recipe.peak_lr:g} = {recipe.lr:g} x {ratio}"


def _peak_memory_gib() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _warnings(recipe: Recipe, trainer: Trainer) -> list[str]:
    lines = []
    local = recipe.batch_size // distributed.world_size()
    if has_batch_norm(trainer.module):
        if recipe.model.batch_norm == "local" and distributed.is_distributed():
            lines.append(
                f"batch norm takes statistics of each process's {local} rows (model.batch_norm: local): "
                f"another objective than on one process"
            )
        if local < SMALL_BATCH_NORM and recipe.model.batch_norm == "local":
            lines.append(f"batch norm over {local} rows is noisy; use a larger batch or model.batch_norm: global")
    if trainer.data.steps_per_epoch and trainer.num_steps < trainer.data.steps_per_epoch:
        lines.append(
            f"the run ends before one pass over the data: {trainer.num_steps} of {trainer.data.steps_per_epoch} steps"
        )
    return lines
