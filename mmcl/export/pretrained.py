"""Writing weights the way transformers reads them."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedConfig

from mmcl.towers.loading import quiet_transformers


def save_pretrained(
    config: PreTrainedConfig, state: dict[str, Tensor], folder: Path, *, has_pooler: bool = True
) -> None:
    """Write ``config.json`` and ``model.safetensors`` for ``AutoModel``.

    A fresh model of the configuration takes the weights first, every one of them or none: what does not fit is found
    here, and the model in training is left alone.

    Args:
        config: of a model that ``AutoModel`` knows.
        state: its weights; saved in float32, on the CPU.
        folder: where to write.
        has_pooler: the weights of ``model.pooler`` are among them.
    """
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        model = AutoModel.from_config(deepcopy(config), dtype=torch.float32)
        if not has_pooler:
            model.pooler = None
        model.load_state_dict(on_cpu(state))
        model.save_pretrained(folder)


def on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 copies on the CPU, each with memory of its own, as safetensors wants them."""
    return {
        name: tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in state.items()
    }


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
