"""Classes, their names and templates, from a recipe and from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation import MultiLabelZeroShotTask, ZeroShotClassificationTask
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.training.judge import build_tasks
from tests.data.builders import class_samples, encoded, npy, picture, write_benchmark, write_lines, write_pictures
from tests.evaluation.fakes import ColourEmbedder


def build(data: Path, said: list[str] | None = None, **fields: Any) -> ZeroShotClassificationTask:
    task = {"task": "zeroshot_classification", "data": str(data), **fields}
    recipe = Recipe.model_validate({"data": "unused", "evaluate": [task]})
    tell = [].append if said is None else said.append
    (built,) = build_tasks(recipe.evaluate, recipe.data.columns, tell=tell)
    assert isinstance(built, ZeroShotClassificationTask)
    return built


def numbered(folder: Path, *labels: int) -> Path:
    rows = [{"image": n, "label": i} for n, i in zip(write_pictures(folder, len(labels)), labels, strict=True)]
    return write_lines(folder / "rows.jsonl", rows)


def test_names_and_templates_of_clip_benchmarks_layout_are_used_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    task = build(write_benchmark(tmp_path / "wds_pets", [class_samples(1, 1)]), said)
    assert task.class_names == {"cat": "cat", "black dog": "black dog"}
    assert task.templates == ("a photo of a {c}.", "a {c}")
    assert said == ["wds_pets: with the data came 2 class names and 2 templates"]
    assert task.evaluate(ColourEmbedder()).num_examples == 2


def test_a_recipes_own_names_and_templates_come_first(tmp_path: Path) -> None:
    data, said = write_benchmark(tmp_path / "x", [class_samples(1, 0)]), list[str]()
    task = build(data, said, class_names=["tom cat", "hound"], templates="simple", language="en")
    assert said == []
    build(data, said, templates=["a {}"])
    assert said == ["x: with the data came 2 class names"]
    assert task.class_names == {"cat": "tom cat", "black dog": "hound"}
    assert task.templates == "simple"


def test_data_without_templates_say_which_is_used(tmp_path: Path) -> None:
    said: list[str] = []
    folder = write_benchmark(tmp_path / "x", [class_samples(1, 0)])
    (folder / "zeroshot_classification_templates.txt").unlink()
    assert build(folder, said).templates == ("a photo of a {}.",)
    assert said == ['x: with the data came 2 class names and no templates, "a photo of a {}." is used']


def test_pictures_with_several_labels_are_judged_in_clip_benchmarks_layout(tmp_path: Path) -> None:
    samples = [{"png": encoded(picture(i)), "npy": npy(targets)} for i, targets in enumerate([[0, 1], [1, 1], [0, 0]])]
    folder = write_benchmark(tmp_path / "wds_voc", [samples])
    (folder / "dataset_type.txt").write_text("multilabel")
    task = {"task": "multilabel_zeroshot_classification", "data": str(folder)}
    recipe = Recipe.model_validate({"data": "unused", "evaluate": [task]})
    said: list[str] = []
    (built,) = build_tasks(recipe.evaluate, recipe.data.columns, tell=said.append)
    assert isinstance(built, MultiLabelZeroShotTask)
    assert built.labels == [["black dog"], ["cat", "black dog"], []]
    assert built.class_names == {"cat": "cat", "black dog": "black dog"}
    assert built.templates == ("a photo of a {c}.", "a {c}")
    assert said == ["wds_voc: with the data came 2 class names and 2 templates"]
    assert built.evaluate(ColourEmbedder()).num_examples == 3


def test_a_list_of_names_goes_by_the_numbers_of_the_classes(tmp_path: Path) -> None:
    task = build(numbered(tmp_path / "rows", 2, 0), class_names=["zero", "one", "two"])
    assert task.class_names == {"0": "zero", "1": "one", "2": "two"}
    (tmp_path / "names.txt").write_text("zero\none\ntwo\n")
    named = build(tmp_path / "rows/rows.jsonl", class_names=str(tmp_path / "names.txt"))
    assert named.class_names == task.class_names
    for folder in ("n01", "n02"):
        write_pictures(tmp_path / "folders" / folder, 2)
    assert build(tmp_path / "folders", class_names=["tench", "goldfish"]).class_names == {
        "n01": "tench",
        "n02": "goldfish",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_names": ["zero", "one"]}, r"evaluate.0.class_names: rows.jsonl has 3 classes, and 2 names are given"),
        ({"class_names": {"7": "seven"}}, r"evaluate.0.class_names has '7', which is no label of rows.jsonl \(0, 2\)"),
        ({"class_names": "imagnet"}, r'evaluate.0: no class names are called "imagnet".*Did you mean "imagenet"'),
        ({"templates": "imagnet"}, r'evaluate.0: .*no templates are called "imagnet".*Did you mean "imagenet"'),
        ({"templates": []}, r"evaluate.0: rows.jsonl: zero-shot classification needs at least one template"),
        ({"templates": ["no place"]}, r'evaluate.0: rows.jsonl: a template needs a place {} .*got "no place"'),
    ],
)
def test_what_does_not_fit_the_rows_is_one_message(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(numbered(tmp_path, 2, 0), **fields)


def test_a_list_of_names_needs_numbers(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 2)
    file = write_lines(tmp_path / "a.jsonl", [{"image": n, "label": w} for n, w in zip(names, "ab", strict=True)])
    with pytest.raises(UserError, match=r"goes by the numbers of the classes, and the labels of a.jsonl are a, b"):
        build(file, class_names=["x", "y"])
