"""Which column of a source plays which role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from mmcl.data.sources import Source
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_data import ColumnsConfig

ROLES = ("image", "text", "group", "label")

_WHAT = {"image": "the pictures", "text": "the captions", "group": "the groups", "label": "the labels"}


@dataclass(frozen=True)
class Roles:
    """Column names by role; None where no column plays it.

    Attributes:
        image: pictures.
        text: captions.
        group: rows of equal value are positives of each other.
        label: classes.
        label_names: what each label of an integer class column is called.
    """

    image: str
    text: str | None = None
    group: str | None = None
    label: str | None = None
    label_names: tuple[str, ...] | None = None

    def described(self) -> str:
        """Return ``image <- image_path   text <- title``, the roles that are played."""
        played = ((role, getattr(self, role)) for role in ROLES)
        return "   ".join(f"{role} <- {column}" for role, column in played if column is not None)


def resolve_roles(source: Source, config: ColumnsConfig, required: Sequence[str], key: str = "data.columns") -> Roles:
    """Find the column of each role: the one named, else one of the role's own name.

    Args:
        source: an opened source.
        config: what the recipe names.
        required: the roles that must be played, besides image.
        key: where the recipe says so; errors begin with it.

    Raises:
        UserError: a column that is named or required is not there, or holds what its role cannot be.
    """
    found: dict[str, str | None] = {}
    for role in ROLES:
        named = getattr(config, role)
        column = named or (role if role in source.columns else None)
        if column is None and (role == "image" or role in required):
            raise UserError(_no_column(source, role, f"{key}.{role}"))
        if column is not None and column not in source.columns:
            listed = ", ".join(source.columns)
            hint = did_you_mean(column, source.columns)
            raise UserError(f'{key}.{role}: no column "{column}" in {source.name} ({listed}).{hint}')
        found[role] = column
    features: dict[str, Any] = dict(source.dataset.features or {})
    for role, column in found.items():
        if column in features:
            _check_type(features[column], role, column, f'{key}.{role}: "{column}" in {source.name}')
    label = features.get(found["label"] or "")
    names = tuple(label.names) if isinstance(label, datasets.ClassLabel) else None
    assert found["image"] is not None
    return Roles(found["image"], found["text"], found["group"], found["label"], names)


def _no_column(source: Source, role: str, key: str) -> str:
    columns = ", ".join(source.columns)
    return (
        f'{key}: no column "{role}" in {source.name} ({columns}). '
        f"Say which column holds {_WHAT[role]}, as {key}: NAME.{did_you_mean(role, source.columns)}"
    )


def _check_type(feature: Any, role: str, column: str, where: str) -> None:
    if role == "text" and not (_is_string(feature) or _is_string(_item(feature))):
        raise UserError(f"{where} holds {_type_name(feature)}, not text (a string or a list of strings)")
    if role == "image" and isinstance(feature, datasets.Value) and not _holds_pictures(feature):
        raise UserError(f"{where} holds {_type_name(feature)}, not pictures (bytes, paths or images)")
    if role in ("group", "label") and not isinstance(feature, (datasets.Value, datasets.ClassLabel)):
        raise UserError(f"{where} holds {_type_name(feature)}, not one value per row")


def _is_string(feature: Any) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string", "string_view")


def _holds_pictures(feature: Any) -> bool:
    return _is_string(feature) or feature.dtype in ("binary", "large_binary", "binary_view")


def _item(feature: Any) -> Any:
    """Return what a list holds, in any of the library's three spellings; None for anything else."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return getattr(feature, "feature", None)


def _type_name(feature: Any) -> str:
    if isinstance(feature, datasets.Value):
        return "only missing values" if feature.dtype == "null" else str(feature.dtype)
    return type(feature).__name__
