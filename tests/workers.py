"""What the processes of multi-process tests do; started by `tests.processes.run_processes`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from PIL import Image
from torch import Tensor, nn

from evaluation import RetrievalTask, ZeroShotClassificationTask
from evaluation.embedder import Embeddings
from mmcl.batch import PairBatch
from mmcl.batch_norm import use_global_batch_norm
from mmcl.distributed import (
    RowSizes,
    gather_rows,
    logsumexp_over_processes,
    rank,
    sum_gradients,
    sum_over_processes,
    total,
)
from mmcl.embedder import ModelEmbedder
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.objective import DataFacts, Progress
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tuning import TuningConfig
from mmcl.training.grad_cache import GradCache
from mmcl.training.judge import build_tasks, judge
from mmcl.training.sharded_embedder import ShardedEmbedder
from mmcl.training.tuning import tune
from tests.tiny import WORDS


def gather_and_weigh(rows: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """Each process weighs all gathered rows by weights of its own; the shares' sum is differentiated."""
    mine = rows[dist.get_rank()].clone().requires_grad_()
    sizes = RowSizes.of(len(mine), mine.device)
    every = gather_rows(mine, sizes)
    (every * weights[dist.get_rank()]).sum().backward()
    return {"all": every.detach(), "grad": mine.grad, "offset": sizes.offset}


def sum_and_weigh(values: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """The same for a sum over processes."""
    mine = values[dist.get_rank()].clone().requires_grad_()
    summed = sum_over_processes(mine)
    (summed * weights[dist.get_rank()]).sum().backward()
    return {"sum": summed.detach(), "grad": mine.grad}


def logsumexp_and_weigh(values: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """The same for a log-sum-exp over processes."""
    mine = values[dist.get_rank()].clone().requires_grad_()
    found = logsumexp_over_processes(mine)
    (found * weights[dist.get_rank()]).sum().backward()
    return {"found": found.detach(), "grad": mine.grad}


def summed_gradients(grads: list[list[Tensor | None]]) -> dict[str, Any]:
    """Parameters with the gradients of this process, then of all."""
    parameters = []
    for grad in grads[dist.get_rank()]:
        parameter = nn.Parameter(torch.zeros(1) if grad is None else torch.zeros_like(grad))
        parameter.grad = grad
        parameters.append(parameter)
    sum_gradients(parameters)
    return {"grads": [parameter.grad for parameter in parameters]}


def batch_norm_gradients(network: nn.Module, rows: list[Tensor], weights: list[Tensor]) -> dict[str, Any]:
    """Push uneven parts of a batch through a network with batch norm of global statistics."""
    network = use_global_batch_norm(network, torch.device("cpu"))
    mine = rows[dist.get_rank()].clone().requires_grad_()
    (network(mine) * weights[dist.get_rank()]).sum().backward()
    grads = {}
    for name, parameter in network.named_parameters():
        dist.all_reduce(parameter.grad)
        grads[name] = parameter.grad
    return {"input": mine.grad, "parameters": grads, "buffers": dict(network.named_buffers())}


def module_gradients(
    config: ModelConfig,
    objectives: list[AnyObjective],
    batch: PairBatch,
    bounds: list[int],
    dtype: torch.dtype,
    facts: DataFacts | None = None,
    tuning: TuningConfig | None = None,
) -> dict[str, Any]:
    """One backward of the wrapped module on this process's rows, as the trainer does it."""
    accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(static_graph=True)])
    model = build_model(config)
    tune(model, tuning or TuningConfig(), 0)
    module = ContrastiveModule(model, objectives, facts).to(dtype)
    if config.batch_norm == "global":
        use_global_batch_norm(module, torch.device("cpu"))
    wrapped = accelerator.prepare(module)
    rank = dist.get_rank()
    torch.manual_seed(0)
    output = wrapped(batch.part(bounds[rank], bounds[rank + 1]))
    accelerator.backward(output.loss * dist.get_world_size())
    grads = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {
        "loss": total(output.loss),
        "grads": grads,
        "sample_ids": output.sample_ids,
        "chance": output.chance,
        "num_rows": output.num_rows,
    }


