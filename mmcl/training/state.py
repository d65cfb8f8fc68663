"""Between a trainer and a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmcl.errors import UserError
from mmcl.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from mmcl.training.trainer import Trainer


def capture_state(trainer: Trainer) -> Checkpoint:
    """Copy to the CPU all that the next step depends on."""
    tensors = {"model": _copies(trainer.module.state_dict()), "optimizer": _optimizer_tensors(trainer)}
    state: dict[str, Any] = {
        "order_hash": trainer.order_hash,
        "num_steps": trainer.num_steps,
        "data": trainer.data.fingerprint(),
    }
    if trainer.average is not None:
        tensors["average"] = _copies(trainer.average.tensors)
        state["average_updates"] = trainer.average.num_updates
    if trainer.fitting is not None:
        state["micro_batch_size"] = trainer.fitting.micro_batch_size
    if trainer.accelerator.scaler is not None:
        state["scaler"] = trainer.accelerator.scaler.state_dict()
    return Checkpoint(step=trainer.step, tensors=tensors, state=state)


def restore_state(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Put a trainer back to where a checkpoint was taken.

    Raises:
        UserError: the rows to learn from are no longer those of the run, or their number of steps is another.
    """
    now = {"num_steps": trainer.num_steps, "data": trainer.data.fingerprint()}
    if {key: checkpoint.state[key] for key in now} != now:
        raise UserError(
            f"cannot resume: {trainer.data.name} has changed since the run began, and with it the order of its "
            "rows; put it back as it was, or start another run"
        )
    trainer.module.load_state_dict(dict(checkpoint.tensors["model"]))
    _restore_optimizer(trainer, dict(checkpoint.tensors["optimizer"]))
    if trainer.average is not None:
        for name, tensor in checkpoint.tensors["average"].items():
            trainer.average.tensors[name].copy_(tensor)
        trainer.average.num_updates = checkpoint.state["average_updates"]
    if trainer.fitting is not None:
        trainer.fitting.settle_on(checkpoint.state["micro_batch_size"], "as the checkpoint says")
    if trainer.accelerator.scaler is not None:
        trainer.accelerator.scaler.load_state_dict(checkpoint.state["scaler"])
    trainer.step = checkpoint.step
    trainer.order_hash = checkpoint.state["order_hash"]


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies, because safetensors takes no two names for one memory (tied weights).
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The optimiser's state as ``<parameter>/<quantity>``."""
    names = {id(parameter): name for name, parameter in trainer.module.named_parameters()}
    return {
        f"{names[id(parameter)]}/{quantity}": value.detach().to("cpu", copy=True)
        for parameter, values in trainer.optimizer.state.items()
        for quantity, value in values.items()
        if value is not None
    }


def _restore_optimizer(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(trainer.module.named_parameters())
    trainer.optimizer.state.clear()
    for key, value in tensors.items():
        name, quantity = key.rsplit("/", 1)
        parameter = parameters[name]
        # The step count is a scalar; the moments must lie in memory as the parameter does, which fused AdamW relies on.
        place = torch.empty_like(value if quantity == "step" else parameter, device=parameter.device)
        trainer.optimizer.state[parameter][quantity] = place.copy_(value)
