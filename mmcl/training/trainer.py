"""The loop: one logical batch, one update, one record."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from mmcl import distributed
from mmcl.batch import PairBatch
from mmcl.batch_norm import use_global_batch_norm
from mmcl.data.finish import finished
from mmcl.data.hashing import chain_hash
from mmcl.data.loader import TrainData
from mmcl.data.token_counts import count_tokens
from mmcl.distributed import RowSizes
from mmcl.errors import RunError, RunStopped, UserError
from mmcl.model import TwoTower
from mmcl.module import ContrastiveModule, StepOutput
from mmcl.objectives.objective import DataFacts, Progress
from mmcl.recipe import Recipe
from mmcl.schedules import Schedule, lr_factor
from mmcl.training.accelerator import prepare
from mmcl.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from mmcl.training.compiling import blocks_to_compile, compile_blocks
from mmcl.training.data_wait import DataWait
from mmcl.training.ema import WeightAverage
from mmcl.training.health import HealthMonitor
from mmcl.training.micro_batch import WAYS_OUT, FittingGradCache, build_grad_cache
from mmcl.training.non_finite import name_rows
from mmcl.training.observer import Observer
from mmcl.training.optimizer import build_optimizer, set_lr
from mmcl.training.run_folder import RunFolder
from mmcl.training.signals import StopSignal
from mmcl.training.state import capture_state, restore_state
from mmcl.training.suspects import SuspectFinder
from mmcl.training.tuning import StartingPoint, lock, tune

MAX_SKIPPED_STEPS = 50
"""Loss scaling finds its scale within a few halvings."""


class Trainer:
    """Trains a model by a recipe, from its start or from its newest checkpoint.

    Args:
        recipe: the run.
        model: the towers; moved to the accelerator's device and trained in place.
        data: the training rows.
        folder: where metrics and checkpoints go; None is for single steps without writing anything.
        accelerator: launch, device, precision and trackers.
        observer: who is told.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: TwoTower,
        data: TrainData,
        folder: RunFolder | None,
        accelerator: Accelerator,
        observer: Observer,
    ) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.accelerator, self.observer = accelerator, observer
        facts = DataFacts(
            data.num_source_rows, data.class_names, recipe.batch_size, recipe.seed, lambda: count_tokens(data)
        )
        blocks = blocks_to_compile(model, accelerator.device) if recipe.compile else []
        lr_factors = tune(model, recipe.tuning, recipe.seed)
        self.module = ContrastiveModule(model, recipe.chosen_objectives, facts).to(accelerator.device)
        # Convolutions are faster so, on CPUs and GPUs; values and gradients stay what they are.
        self.module.to(memory_format=torch.channels_last)
        if recipe.model.batch_norm == "global":
            use_global_batch_norm(self.module, accelerator.device)
            lock(model)
        self.num_steps = count_steps(recipe, data.steps_per_epoch)
        self.step = 0
        self._saved_step = -1
        self._num_skipped = 0
        self._is_ended = False
        self.order_hash = ""
        self.average = WeightAverage(model, recipe.ema) if recipe.ema else None
        self.optimizer = build_optimizer(self.module, recipe, lr_factors)
        strength = recipe.tuning.l2_sp
        self._start = StartingPoint(model.towers, strength, lr_factors) if strength else None
        compile_blocks(blocks)
        if recipe.compile:
            # Parts with padding, without, and of one row would each need code of their own.
            model.towers.skips_padding = False
        self._wrapped, self._stepper = prepare(accelerator, self.module, self.optimizer)
        self._grad_cache = build_grad_cache(self.module, recipe, accelerator, observer.message)
        image_size = None if model.preprocessing is None else model.preprocessing.size
        self.data_wait = DataWait(recipe.data.num_workers, image_size, observer.message)
        locate = data.builder.reader.locate
        self._suspects = SuspectFinder(self.module.configs, self.num_steps, data.steps_per_epoch, locate)
        self._health = HealthMonitor(self.module.configs, warmup_steps=math.ceil(recipe.warmup_ratio * self.num_steps))

    @property
    def model(self) -> TwoTower:
        """The towers being trained."""
        return self.module.model

    @property
    def fitting(self) -> FittingGradCache | None:
        """What finds the micro-batch's size, where the recipe leaves that open."""
        return self._grad_cache if isinstance(self._grad_cache, FittingGradCache) else None

    @property
    def micro_batch_size(self) -> int | None:
        """Rows of this process that go through the towers at a time; None for all at once."""
        return None if self._grad_cache is None else self._grad_cache.micro_batch_size

    def settle_micro_batch(self, batch: PairBatch) -> None:
        """Find out, once a run, how many rows go through the towers at a time, where the recipe leaves that open.

        Args:
            batch: of this process, on the device; nothing is changed by it.
        """
        if self.fitting is not None:
            self._wrapped.train()
            self.fitting.settle(batch, has_moments=bool(self.optimizer.state))

    def resume(self) -> None:
        """Go back to the newest whole checkpoint of the run's folder, or stay at the start when there is none."""
        assert self.folder is not None
        # One process chooses: folders may differ, or lag behind, between machines.
        path, skipped = distributed.from_main_process(newest_checkpoint(self.folder.checkpoints))
        for line in skipped:
            self.observer.message(line)
        if path is None:
            self.observer.message("no checkpoint to resume from: starting at step 0")
        else:
            restore_state(self, load_checkpoint(path))
            self._saved_step = self.step
            self.observer.message(f"resumed from {path}")
        if distributed.rank() == 0:
            self.folder.forget_metrics_after(self.step)
        distributed.barrier()

    def fit(self, evaluate: Callable[[int], dict[str, float]]) -> None:
        """Train to the last step.

        Args:
            evaluate: called with the step every ``eval_every`` steps, in evaluation mode, on every process; what it
                returns is logged.

        Raises:
            RunError: at a non-finite loss or gradient, before the update.
            RunStopped: after SIGTERM or Ctrl-C, once a checkpoint is saved.
        """
        with StopSignal() as signals:
            batches = self.batches()
            self.observer.started(self.step, self.num_steps)
            try:
                self._loop(batches, signals, evaluate)
            finally:
                self.observer.finished()

    def batches(self) -> Iterator[PairBatch]:
        """Yield this process's rows from the present step on, on the device."""
        device = self.accelerator.device
        # A CPU would only do in turn what its other cores do in the workers.
        leaves_unfinished = device.type != "cpu"
        for batch in self.data.batches(self.step, distributed.rank(), distributed.world_size(), leaves_unfinished):
            yield finished(batch.to(device, non_blocking=True))

    def _loop(
        self, batches: Iterator[PairBatch], signals: StopSignal, evaluate: Callable[[int], dict[str, float]]
    ) -> None:
        while self.step < self.num_steps and not self._is_ended:
            began = time.perf_counter()
            batch, sizes = self._next_batch(batches, signals)
            waited = time.perf_counter() - began
            self.settle_micro_batch(batch)
            record, signum = self.train_step(batch, sizes, signals.signum)
            seconds = time.perf_counter() - began
            record |= {
                "samples_per_second": round(record["batch_size"] / seconds, 2),
                "data_wait": round(waited / seconds, 4),
            }
            self.data_wait.observe(waited, seconds)
            if distributed.rank() == 0:
                self.observer.stepped(record)
                if self.step % self.recipe.log_every == 0 or self.step == self.num_steps:
                    self._log(record)
            if signum:
                raise RunStopped(signum, self.save())
            if self.recipe.save_every and self.step % self.recipe.save_every == 0 and self.step < self.num_steps:
                self.save()
            if self.recipe.eval_every and self.step % self.recipe.eval_every == 0 and self.step < self.num_steps:
                self._evaluate(evaluate)
        self.save()

    def end(self, reason: str) -> None:
        """Let the present step be the last one; to be called on every process."""
        self.observer.message(f"step {self.step}: {reason}")
        self._is_ended = True

    def _next_batch(self, batches: Iterator[PairBatch], signals: StopSignal) -> tuple[PairBatch, RowSizes]:
        """Fetch this process's rows; one that cannot tells the others, so that all stop and none waits."""
        device = self.accelerator.device
        try:
            batch = next(batches)
        except (UserError, RuntimeError):
            if signals.signum and not distributed.is_distributed():
                # The signal went to the workers as well, and they are gone.
                raise RunStopped(signals.signum, self.save()) from None
            RowSizes.tell_failure(device)
            raise
        sizes = RowSizes.of(len(batch), device)
        if sizes.failed_ranks:
            raise RunError(f"step {self.step + 1}: process {sizes.failed_ranks[0]} has no rows; its message says why")
        return batch, sizes

    def train_step(
        self, batch: PairBatch, sizes: RowSizes | None = None, signum: int = 0
    ) -> tuple[dict[str, Any], int]:
        """Do one update on this process's part of a batch.

        Args:
            batch: on the device.
            sizes: the rows of every process, where they have been exchanged already.
            signum: a signal this process has received; the largest of all processes is returned.

        Returns:
            The step's record and the signal to stop for, 0 for none.
        """
        progress = Progress(self.step, self.num_steps, self.data.steps_per_epoch)
        lr = self.recipe.peak_lr * lr_factor(self.step, self.num_steps, self.recipe.warmup_ratio, self.recipe.schedule)
        set_lr(self.optimizer.param_groups, lr)
        # Dropout is a function of (seed, step, process): nothing of it has to be saved to resume exactly.
        set_seed(_mix(self.recipe.seed, self.step, distributed.rank()))
        self._wrapped.train()
        output = self._differentiate(batch, sizes, progress)
        losses, signum = self._exchange(output, signum)
        if not math.isfinite(losses["loss"]):
            self._refuse(f"the loss is {losses['loss']}", batch, output)
        grad_norm = self._clip()
        if not math.isfinite(grad_norm) and self.accelerator.scaler is None:
            self._refuse(f"the norm of the gradient is {grad_norm}", batch, output)
        self._stepper.step()
        self._stepper.zero_grad()
        if self._stepper.step_was_skipped:
            self._count_skipped()
        else:
            self._num_skipped = 0
            if self._start is not None:
                self._start.pull(lr)
            self.module.after_optimizer_step(progress)
            if self.average is not None:
                self.average.update(self.model)
        self.order_hash = chain_hash(self.order_hash, output.sample_ids.tolist())
        self.step += 1
        record = {"step": self.step, **losses, **self._levels(output), "lr": lr}
        # Under fp16 an overflow only lowers the loss scale; JSON has no word for its norm.
        record["grad_norm"] = grad_norm if math.isfinite(grad_norm) else None
        record |= {"logit_scale": self.model.logit_scale().item(), "batch_size": len(output.sample_ids)}
        if self.fitting is not None:
            record["micro_batch_size"] = self.fitting.micro_batch_size
        if self.data.steps_per_epoch:
            record["epoch"] = round(self.step / self.data.steps_per_epoch, 4)
        if self.step % self.recipe.log_every == 0 or self.step == self.num_steps:
            record |= self._examine(record, batch, output)
        return record, signum

    def _differentiate(self, batch: PairBatch, sizes: RowSizes | None, progress: Progress) -> StepOutput:
        """Leave the gradient of all processes' loss in the parameters."""
        try:
            return self._backward_of(batch, sizes, progress)
        except torch.OutOfMemoryError as error:
            fewer = "" if self.fitting else "micro_batch_size=auto (or fewer rows than now), "
            raise RunError(
                f"step {self.step + 1}: out of memory with {self.micro_batch_size or len(batch)} rows at a time;"
                f" ways out: {fewer}{WAYS_OUT}"
            ) from error

    def _backward_of(self, batch: PairBatch, sizes: RowSizes | None, progress: Progress) -> StepOutput:
        if self._grad_cache is not None:
            sizes = sizes or RowSizes.of(len(batch), self.accelerator.device)
            return self._grad_cache.step(batch, sizes, progress)
        output: StepOutput = self._wrapped(batch, sizes, progress)
        # Shares add up to the loss, and DistributedDataParallel divides the sum of their gradients by the processes.
        self.accelerator.backward(output.loss * distributed.world_size())
        return output

    def _levels(self, output: StepOutput) -> dict[str, float | int | None]:
        """What the losses are to be read against: chance, weights that change, rows where not all took part."""
        levels: dict[str, float | int | None] = {"chance": output.chance}
        for name, chance in output.chances.items():
            if len(output.chances) > 1:
                levels[f"chance/{name}"] = chance
            if isinstance(self.module.configs[name].weight, Schedule):
                levels[f"weight/{name}"] = output.weights[name]
            if output.num_rows[name] != len(output.sample_ids):
                levels[f"rows/{name}"] = output.num_rows[name]
        return levels

    def _examine(self, record: dict[str, Any], batch: PairBatch, output: StepOutput) -> dict[str, Any]:
        """Look at the main process's embeddings, and tell of what looks ill."""
        if distributed.rank() != 0:
            return {}
        rows = {view: batch.rows_of(view) for view in output.views}
        health, warnings = self._health.observe(self.step, record, output.views, rows)
        file = None if self.folder is None else self.folder.suspects
        suspects, more_warnings = self._suspects.observe(self.step, batch, output, file, record)
        for line in [*warnings, *more_warnings]:
            self.observer.message(f"warning: {line}")
        return {**health, **suspects}

    def save(self) -> Path:
        """Commit a checkpoint of the present step; every process returns its path.

        Raises:
            RunError: when it cannot be written; earlier ones stay.
        """
        assert self.folder is not None
        folder = self.folder.checkpoints
        if self._saved_step != self.step:
            distributed.on_main_process(
                lambda: save_checkpoint(folder, capture_state(self), self.recipe.keep_checkpoints)
            )
        self._saved_step = self.step
        return folder / f"step-{self.step:08d}"

    def _count_skipped(self) -> None:
        self._num_skipped += 1
        if self._num_skipped >= MAX_SKIPPED_STEPS:
            raise RunError(
                f"step {self.step + 1}: {self._num_skipped} updates in a row were skipped, because fp16 gradients "
                f"overflow at every loss scale; use precision=bf16 or fp32"
            )

    def _exchange(self, output: StepOutput, signum: int) -> tuple[dict[str, float], int]:
        """Add up the shares of the losses, and agree on a signal, in one exchange."""
        shares = torch.stack([output.loss.detach(), *output.losses.values()])
        flags = shares.new_zeros(64)
        flags[signum] = 1
        summed = distributed.total(torch.cat([shares, flags])).tolist()
        received = [number for number, count in enumerate(summed[len(shares) :]) if number and count]
        names = ["loss", *(f"loss/{name}" for name in output.losses)]
        if len(output.losses) == 1:
            names = names[:1]
        return dict(zip(names, summed, strict=False)), max(received, default=0)

    def _clip(self) -> float:
        limit = self.recipe.max_grad_norm or math.inf
        norm: Tensor = self.accelerator.clip_grad_norm_(self.module.parameters(), limit)
        return norm.item()

    def _refuse(self, what: str, batch: PairBatch, output: StepOutput) -> None:
        """Stop before the update, naming rows."""
        size = self.micro_batch_size or len(batch)
        named = name_rows(self.module, batch, output.sample_ids.tolist(), size, self.accelerator.autocast)
        raise RunError(
            f"step {self.step + 1}: {what}; stopped before the update. {named} "
            f"The usual remedies: a lower lr, a longer warm-up, precision=fp32"
        )

    def _evaluate(self, evaluate: Callable[[int], dict[str, float]]) -> None:
        metrics = evaluate(self.step)
        if distributed.rank() == 0 and metrics:
            self._log({"step": self.step, **metrics})

    def _log(self, record: dict[str, Any]) -> None:
        if self.folder is not None:
            self.folder.append_metrics(record)
        self.accelerator.log({k: v for k, v in record.items() if k != "step"}, step=record["step"])


def count_steps(recipe: Recipe, steps_per_epoch: int | None) -> int:
    """Return the optimiser steps of a run: ``max_steps``, or ``epochs`` times those of an epoch."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    if steps_per_epoch is None:
        raise UserError("the length of a stream is not known: give max_steps instead of epochs")
    return max(1, math.ceil(recipe.epochs * steps_per_epoch))


def _mix(*numbers: int) -> int:
    """Make one 32-bit seed of several numbers."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest(), "big")