def cached_gradients(
    config: ModelConfig,
    objectives: list[AnyObjective],
    batch: PairBatch,
    bounds: list[int],
    micro_batch_size: int,
    tuning: TuningConfig | None = None,
) -> dict[str, Any]:
    """One step with cached gradients on this process's rows."""
    model = build_model(config)
    tune(model, tuning or TuningConfig(), 0)
    module = ContrastiveModule(model, objectives, DataFacts(64, seed=1)).double()
    use_global_batch_norm(module, torch.device("cpu"))
    rank = dist.get_rank()
    mine = batch.part(bounds[rank], bounds[rank + 1])
    cache = GradCache(module, micro_batch_size, lambda loss: loss.backward(), nullcontext)
    cache.step(mine, RowSizes.of(len(mine), torch.device("cpu")), Progress())
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def objective_steps(
    config: ModelConfig,
    objectives: list[AnyObjective],
    batches: list[PairBatch],
    bounds: list[list[int]],
    dtype: torch.dtype,
    num_steps: int,
    facts: DataFacts,
    steps_per_epoch: int | None = None,
) -> dict[str, Tensor]:
    """Several SGD steps on this process's rows of each batch, in as many steps as there are batches; also on one
    process, without torch.distributed. Returns the module's whole state."""
    module = ContrastiveModule(build_model(config), objectives, facts).to(dtype)
    use_global_batch_norm(module, torch.device("cpu"))
    optimizer = torch.optim.SGD([weight for weight in module.parameters() if weight.requires_grad], lr=0.2)
    for step, (batch, places) in enumerate(zip(batches, bounds, strict=True)):
        progress = Progress(step, num_steps, steps_per_epoch)
        mine = batch.part(places[rank()], places[rank() + 1])
        module(mine, progress=progress).loss.backward()
        sum_gradients(module.parameters())
        optimizer.step()
        optimizer.zero_grad()
        module.after_optimizer_step(progress)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def fitted(recipe: Recipe, most_rows: list[int], from_call: int) -> dict[str, Any]:
    """A run of the trainer in which each process has memory for so many rows of its own."""
    from tests.training.test_micro_batch import little_memory, state_of
    from tests.training.test_trainer import make_trainer

    trainer = make_trainer(recipe, Path(recipe.output_dir).parent / "shared")
    with little_memory(trainer, most_rows[rank()], from_call):
        trainer.fit(lambda step: {})
    return {"state": state_of(trainer), "size": trainer.micro_batch_size}


def judged_texts(recipe: Recipe) -> dict[str, Any]:
    """What every process finds by the recipe's tasks of texts, and how many texts it encodes for that itself."""
    embedder = ModelEmbedder(build_model(recipe.model, recipe.seed), "texts", batch_size=5)
    encode, num_encoded = embedder.encode_texts, []

    def counted(texts: Sequence[str]) -> Embeddings:
        num_encoded.append(len(texts))
        return encode(texts)

    embedder.encode_texts = counted  # type: ignore[method-assign]
    results = judge(embedder, build_tasks(recipe.evaluate, recipe.data.columns))
    return {"metrics": [dict(result.metrics) for result in results], "num_encoded": sum(num_encoded)}


def judged_sizes(model: ModelConfig, sizes: list[int]) -> list[dict[str, Any]]:
    """What every process finds of so many pictures and texts: their embeddings, and the results as they are stored."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, size=(max(sizes), 4, 4, 3), dtype=np.uint8)
    captions = [" ".join(rng.choice(WORDS, size=rng.integers(1, 9))) for _ in range(max(sizes))]
    embedder = ModelEmbedder(build_model(model), "tiny", batch_size=7)
    found = []
    for size in sizes:
        images = [Image.fromarray(colour).resize((20, 20)) for colour in colours[:size]]
        told: dict[str, Any] = {"dataset": f"{size} rows", "resamples": 20}
        tasks: list[Any] = [
            RetrievalTask.from_captions(images, [[text, text] for text in captions[:size]], **told),
            ZeroShotClassificationTask(
                images=images,
                labels=[WORDS[row % 3] for row in range(size)],
                class_names={word: word for word in WORDS[:6]},
                templates=["a small {}", "{}", "a {} letter"],
                **told,
            ),
        ]
        sharded = ShardedEmbedder(embedder)
        rows = (sharded.encode_images(images), sharded.encode_texts(captions[:size]))
        found.append({"rows": rows, "results": [result.to_json() for result in judge(embedder, tasks)]})
    return found


def main() -> None:
    """Take one line for each call, ``<function> <folder>``, from standard input, and answer ``done``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    for line in sys.stdin:
        function, folder = line.split(maxsplit=1)
        path = Path(folder.strip())
        arguments = torch.load(path / "arguments.pt", weights_only=False)
        result = globals()[function](**arguments)
        torch.save(result, path / f"rank-{dist.get_rank()}.pt")
        dist.barrier()
        print("done", flush=True)  # noqa: T201 - this is how the test is answered


if __name__ == "__main__":
    main()
