"""Which column of a source plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import datasets

from mmcl.data.cells import Column
from mmcl.data.sources import Source
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_data import ColumnsConfig, DataConfig, EqualTexts

ROLES = ("image", "text", "positive", "negatives", "score", "group", "label", "labels")

_OTHER_NAMES = {"text": ("anchor",)}
_ONLY_IF_ASKED_FOR = ("positive", "score", "labels")

_WHAT = {
    "image": "the pictures",
    "text": "the captions",
    "positive": "the positives",
    "negatives": "the hard negatives",
    "score": "the scores",
    "group": "the groups",
    "label": "the labels",
    "labels": "the labels of each row",
}


@dataclass(frozen=True)
class Roles:
    """Column names by role; None where no column plays it.

    Attributes:
        image: pictures.
        text: captions, or anchors; several columns where the texts of all are captions.
        group: rows of equal value are positives of each other.
        label: classes.
        label_names: what each label of an integer class column is called.
        labels: all labels of a row that may have several, as a list or one text.
        labels_names: what each of them is called, of a list of integer classes.
        positive: texts that belong to those of ``text``.
        negatives: hard negatives of ``text``, a column each.
        score: how alike the texts of ``text`` and ``positive`` are.
        is_ungrouped: every row is a group of its own, whatever its text.
        caption_templates: where there are any, captions are made of the label, and no column holds them.
        class_names: what a label is called in them, where not as it is.
        equal_texts: when two captions are the same, which makes their rows one group.
    """

    image: str | None = None
    text: Column | None = None
    group: str | None = None
    label: str | None = None
    label_names: tuple[str, ...] | None = None
    labels: str | None = None
    labels_names: tuple[str, ...] | None = None
    positive: str | None = None
    negatives: tuple[str, ...] = ()
    score: str | None = None
    is_ungrouped: bool = False
    caption_templates: tuple[str, ...] = ()
    class_names: Mapping[str, str] = field(default_factory=dict)
    equal_texts: EqualTexts = "normalised"

    def column_of(self, part: str) -> Column | None:
        """Return the column of a part of a row (`mmcl.data.needs`): ``image``, ``score``, ``text.0``, ``text.1`` ..."""
        if part in ("image", "score"):
            return self.image if part == "image" else self.score
        captions: Column | None = self.label if self.caption_templates else self.text
        texts = (captions, self.positive, *self.negatives)
        number = int(part.partition(".")[2])
        return texts[number] if number < len(texts) else None

    def described(self) -> str:
        """Return ``image <- image_path   text <- title``, the roles that are played."""
        played = ((role, getattr(self, role)) for role in ROLES)
        named = (
            (role, columns if isinstance(columns, str) else ", ".join(columns)) for role, columns in played if columns
        )
        made = []
        if self.caption_templates and self.label:
            made = [f"text <- {len(self.caption_templates)} templates of {self.label}"]
        return "   ".join([*(f"{role} <- {columns}" for role, columns in named), *made])


def resolve_roles(
    source: Source,
    config: ColumnsConfig,
    required: Mapping[str, str] | None = None,
    key: str = "data.columns",
    num_negatives: int = 0,
    may_lack: bool = False,
) -> Roles:
    """Find the column of each role: the one named, else one of the role's own name, else none.

    Positives, negatives, scores and labels of which a row has several play a part only where they are asked for.

    Args:
        source: an opened source.
        config: what the recipe names; ``false`` for a role that no column plays.
        required: the roles that must be played, and who needs each, such as ``objectives.1: simcse needs text.0``;
            an empty text where nobody in particular does.
        key: where the recipe says so.
        num_negatives: how many columns of hard negatives are required; of more, the first so many are taken.
        may_lack: the source is one of several, and another may have the columns that it lacks.

    Raises:
        UserError: a column that is named or required is not there, or holds what its role cannot be.
    """
    required = required or {}
    found: dict[str, tuple[str, ...]] = {}
    for role in ROLES:
        name, named = config.given(role)
        columns = _columns_of(source, role, named, f"{key}.{name}")
        is_asked_for = role in required or (role == "negatives" and num_negatives > 0)
        if is_asked_for and not may_lack and len(columns) < (num_negatives if role == "negatives" else 1):
            raise UserError(_too_few(source, role, named, columns, f"{key}.{name}", required.get(role, "")))
        if role == "negatives":
            columns = columns[:num_negatives]
        found[role] = columns if is_asked_for or role not in _ONLY_IF_ASKED_FOR else ()
    features: dict[str, Any] = dict(source.dataset.features or {})
    for role, columns in found.items():
        for column in columns:
            if column in features:
                _check_type(features[column], role, f'{key}.{config.given(role)[0]}: "{column}" in {source.name}')
    single = {role: columns[0] if columns else None for role, columns in found.items()}
    label, labels = features.get(single["label"] or ""), _item(features.get(single["labels"] or ""))
    texts = found["text"]
    return Roles(
        image=single["image"],
        text=texts if len(texts) > 1 else single["text"],
        group=single["group"],
        label=single["label"],
        label_names=tuple(label.names) if isinstance(label, datasets.ClassLabel) else None,
        labels=single["labels"],
        labels_names=tuple(labels.names) if isinstance(labels, datasets.ClassLabel) else None,
        positive=single["positive"],
        negatives=found["negatives"],
        score=single["score"],
        is_ungrouped=config.group is False,
    )


def training_roles(
    source: Source,
    data: DataConfig,
    columns: ColumnsConfig,
    required: Mapping[str, str],
    key: str = "data.columns",
    num_negatives: int = 0,
    may_lack: bool = False,
) -> Roles:
    """Find the columns of the rows to learn from, as `resolve_roles` does; captions may be made of their labels.

    Args:
        source: opened.
        data: says of what captions are made, where the columns name none that holds them.
        columns: which columns of the source.
        required: the roles that must be played, and who needs each.
        key: where the recipe says so.
        num_negatives: how many columns of hard negatives are required.
        may_lack: the source is one of several, and another may have the columns that it lacks.

    Raises:
        UserError: a column that is named or required is not there, or holds what its role cannot be.
    """
    if not data.caption_templates or columns.given("text")[1]:
        roles = resolve_roles(source, columns, required, key, num_negatives, may_lack)
        return replace(roles, equal_texts=data.equal_texts)
    required = {role: reason for role, reason in required.items() if role != "text"}
    required.setdefault("label", "data.caption_templates are filled with the label")
    columns = columns.model_copy(update={"text": False})
    roles = resolve_roles(source, columns, required, key, num_negatives, may_lack)
    return replace(
        roles,
        caption_templates=data.caption_templates,
        class_names=data.class_names or {},
        equal_texts=data.equal_texts,
    )


def _columns_of(source: Source, role: str, named: Any, key: str) -> tuple[str, ...]:
    """Return the columns that play a role, all of them checked to be there."""
    if named is False:
        return ()
    if named is None:
        own = (name for name in (role, *_OTHER_NAMES.get(role, ())) if name in source.columns)
        return tuple(islice(own, 1))
    columns = (named,) if isinstance(named, str) else tuple(named)
    for column in columns:
        if column not in source.columns:
            listed = ", ".join(source.columns)
            hint = did_you_mean(column, source.columns) or hint_at_names(source)
            raise UserError(f'{key}: no column "{column}" in {source.name} ({listed}).{hint}')
    return columns


def _too_few(source: Source, role: str, named: Any, found: Sequence[str], key: str, reason: str) -> str:
    who = reason or f"{key}: it is needed"
    if named is False:
        return f"{who}, and {key} is false; say which column holds {_WHAT[role]}, or leave {key} out"
    if found:
        return f"{who}, and {key} names {', '.join(found)} only; name a column for each"
    listed = ", ".join(source.columns)
    hint = did_you_mean(role, source.columns) or hint_at_names(source)
    if not reason:
        return f'{key}: no column "{role}" in {source.name} ({listed}). ' + (
            f"Say which column holds {_WHAT[role]}, as {key}: NAME.{hint}"
        )
    return (
        f'{reason}, and {source.name} has no column "{role}" ({listed}); '
        f"say which column holds {_WHAT[role]}, as {key}: NAME.{hint}"
    )


def hint_at_names(source: Source) -> str:
    """Return what to do about a csv file whose first line is a row, as a number among its names tells; else nothing."""
    if source.delimiter is None or not any(name.replace(".", "", 1).isdecimal() for name in source.columns):
        return ""
    return f" If its first line is a row, name the columns in {source.key}.column_names."


def _check_type(feature: Any, role: str, where: str) -> None:
    if role in ("text", "positive", "negatives") and not (_is_string(feature) or _is_string(_item(feature))):
        raise UserError(f"{where} holds {_type_name(feature)}, not text (a string or a list of strings)")
    if role == "image" and isinstance(feature, datasets.Value) and not _holds_pictures(feature):
        raise UserError(f"{where} holds {_type_name(feature)}, not pictures (bytes, paths or images)")
    if role == "labels" and not (
        _is_string(feature) or isinstance(_item(feature), datasets.Value | datasets.ClassLabel)
    ):
        raise UserError(f"{where} holds {_type_name(feature)}, not labels (a list, or a text that names several)")
    if role in ("group", "label", "score") and not isinstance(feature, (datasets.Value, datasets.ClassLabel)):
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
