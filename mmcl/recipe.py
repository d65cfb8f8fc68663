"""What one recipe may say: a training run as data.

Only ``data`` is required. Files, overrides, bases and error messages are `mmcl.recipe_files`' business.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from mmcl.objectives.configs import AnyObjective, expand_objective
from mmcl.recipe_data import DataConfig
from mmcl.recipe_fields import Fraction, MomentDecay
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tasks import AnyTask
from mmcl.section import Section


class Recipe(Section):
    """A training run."""

    description: str = ""
    """One line for ``mmcl recipes list``."""
    name: str | None = Field(default=None, pattern=r"^[^/\\\s.][^/\\]*$")
    """Name of the run's folder, without slashes; by default that of the recipe."""
    model: ModelConfig = ModelConfig(name="openai/clip-vit-base-patch32")
    """The towers. Short form: the name of a joint model."""
    data: DataConfig
    """What to learn from."""
    objectives: tuple[AnyObjective, ...] = Field(default=("clip",), validate_default=True, min_length=1)
    """Weighted sum to minimise. Short forms: ``clip``, ``{clip: 0.5}``."""
    batch_size: int = Field(default=256, gt=1)
    """Pairs per optimiser step, over all processes."""
    epochs: float = Field(default=5.0, gt=0)
    """Passes over the training rows; ignored when ``max_steps`` is given."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimiser steps."""
    lr: float = Field(default=1e-5, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decoupled decay; norms, biases and the temperature take none."""
    betas: tuple[MomentDecay, MomentDecay] = (0.9, 0.98)
    """AdamW's moment decays."""
    eps: float = Field(default=1e-6, gt=0)
    """AdamW's denominator term."""
    warmup_ratio: Fraction = 0.1
    """Share of the steps over which the learning rate rises linearly from 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after warm-up; cosine and linear end at 0."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Clip the gradient's global norm to this; null never clips."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of an averaged copy of the weights, which is then what is judged and exported; null keeps none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the towers' forward and backward; ``auto`` is bf16 on a GPU that has it, else fp32. Losses are float32."""
    seed: int = Field(default=0, ge=0)
    """Of weights, order, augmentation and dropout."""
    evaluate: tuple[AnyTask, ...] = Field(default=("retrieval",), validate_default=True)
    """What to judge the model by, at the end and every ``eval_every`` steps. Short form: the task's name."""
    eval_every: int | None = Field(default=None, gt=0)
    """Judge every so many steps; null judges at the end only."""
    save_every: int | None = Field(default=None, gt=0)
    """Commit a checkpoint every so many steps; null only at the end or on a signal."""
    keep_checkpoints: int = Field(default=1, gt=0)
    """Newest checkpoints kept."""
    log_every: int = Field(default=10, gt=0)
    """Steps between lines of ``metrics.jsonl``."""
    output_dir: str = "runs"
    """Folder in which the run's own folder is made."""
    report_to: tuple[str, ...] = ()
    """Trackers of Accelerate by name: tensorboard, wandb, mlflow ..."""

    @field_validator("model", mode="before")
    @classmethod
    def _model_from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("data", mode="before")
    @classmethod
    def _data_from_path(cls, value: Any) -> Any:
        return {"train": value} if isinstance(value, str) else value

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives_from_names(cls, value: Any) -> Any:
        return [expand_objective(item) for item in value] if isinstance(value, (list, tuple)) else value

    @field_validator("evaluate", mode="before")
    @classmethod
    def _tasks_from_names(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return [{"task": item} if isinstance(item, str) else item for item in value]
