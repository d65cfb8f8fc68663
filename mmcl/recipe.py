"""What one recipe may say: a training run as data.

Only ``data`` is required. Files, overrides, bases and error messages are `mmcl.recipe_files`' business.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mmcl.objectives.configs import AnyObjective, expand_objective
from mmcl.section import Section

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
MomentDecay = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_MAX_PIXELS = 178_956_970
"""Where Pillow too begins to suspect a decompression bomb."""


class ImageTowerConfig(Section):
    """One image encoder. Give ``name`` for an existing one, ``config`` for a fresh one."""

    name: str | None = None
    """Hub id or local folder of a transformers vision model."""
    pretrained: bool = True
    """Load the weights of ``name``; false takes its architecture with random weights."""
    config: dict[str, Any] | None = None
    """A transformers configuration, ``model_type`` first, for a tower with random weights."""
    pooling: Literal["auto", "pooler", "cls", "mean"] = "auto"
    """How the feature map becomes one vector: the model's own pooler, the first token, or the mean. ``auto``: the
    model's own pooler where it has a trained or parameter-free one, else the mean."""
    image_size: int | None = Field(default=None, gt=0)
    """Side of the square input in pixels; by default what the model's own preprocessing says."""
    image_mean: tuple[float, float, float] | None = None
    """Mean per RGB channel subtracted from pixels in [0, 1]; by default the model's own, else 0.5."""
    image_std: tuple[Positive, Positive, Positive] | None = None
    """Standard deviation per RGB channel; by default the model's own, else 0.5."""

    @model_validator(mode="after")
    def _names_one_architecture(self) -> ImageTowerConfig:
        return _check_name_or_config(self)


class TextTowerConfig(Section):
    """One text encoder. Give ``name`` for an existing one, ``config`` and ``tokenizer`` for a fresh one."""

    name: str | None = None
    """Hub id or local folder of a transformers text model."""
    pretrained: bool = True
    """Load the weights of ``name``; false takes its architecture with random weights."""
    config: dict[str, Any] | None = None
    """A transformers configuration, ``model_type`` first, for a tower with random weights. The vocabulary size and the
    special token ids are the tokenizer's."""
    pooling: Literal["auto", "pooler", "cls", "mean", "last"] = "auto"
    """How token features become one vector: the model's own pooler, the first token, the mean over real tokens, or the
    last real token. ``auto``: the model's own pooler for CLIP-like text models, else the mean."""
    tokenizer: str | None = None
    """Hub id, local folder, or the name of a packaged tokenizer (``glyphs``); by default that of ``name``."""
    max_length: int | None = Field(default=None, gt=1)
    """Longest text in tokens, special tokens included; longer ones are cut, and counted in the log. By default what
    the model allows."""

    @model_validator(mode="after")
    def _names_one_architecture(self) -> TextTowerConfig:
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a text tower from config needs a tokenizer, for example tokenizer: glyphs")
        return _check_name_or_config(self)


def _check_name_or_config(tower: Any) -> Any:
    if (tower.name is None) == (tower.config is None):
        raise ValueError("give either name (an existing model) or config (a fresh one)")
    if tower.config is not None and "model_type" not in tower.config:
        raise ValueError("config needs a model_type, for example model_type: bert")
    return tower


