"""What a recipe may ask a model to be judged by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.section import Section


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
