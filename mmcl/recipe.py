"""What one recipe may say: a training run as data.

Only ``data`` is required. Files, overrides, bases and error messages are `mmcl.recipe_files`' business.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mmcl.guards import expand_guard
from mmcl.objectives.configs import AnyObjective, expand_objective
from mmcl.objectives.configs.cross_modal import CLIPConfig
from mmcl.objectives.configs.views import SupervisedSimCSEConfig
from mmcl.recipe_data import DataConfig
from mmcl.recipe_fields import Fraction, MomentDecay, Positive
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tasks import AnyTask
from mmcl.recipe_tuning import TuningConfig
from mmcl.section import Section

OPTIMIZER_FIELDS: dict[str, dict[str, Any]] = {
    "adamw": {"betas": (0.9, 0.98), "eps": 1e-6},
    "lars": {"momentum": 0.9, "trust_coefficient": 0.001},
    "sgd": {"momentum": 0.9},
}
"""The fields that only some optimisers have, with their defaults; for the others they are null."""


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
    tuning: TuningConfig = TuningConfig()
    """How much of the model is trained."""
    objectives: tuple[AnyObjective, ...] | None = Field(default=None, min_length=1)
    """Weighted sum to minimise. Short forms: ``clip``, ``{clip: 0.5}``. null is the checkpoint's own: SigLIP's where
    the model has SigLIP's bias, else CLIP's; the recipe that a run saves says which."""
    batch_size: int = Field(default=256, gt=1)
    """Rows per optimiser step, over all processes."""
    micro_batch_size: Literal["auto"] | Annotated[int, Field(gt=0)] | None = None
    """Rows of one process that go through the towers at a time, to need less memory; the gradients are those of the
    whole batch all the same. ``auto`` takes as many as fit into a GPU, fewer once they do not; null takes all at
    once."""
    epochs: float = Field(default=5.0, gt=0)
    """Passes over the training rows; ignored when ``max_steps`` is given."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimiser steps."""
    optimizer: Literal["adamw", "lars", "sgd"] = "adamw"
    """What takes the steps: AdamW, momentum SGD, or LARS, which is momentum SGD with a rate of its own for each tensor
    (arXiv:1708.03888)."""
    lr: float = Field(default=1e-5, gt=0)
    """Peak learning rate, before ``lr_scaling``."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How the peak learning rate grows with the batch: not at all, times ``batch_size / lr_batch_size``, or times the
    square root of that."""
    lr_batch_size: int = Field(default=256, gt=0)
    """The batch size that ``lr`` is meant for, where ``lr_scaling`` scales it."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decoupled decay, or what LARS and SGD add to the gradient; norms, biases and the temperature take
    none."""
    betas: tuple[MomentDecay, MomentDecay] | None = (0.9, 0.98)
    """AdamW's moment decays; null for other optimisers."""
    eps: Positive | None = 1e-6
    """AdamW's denominator term; null for other optimisers."""
    momentum: MomentDecay | None = None
    """Momentum of LARS and SGD, 0.9 by default; null for AdamW."""
    trust_coefficient: Positive | None = None
    """LARS's eta, 0.001 by default: the length of a step, as a share of its tensor's norm, at a learning rate of 1.
    null for other optimisers."""
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
    compile: bool = False
    """Put the blocks of the towers through torch.compile, which takes a minute or so at the first step."""
    seed: int = Field(default=0, ge=0)
    """Of weights, order, augmentation and dropout."""
    evaluate: tuple[AnyTask, ...] = Field(default=("retrieval",), validate_default=True)
    """What to judge the model by, at the end and every ``eval_every`` steps. Short form: the task's name. By
    default retrieval, and nothing for a model of one tower."""
    guard: tuple[AnyTask, ...] = ()
    """What the model knows already and is not to forget: tasks with data of their own, judged before, during and after
    training as ``evaluate``'s are. Short form: the name of a set on the Hugging Face hub, such as ``cifar100``."""
    max_guard_drop: float | None = Field(default=None, gt=0, le=1)
    """Stop training when the main metric of a guard has fallen by more than this since the start, 0.05 for five points;
    looked at every ``eval_every`` steps. null never stops."""
    wise_ft: tuple[Fraction, ...] | None = None
    """Shares of the fine-tuned weights, between 0 and 1, to judge at the end, the rest being the weights at the start;
    the best for tasks and guard together is exported (WiSE-FT). null: tenths where there is a guard; ``[]``: none, and
    the fine-tuned weights are exported."""
    eval_every: int | None = Field(default=None, gt=0)
    """Judge every so many steps; null judges at the end only."""
    save_every: int | None = Field(default=None, gt=0)
    """Commit a checkpoint every so many steps; null only at the end or on a signal."""
    keep_checkpoints: int = Field(default=1, gt=0)
    """Newest checkpoints kept."""
    log_every: int = Field(default=10, gt=0)
    """Steps between lines of ``metrics.jsonl``."""
    license: str | None = None
    """Licence of the exported model, for its card: an identifier of the Hugging Face hub, such as ``apache-2.0``. null
    states none."""
    language: tuple[str, ...] = ()
    """Languages of the texts, for the card: ISO 639-1 codes, such as ``en``."""
    output_dir: str = "runs"
    """Folder in which the run's own folder is made."""
    report_to: tuple[str, ...] = ()
    """Trackers of Accelerate by name: tensorboard, wandb, mlflow ..."""

    @property
    def alphas(self) -> tuple[float, ...]:
        """The interpolations to judge, from 0 to 1, both among them; none where there is nothing to choose by."""
        asked = tuple(number / 10 for number in range(1, 10)) if self.wise_ft is None else self.wise_ft
        return tuple(sorted({0.0, 1.0, *asked})) if self.guard and self.evaluate and asked else ()

    @property
    def chosen_objectives(self) -> tuple[AnyObjective, ...]:
        """``objectives``; CLIP's where they are left to a checkpoint, of which SigLIP's needs the same of a row."""
        return (CLIPConfig(),) if self.objectives is None else self.objectives

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up: ``lr``, scaled to the batch as ``lr_scaling`` says."""
        ratio = self.batch_size / self.lr_batch_size
        return self.lr * {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[self.lr_scaling]

    @field_validator("micro_batch_size")
    @classmethod
    def _is_within_the_batch(cls, value: str | int | None, info: ValidationInfo) -> str | int | None:
        batch_size = info.data.get("batch_size")
        if isinstance(value, int) and batch_size is not None and value > batch_size:
            raise ValueError(f"must be <= batch_size, which is {batch_size}, got {value}")
        return value

    @field_validator("betas", "eps", "momentum", "trust_coefficient")
    @classmethod
    def _is_the_optimizers(cls, value: Any, info: ValidationInfo) -> Any:
        optimizer, name = info.data.get("optimizer"), str(info.field_name)
        if value is not None and optimizer is not None and name not in OPTIMIZER_FIELDS[optimizer]:
            owners = " and ".join(owner for owner, fields in OPTIMIZER_FIELDS.items() if name in fields)
            raise ValueError(f"is for optimizer {owners}, not {optimizer}: leave it out, or write null")
        return value

    @model_validator(mode="after")
    def _fill_in_what_others_decide(self) -> Recipe:
        # Written in place: the recipe is frozen, and what a validator makes anew would not be what __init__ returns.
        own = OPTIMIZER_FIELDS[self.optimizer]
        for name in ("betas", "eps", "momentum", "trust_coefficient"):
            value = getattr(self, name) if name in own else None
            self.__dict__[name] = own.get(name) if value is None else value
        if "evaluate" not in self.model_fields_set and (self.model.image is None) != (self.model.text is None):
            self.__dict__["evaluate"] = ()
        return self

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

    @field_validator("objectives")
    @classmethod
    def _hard_negatives_from_columns(
        cls, value: tuple[AnyObjective, ...] | None, info: ValidationInfo
    ) -> tuple[AnyObjective, ...] | None:
        data = info.data.get("data")
        if value is None or data is None:
            return value
        return tuple(
            one.with_hard_negatives(data.num_negatives) if isinstance(one, SupervisedSimCSEConfig) else one
            for one in value
        )

    @field_validator("guard")
    @classmethod
    def _guards_have_data(cls, value: tuple[AnyTask, ...]) -> tuple[AnyTask, ...]:
        for number, task in enumerate(value):
            if task.data is None:
                raise ValueError(
                    f"guard.{number}: {task.task} needs data of its own: what is held out of the training rows says"
                    " nothing of what is forgotten"
                )
        return value

    @model_validator(mode="after")
    def _chooses_by_a_guard(self) -> Recipe:
        if self.wise_ft and not (self.guard and self.evaluate):
            raise ValueError(
                "wise_ft needs tasks in evaluate and in guard to choose by; mmcl merge interpolates without choosing"
            )
        return self

    @model_validator(mode="after")
    def _stops_by_a_guard(self) -> Recipe:
        if self.max_guard_drop is not None and not (self.guard and self.eval_every):
            raise ValueError("max_guard_drop needs a guard, and eval_every to look at it")
        return self

    @field_validator("evaluate", "guard", mode="before")
    @classmethod
    def _tasks_from_names(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        tasks = [{"task": item} if isinstance(item, str) else item for item in value]
        return [expand_guard(task) for task in tasks] if info.field_name == "guard" else tasks