class ModelConfig(Section):
    """The two towers: one joint model by ``name``, or a pair by ``image`` and ``text``."""

    name: str | None = None
    """A joint image-text model: a hub id, a local folder, a run, or open_clip's ``ARCH,TAG``."""
    pretrained: bool = True
    """Load the weights of ``name``; false takes its architecture with random weights."""
    config: dict[str, Any] | None = None
    """A transformers configuration of a joint model (``model_type: clip``) for random weights."""
    tokenizer: str | None = None
    """The tokenizer of a joint model from ``config``: hub id, folder, or packaged name."""
    image: ImageTowerConfig | None = None
    """The image encoder of a pair. Short form: its name."""
    text: TextTowerConfig | None = None
    """The text encoder of a pair. Short form: its name."""
    embedding_dim: int = Field(default=512, gt=0)
    """Width of the shared space of a pair; a joint model has its own."""
    temperature: float | None = Field(default=None, gt=0)
    """Initial temperature; by default the checkpoint's own, else 0.07."""
    learn_temperature: bool = True
    """Train the temperature; false keeps it as it is."""
    max_logit_scale: float = Field(default=100.0, gt=0)
    """Upper clamp of 1 / temperature."""
    batch_norm: Literal["global", "local"] = "global"
    """Batch norm statistics over the batch of all processes, or of each process alone (another objective than on one
    process, cheaper)."""

    @field_validator("image", "text", mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _joint_or_pair(self) -> ModelConfig:
        pair = self.image is not None or self.text is not None
        if sum([self.name is not None, self.config is not None, pair]) != 1:
            raise ValueError("give exactly one of: name (a joint model), config (a fresh joint model), image and text")
        if pair and (self.image is None or self.text is None):
            raise ValueError("a pair needs both image and text")
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a joint model from config needs a tokenizer")
        return self


class SourceConfig(Section):
    """Where rows come from. Short form: the path."""

    path: str
    """``glyphs`` or ``digits`` (embedded), a file, a folder, a glob, or a hub id."""
    format: Literal["auto", "csv", "jsonl", "parquet", "imagefolder", "webdataset", "saved", "hub"] = "auto"
    """How to read it; ``auto`` goes by the suffix or what the folder holds."""
    delimiter: str | None = None
    """What separates csv columns; by default a tab for .tsv, else a comma."""
    config: str | None = None
    """Configuration name of a hub data set."""
    split: str | None = None
    """Split: of a hub data set or folder ``train`` by default; of ``glyphs``: train, unseen_characters or
    unseen_face."""
    image_root: str | None = None
    """Folder that relative image paths start from; by default the folder of the file that names them."""
    streaming: bool = False
    """Read rows as they come instead of indexing them first; the order is then shuffled within a buffer."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first so many rows."""


class ColumnsConfig(Section):
    """Which column plays which role. By default a column of the role's own name, where there is one."""

    image: str | None = None
    """Pictures: bytes, paths, or decoded."""
    text: str | None = None
    """Captions: a string, or a list of strings of which one is drawn per epoch."""
    group: str | None = None
    """Rows of equal group are positives of each other; by default rows with the same text are one group."""
    label: str | None = None
    """Class of the row, for classification."""


class AffineConfig(Section):
    """Random affine distortion of a view, by torchvision's RandomAffine."""

    degrees: float = Field(default=0.0, ge=0)
    """Rotation from -degrees to +degrees."""
    translate: Fraction = 0.0
    """Largest shift, as a fraction of the side, in both directions."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest zoom."""
    shear: float = Field(default=0.0, ge=0)
    """Shear from -shear to +shear degrees."""
    fill: int = Field(default=255, ge=0, le=255)
    """Grey level (0 to 255) of what comes in from outside."""

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError(f"must be 0 < smallest <= largest, got {list(value)}")
        return value


class ImageViewConfig(Section):
    """One random view of a picture; applied in the order of the fields. All off: the plain resize of evaluation."""

    random_resized_crop: tuple[float, float] | None = None
    """Smallest and largest area of the crop, as fractions of the picture."""
    affine: AffineConfig | None = None
    """Random rotation, shift, zoom and shear."""
    horizontal_flip: Fraction = 0.0
    """Probability of a mirror image."""
    color_jitter: tuple[NotNegative, NotNegative, NotNegative, Annotated[float, Field(ge=0, le=0.5)]] | None = None
    """Strength of brightness, contrast, saturation and hue changes; of hue at most 0.5."""
    grayscale: Fraction = 0.0
    """Probability of dropping the colours."""
    gaussian_blur: Fraction = 0.0
    """Probability of a blur of sigma 0.1 to 2."""

    @field_validator("random_resized_crop")
    @classmethod
    def _crop_is_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"must be 0 < smallest <= largest <= 1, got {list(value)}")
        return value


class DataConfig(Section):
    """Training and validation rows, and how they are drawn. Short form: the training path."""

    train: SourceConfig
    """Rows to learn from."""
    validation: SourceConfig | Fraction = 0.05
    """Held-out rows: a source, or a share of the groups of ``train``, chosen by hash; 0 holds nothing out."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which column plays which role."""
    image_views: tuple[ImageViewConfig, ...] = Field(
        default=(ImageViewConfig(random_resized_crop=(0.9, 1.0)),), min_length=1
    )
    """The random views drawn of every picture."""
    unique_groups: bool = False
    """Draw batches in which no group occurs twice."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that load data beside each training process; the result does not depend on it."""
    shuffle_buffer: int = Field(default=10_000, gt=0)
    """Rows held for shuffling a stream."""
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, gt=0)
    """Pictures with more pixels than this are refused from their header."""
    max_unreadable: Fraction = 0.01
    """Share of quarantined rows above which the run stops."""

    @field_validator("train", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("validation", mode="before")
    @classmethod
    def _share_or_source(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value.endswith("%"):
                return _share_from_percent(value)
            return {"path": value}
        return value


def _share_from_percent(value: str) -> float:
    try:
        return float(value[:-1]) / 100
    except ValueError:
        raise ValueError(f'a share is a number before the %, got "{value}"') from None


class RetrievalConfig(Section):
    """Image-to-text and text-to-image retrieval on held-out rows."""

    task: Literal["retrieval"] = "retrieval"
    name: str | None = None
    """What to call it in results; by default that of its data."""
    data: SourceConfig | None = None
    """Rows to judge on; by default the validation rows."""
    columns: ColumnsConfig | None = None
    """Column roles of ``data``; by default those of the training data."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _columns_have_data(self) -> RetrievalConfig:
        return _check_columns_have_data(self)


class ZeroShotClassificationConfig(Section):
    """Classification of pictures by the names of their classes."""

    task: Literal["zeroshot_classification"] = "zeroshot_classification"
    name: str | None = None
    """What to call it in results; by default that of its data."""
    data: SourceConfig | None = None
    """Rows to judge on, with a label column; by default the validation rows."""
    columns: ColumnsConfig | None = None
    """Column roles of ``data``; by default those of the training data."""
    class_names: dict[str, str] | None = None
    """How to call each label in a prompt; by default the label itself."""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Prompts with ``{}`` for the class name."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _columns_have_data(self) -> ZeroShotClassificationConfig:
        return _check_columns_have_data(self)


def _check_columns_have_data(task: Any) -> Any:
    if task.columns is not None and task.data is None:
        raise ValueError("columns are those of the task's own data; give data too, or set data.columns of the recipe")
    return task


AnyTask = Annotated[RetrievalConfig | ZeroShotClassificationConfig, Field(discriminator="task")]


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
