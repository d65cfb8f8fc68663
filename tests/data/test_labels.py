from __future__ import annotations

from typing import Any

import datasets
import pytest

from mmcl.data.columns import resolve_roles
from mmcl.data.labels import class_index, index_labels
from mmcl.data.sources import Source
from mmcl.recipe_data import ColumnsConfig


def _index(feature: Any, values: list[Any], **columns: Any) -> tuple[list[int] | None, tuple[str, ...]]:
    rows = datasets.Dataset.from_dict({"label": values}, datasets.Features({"label": feature}))
    source = Source(rows, "a", "train", "data.train", None, ("label",))
    indices, names = index_labels(source, resolve_roles(source, ColumnsConfig(**columns)))
    return None if indices is None else indices.tolist(), names


def test_texts_are_classes_in_their_order() -> None:
    values = ["dog", None, "cat", " ", "dog", "Zebra", ""]
    assert _index(datasets.Value("string"), values) == ([2, -1, 1, -1, 2, 0, -1], ("Zebra", "cat", "dog"))


@pytest.mark.parametrize("kind", ["int64", "float64"])
def test_numbers_are_classes_by_size(kind: str) -> None:
    indices, names = _index(datasets.Value(kind), [10, 9, None, -1, 10])
    assert indices == [2, 1, -1, 0, 2]
    assert [float(name) for name in names] == [-1, 9, 10]


def test_nan_is_no_label() -> None:
    assert _index(datasets.Value("float64"), [1.5, float("nan")])[0] == [0, -1]


def test_class_column_keeps_its_own_indices() -> None:
    feature = datasets.ClassLabel(names=["b", "a", "unseen"])
    assert _index(feature, [1, -1, 0, None]) == ([1, -1, 0, -1], ("b", "a", "unseen"))


def test_without_a_label_column_there_are_no_labels() -> None:
    assert _index(datasets.Value("string"), ["a"], label=False) == (None, ())


def test_a_cell_of_a_class_column_is_its_own_index() -> None:
    rows = datasets.Dataset.from_dict({"label": [0]}, datasets.Features({"label": datasets.ClassLabel(names=["a"])}))
    roles = resolve_roles(Source(rows, "a", "train", "k", None, ("label",)), ColumnsConfig())
    assert [class_index(value, roles) for value in (0, -1, None)] == [0, -1, -1]
