"""Tasks that judge embeddings by labels, from a recipe and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from evaluation import ClusteringTask, MultiLabelZeroShotTask
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.training.judge import AnyBuiltTask, build_tasks, check_modalities
from tests.evaluation.fakes import ColourEmbedder

LABELS = [["red"], ["red", "blue"], [], ["green"]]


def build(*tasks: dict[str, Any]) -> list[AnyBuiltTask]:
    recipe = Recipe.model_validate({"data": "unused", "evaluate": list(tasks)})
    return build_tasks(recipe.evaluate, recipe.data.columns)


def save_pictures(folder: Path) -> list[str]:
    files = []
    for index, colour in enumerate([(255, 0, 0), (200, 0, 200), (0, 0, 0), (0, 255, 0)]):
        files.append(str(folder / f"{index}.png"))
        Image.new("RGB", (8, 8), colour).save(files[-1])
    return files


def save_csv(folder: Path, cells: list[str], column: str = "labels") -> dict[str, Any]:
    rows = [f"{file},{cell}" for file, cell in zip(save_pictures(folder), cells, strict=True)]
    (folder / "many.csv").write_text("\n".join([f"image,{column}", *rows]) + "\n")
    return {"task": "multilabel_zeroshot_classification", "data": str(folder / "many.csv")}


def test_labels_of_a_list_column_are_taken_as_they_are(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["blue", "green", "red", "white"])
    features = datasets.Features({"image": datasets.Value("string"), "labels": datasets.List(names)})
    numbers = [[names.str2int(label) for label in labels] for labels in LABELS]
    rows = datasets.Dataset.from_dict({"image": save_pictures(tmp_path), "labels": numbers}, features=features)
    rows.save_to_disk(tmp_path / "saved")
    (task,) = build({"task": "multilabel_zeroshot_classification", "data": str(tmp_path / "saved")})
    assert isinstance(task, MultiLabelZeroShotTask)
    assert task.labels == LABELS
    assert task.class_names == {"blue": "blue", "green": "green", "red": "red"}
    assert task.evaluate(ColourEmbedder()).num_examples == 4


def test_labels_of_one_text_are_cut_at_the_separator(tmp_path: Path) -> None:
    given = save_csv(tmp_path, ["red", "red; blue", "", "green;"], column="tags")
    fields = {"columns": {"labels": "tags"}, "separator": ";", "class_names": {"red": "crimson", "white": "white"}}
    (task,) = build({**given, **fields})
    assert isinstance(task, MultiLabelZeroShotTask)
    assert task.labels == LABELS
    assert task.class_names == {"blue": "blue", "green": "green", "red": "crimson", "white": "white"}
    assert task.ids == ["0", "1", "2", "3"]


def test_a_task_of_one_label_per_picture_is_not_disturbed_by_the_lists(tmp_path: Path) -> None:
    many = save_csv(tmp_path, ["red", "red;blue", "green", "green"])
    text = Path(many["data"]).read_text().splitlines()
    Path(many["data"]).write_text("\n".join(line + f",{label}" for line, label in zip(text, ["label", *"abab"])))  # noqa: B905
    several, single = build({**many, "separator": ";"}, {"task": "zeroshot_classification", "data": many["data"]})
    assert isinstance(several, MultiLabelZeroShotTask)
    assert single.labels == ["a", "b", "a", "b"]
    np.testing.assert_array_equal(several.images.positions, single.images.positions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r'evaluate\.0\.separator: the labels of many\.csv are one text, such as "red"; say what stands between'),
        ({"columns": {"labels": "label"}}, r'columns\.labels: no column "label" in many\.csv'),
        ({"separator": ";", "templates": ["none"]}, "multilabel_zeroshot_classification: .* a template needs a place"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    given = save_csv(tmp_path, ["red", "red;blue", "x", "green"])
    with pytest.raises(UserError, match=message):
        build({**given, **changes})


def test_labels_that_are_numbers_are_refused_with_the_column(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"image": save_pictures(tmp_path), "labels": [1, 2, 3, 4]})
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r'columns\.labels: "labels" in .*saved holds int64, not labels'):
        build({"task": "multilabel_zeroshot_classification", "data": str(tmp_path / "saved")})


def test_rows_without_labels_are_refused(tmp_path: Path) -> None:
    given = save_csv(tmp_path, ["1", "2", "3", "4"], column="colour")
    with pytest.raises(UserError, match=r'no column "labels" in many\.csv'):
        build(given)


def test_pictures_are_clustered_where_there_are_any_and_else_texts(tmp_path: Path) -> None:
    rows = [f"{file},{text},{label}" for file, text, label in zip(save_pictures(tmp_path), "wxyz", "abab", strict=True)]
    (tmp_path / "topics.csv").write_text("\n".join(["image,text,label", *rows]) + "\n")
    task = {"task": "clustering", "data": str(tmp_path / "topics.csv"), "num_seeds": 2}
    (pictures,) = build(task)
    (texts,) = build({**task, "columns": {"image": False}})
    assert isinstance(pictures, ClusteringTask)
    assert isinstance(texts, ClusteringTask)
    assert (len(pictures.images or ()), pictures.texts, pictures.num_seeds) == (4, None, 2)
    assert (texts.images, texts.texts, texts.labels) == (None, ["w", "x", "y", "z"], ["a", "b", "a", "b"])
    assert pictures.groups is not None
    check_modalities(Recipe.model_validate({"data": "x", "evaluate": ["clustering"]}).evaluate, ("text",))


def test_clustering_without_labels_says_so(tmp_path: Path) -> None:
    given = save_csv(tmp_path, ["a", "b", "a", "b"], column="colour")
    with pytest.raises(UserError, match=r"clustering needs labels: many\.csv has no label column"):
        build({**given, "task": "clustering"})
