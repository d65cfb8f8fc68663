"""Several optimiser steps with one objective, by hand or in several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.objective import DataFacts, EncodedBatch, Objective, Progress
from mmcl.recipe_model import ModelConfig
from tests import workers
from tests.processes import run_processes
from tests.tiny import random_batch

NUM_STEPS, NUM_ROWS = 5, 12
FACTS = DataFacts(num_samples=NUM_STEPS * NUM_ROWS, batch_size=NUM_ROWS, seed=3)
BOUNDS = {
    1: [[0, 12]] * NUM_STEPS,
    2: [[0, 5, 12], [0, 9, 12], [0, 6, 12], [0, 1, 12], [0, 7, 12]],
    3: [[0, 3, 7, 12], [0, 1, 3, 12], [0, 4, 8, 12], [0, 6, 11, 12], [0, 5, 7, 12]],
}
"""Where each step's rows are cut, by the number of processes; no two steps alike."""


def batches_of(image_size: int = 16, image_views: int = 2, num_steps: int = NUM_STEPS) -> list[PairBatch]:
    """Batches without a sample in common; a few rows share a group with a row of another batch."""
    batches = [random_batch(NUM_ROWS, image_size, step, image_views=image_views) for step in range(num_steps)]
    return [
        replace(
            batch, sample_ids=batch.sample_ids + NUM_ROWS * step, group_ids=(batch.group_ids + NUM_ROWS * step) % 50
        )
        for step, batch in enumerate(batches)
    ]


def states_of_processes(
    num_processes: int, tmp_path: Path, model: ModelConfig, config: Any, **arguments: Any
) -> list[dict[str, Tensor]]:
    """Take `NUM_STEPS` float64 steps on so many processes; return what state each of them ends in."""
    whole = {
        "config": model,
        "objectives": [config],
        "batches": arguments.pop("batches", None) or batches_of(),
        "bounds": BOUNDS[num_processes],
        "dtype": torch.float64,
        "num_steps": NUM_STEPS,
        "facts": FACTS,
        **arguments,
    }
    if num_processes == 1:
        return [workers.objective_steps(**whole)]
    states: list[dict[str, Tensor]] = run_processes("objective_steps", num_processes, tmp_path, **whole)
    return states


def assert_processes_end_alike(tmp_path: Path, model: ModelConfig, config: Any, **arguments: Any) -> dict[str, Tensor]:
    """After the steps every tensor of the state on 2 and 3 processes is that of one process, which is returned."""
    (expected,) = states_of_processes(1, tmp_path, model, config, **arguments)
    for num_processes in (2, 3):
        for state in states_of_processes(num_processes, tmp_path / str(num_processes), model, config, **arguments):
            assert state.keys() == expected.keys()
            for name, tensor in expected.items():
                torch.testing.assert_close(
                    state[name], tensor, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
                )
    return expected


class Stepper:
    """One process's steps, which a test can look between."""

    def __init__(self, model: ModelConfig, config: Any, facts: DataFacts = FACTS, lr: float = 0.2) -> None:
        self.module = ContrastiveModule(build_model(model), [config], facts).double()
        self.objective: Any = next(child for _, child in self.module.named_objectives())
        assert isinstance(self.objective, Objective)
        trained = [weight for weight in self.module.parameters() if weight.requires_grad]
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(trained, lr=lr)
        self.step, self.steps_per_epoch = 0, None

    @property
    def progress(self) -> Progress:
        return Progress(self.step, NUM_STEPS, self.steps_per_epoch)

    def encoded(self, batch: PairBatch) -> EncodedBatch:
        """What the objective would be given of a batch now."""
        module, sizes = self.module, workers.RowSizes((len(batch),))
        keys, scale = module.encode_keys(batch), module.model.logit_scale()
        return EncodedBatch(batch, module.encode(batch), keys, scale, None, sizes, self.progress)

    def take(self, batch: PairBatch) -> Tensor:
        """Take a step, and return its loss."""
        output = self.module(batch, progress=self.progress)
        output.loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.module.after_optimizer_step(self.progress)
        self.step += 1
        loss: Tensor = output.loss.detach()
        return loss


def assert_resumes_bit_for_bit(model: ModelConfig, config: Any, batches: list[PairBatch]) -> None:
    """Three steps, the state into a fresh module, two more: the same bits as five steps in a row."""
    straight = Stepper(model, config)
    for batch in batches[:3]:
        straight.take(batch)
    other_start = replace(FACTS, seed=99)
    resumed = Stepper(model, config, other_start)
    resumed.module.load_state_dict({name: tensor.clone() for name, tensor in straight.module.state_dict().items()})
    resumed.step = 3
    for batch in batches[3:]:
        assert torch.equal(straight.take(batch), resumed.take(batch))
    found = resumed.module.state_dict()
    for name, tensor in straight.module.state_dict().items():
        assert torch.equal(found[name], tensor), name
