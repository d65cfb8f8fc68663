"""What a recipe may ask a model to be judged by."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.recipe_fields import Positive
from mmcl.section import Section

Corruption = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "motion_blur",
    "fog",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
]


class RetrievalConfig(Section):
    """Image-to-text and text-to-image retrieval on held-out rows."""

    task: Literal["retrieval"] = "retrieval"
    name: str | None = None
    """What to call it in results; by default that of its data."""
    data: SourceConfig | None = None
    """Rows to judge on; by default the validation rows."""
    columns: ColumnsConfig | None = None
    """Column roles of ``data``; by default those of the training data."""
    language: str = "en"
    """Of the texts, ISO 639-1, for results."""

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
    class_names: str | tuple[str, ...] | dict[str, str] | None = None
    """How to call each label in a prompt; by default as its data say (CLIP_benchmark's classnames.txt), else the label
    itself. Names in the order of an integer label's numbers, names by label, or the name of a published set, such as
    ``imagenet``, or a .txt file with a name per line."""
    templates: str | tuple[str, ...] | None = None
    """Prompts with ``{}`` for the class name, or the name of a published set, such as ``imagenet`` or ``simple``, or a
    .txt file with a prompt per line. By default those that come with the data, else ``a photo of a {}.``"""
    language: str = "en"
    """Of class names and templates, ISO 639-1: published sets are taken in it."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _columns_have_data(self) -> ZeroShotClassificationConfig:
        return _check_columns_have_data(self)


class _LabelledImagesConfig(Section):
    """What the tasks that learn from labelled pictures have in common."""

    task: Literal["knn", "linear_probe", "few_label"]
    name: str | None = None
    """What to call it in results; by default that of its data."""
    train: SourceConfig | None = None
    """Rows to learn from, with a label column; rows without a label are left out. By default the training rows."""
    data: SourceConfig | None = None
    """Rows to judge on, with a label column; by default the validation rows."""
    columns: ColumnsConfig | None = None
    """Column roles of ``train`` and ``data``; by default those of the training data."""
    baselines: bool = False
    """Also judge raw pixels and the untrained encoder by the same protocol, and show them beside."""

    @field_validator("train", "data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_rows_of_its_own_for_columns(self) -> _LabelledImagesConfig:
        if self.columns is not None and self.data is None and self.train is None:
            raise ValueError(
                "columns are those of the task's own train and data; give one too, or set data.columns of the recipe"
            )
        if self.train is not None and self.data is not None and have_same_rows(self.train, self.data):
            raise ValueError("train and data are the same rows; give other splits or files, or leave one of them out")
        return self


class KNNConfig(_LabelledImagesConfig):
    """Classification of pictures by the votes of the nearest training pictures."""

    task: Literal["knn"] = "knn"
    k: int = Field(default=20, gt=0)
    """Neighbours that vote, by cosine; at most as many as there are."""
    temperature: Positive = 0.07
    """A vote weighs exp(cosine / temperature)."""


class LinearProbeConfig(_LabelledImagesConfig):
    """Classification of pictures by logistic regression on their embeddings."""

    task: Literal["linear_probe"] = "linear_probe"
    c_grid: tuple[Positive, ...] = Field(default=(0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5), min_length=1)
    """Inverse weight decays (scikit-learn's C) to choose from, on a share of the rows to learn from."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """That share, of each class; afterwards all rows are fitted."""


class FewLabelConfig(_LabelledImagesConfig):
    """Classification of pictures by logistic regression on a handful of embeddings per class."""

    task: Literal["few_label"] = "few_label"
    labels_per_class: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(1, 2, 5, 10), min_length=1)
    """How many pictures of each class are learnt from, one number after the other."""
    num_seeds: int = Field(default=5, gt=0)
    """Draws of them; results are the mean and the standard deviation over the draws."""
    c: Positive = 100.0
    """Inverse weight decay (scikit-learn's C) of every fit."""


class _TextTaskConfig(Section):
    """What the tasks of texts alone have in common."""

    task: Literal["sts", "pair_classification", "text_retrieval", "bitext_mining", "triplet_accuracy"]
    name: str | None = None
    """What to call it in results; by default that of its data."""
    data: SourceConfig | None = None
    """Rows to judge on; by default the validation rows."""
    columns: ColumnsConfig | None = None
    """Column roles of ``data``; by default those of the training data."""
    language: str = "en"
    """Of the texts, ISO 639-1, for results; of two languages ``en-zh``."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _columns_have_data(self) -> _TextTaskConfig:
        _check_columns_have_data(self)
        return self


class STSConfig(_TextTaskConfig):
    """Semantic textual similarity: pairs of anchor and positive with a score."""

    task: Literal["sts"] = "sts"
    baselines: bool = False
    """Also judge bags of words and TF-IDF, fitted on the texts judged, and the untrained encoder, as baselines."""


class PairClassificationConfig(_TextTaskConfig):
    """Pairs of anchor and positive with a label: 1 where they belong together, else 0."""

    task: Literal["pair_classification"] = "pair_classification"


class TextRetrievalConfig(_TextTaskConfig):
    """Retrieval of texts: anchors are queries, the positives of their group are relevant; all positives and hard
    negatives are the corpus."""

    task: Literal["text_retrieval"] = "text_retrieval"
    corpus: SourceConfig | None = None
    """Further documents, relevant to nothing: the column that holds the positives, or else ``text``."""

    @field_validator("corpus", mode="before")
    @classmethod
    def _corpus_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class BitextMiningConfig(_TextTaskConfig):
    """Translations: anchors in one language, positives in another."""

    task: Literal["bitext_mining"] = "bitext_mining"


class TripletAccuracyConfig(_TextTaskConfig):
    """Triplets of anchor, positive and each of its hard negatives."""

    task: Literal["triplet_accuracy"] = "triplet_accuracy"


class MultiLabelZeroShotConfig(Section):
    """Labelling of pictures that may have several labels each, by the names of the classes."""

    task: Literal["multilabel_zeroshot_classification"] = "multilabel_zeroshot_classification"
    name: str | None = None
    """What to call it in results; by default that of its data."""
    data: SourceConfig | None = None
    """Rows to judge on, with a column of labels. Held-out rows have none, so it must be given."""
    columns: ColumnsConfig | None = None
    """Column roles of ``data``; by default those of the training data."""
    separator: str | None = Field(default=None, min_length=1)
    """What stands between the labels of a row whose cell is one text, such as ``;``; a cell that is a list needs
    none."""
    class_names: str | tuple[str, ...] | dict[str, str] | None = None
    """How to call each label in a prompt, as of zero-shot classification."""
    templates: str | tuple[str, ...] | None = None
    """Prompts with ``{}`` for the class name, or a set of them, as of zero-shot classification."""
    language: str = "en"
    """Of class names and templates, ISO 639-1: published sets are taken in it."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _columns_have_data(self) -> MultiLabelZeroShotConfig:
        return _check_columns_have_data(self)


TextTaskConfig = STSConfig | PairClassificationConfig | TextRetrievalConfig | BitextMiningConfig | TripletAccuracyConfig


def have_same_rows(first: SourceConfig, second: SourceConfig) -> bool:
    """Whether two sources are one, save for how many of its rows are used."""
    return first.model_copy(update={"limit": None}) == second.model_copy(update={"limit": None})


def _check_columns_have_data(task: Any) -> Any:
    if task.columns is not None and task.data is None:
        raise ValueError("columns are those of the task's own data; give data too, or set data.columns of the recipe")
    return task


class _ImageTaskConfig(Section):
    """What tasks of pictures that learn nothing have in common."""

    task: Literal["image_retrieval", "representation_health", "clustering"]
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
    def _columns_have_data(self) -> _ImageTaskConfig:
        _check_columns_have_data(self)
        return self


class ImageRetrievalConfig(_ImageTaskConfig):
    """Pictures found by pictures: relevant are those of the same label, or without a label column of the same group."""

    task: Literal["image_retrieval"] = "image_retrieval"
    gallery: SourceConfig | None = None
    """Pictures to search in, with the columns of ``data``; by default each picture of ``data`` is sought among its
    others."""

    @field_validator("gallery", mode="before")
    @classmethod
    def _gallery_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _gallery_is_another(self) -> ImageRetrievalConfig:
        if self.gallery is not None and self.data is not None and have_same_rows(self.gallery, self.data):
            raise ValueError(
                "gallery and data are the same rows, and every picture would find itself; leave gallery out"
            )
        return self


class RepresentationHealthConfig(_ImageTaskConfig):
    """Figures of the embeddings alone: alignment, uniformity, spread, effective rank, modality gap."""

    task: Literal["representation_health"] = "representation_health"
    language: str = "en"
    """Of the texts, ISO 639-1, for results."""


class ImageCaptionSelectionConfig(Section):
    """Choice between a picture's own caption and wrong ones, hard negatives (SugarCrepe, ARO); without those, between
    the captions of two pictures that are a group (Winoground)."""

    task: Literal["image_caption_selection"] = "image_caption_selection"
    name: str | None = None
    """What to call it in results; by default that of its data."""
    data: SourceConfig
    """Rows to judge on; a label column says which subset each is of."""
    columns: ColumnsConfig | None = None
    """Column roles of ``data``; by default those of the training data."""
    language: str = "en"
    """Of the captions, ISO 639-1, for results."""

    @field_validator("data", mode="before")
    @classmethod
    def _source_from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class RobustnessConfig(ZeroShotClassificationConfig):
    """Zero-shot classification of corrupted pictures, at five strengths."""

    task: Literal["robustness"] = "robustness"  # type: ignore[assignment]
    corruptions: tuple[Corruption, ...] = Field(default=get_args(Corruption), min_length=1)
    """Which; each at five strengths."""


class ClusteringConfig(_ImageTaskConfig):
    """k-means on embeddings, compared with labels: of the pictures, or of the texts of rows without."""

    task: Literal["clustering"] = "clustering"
    num_seeds: int = Field(default=5, gt=0)
    """Starts of k-means; results are the mean and the standard deviation over them."""
    language: str = "en"
    """Of the texts, ISO 639-1, for results."""


AnyTask = Annotated[
    RetrievalConfig
    | ZeroShotClassificationConfig
    | KNNConfig
    | LinearProbeConfig
    | FewLabelConfig
    | STSConfig
    | PairClassificationConfig
    | TextRetrievalConfig
    | BitextMiningConfig
    | TripletAccuracyConfig
    | MultiLabelZeroShotConfig
    | ImageRetrievalConfig
    | RepresentationHealthConfig
    | ImageCaptionSelectionConfig
    | RobustnessConfig
    | ClusteringConfig,
    Field(discriminator="task"),
]
