"""Tasks of pictures that learn nothing, from their part of a recipe to a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from evaluation import (
    ImageCaptionSelectionTask,
    ImageRetrievalTask,
    RepresentationHealthTask,
    RobustnessTask,
    WinogroundTask,
)
from evaluation.corruptions import CORRUPTIONS
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_tasks import Corruption
from mmcl.training.judge import AnyBuiltTask, build_tasks, check_modalities, headline_metrics, judge
from tests.evaluation.fakes import ColourEmbedder
from tests.tiny import save_pairs


def build(data: Path, **task: Any) -> AnyBuiltTask:
    recipe = Recipe.model_validate({"data": "unused", "evaluate": [{"data": str(data), **task}]})
    (built,) = build_tasks(recipe.evaluate, recipe.data.columns)
    return built


def rows(folder: Path, *lines: str) -> Path:
    save_pairs(folder)
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder / "rows.csv"


def test_pictures_are_relevant_by_label_and_without_one_by_group(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path)
    by_label = build(pairs, task="image_retrieval")
    assert isinstance(by_label, ImageRetrievalTask)
    assert (by_label.labels[0], by_label.gallery, by_label.ids[3]) == ("a", None, "3")
    assert by_label.groups is not None
    by_group = build(pairs, task="image_retrieval", columns={"label": False})
    assert by_group.labels == [str(group) for group in by_group.groups]
    as_classes = build(pairs, task="image_retrieval", columns={"group": "label", "label": "label"})
    assert as_classes.groups is None
    result = by_group.evaluate(ColourEmbedder())
    assert result.num_examples == 40
    assert result.notes[0] == "20 of 60 pictures have nothing to find and are no queries."
    assert result.metrics["recall@1"] > 0.9


def test_pictures_are_sought_in_a_gallery(tmp_path: Path) -> None:
    gallery = save_pairs(tmp_path / "gallery", 20, 20)
    task = build(save_pairs(tmp_path), task="image_retrieval", gallery=str(gallery), columns={"label": False})
    assert isinstance(task, ImageRetrievalTask)
    result = task.evaluate(ColourEmbedder())
    assert (len(task.images), result.num_examples, result.protocol["num_candidates"]) == (60, 40, 20)
    assert result.metrics["recall@1"] == 1, "the same pictures lie in the gallery"
    lines = (tmp_path / "gallery" / "pairs.csv").read_text().splitlines()
    gallery.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    with pytest.raises(UserError, match=r"image_retrieval needs labels: pairs.csv has no label column"):
        build(save_pairs(tmp_path), task="image_retrieval", gallery=str(gallery))


def test_a_gallery_is_opened_once_and_what_it_lacks_is_told(tmp_path: Path) -> None:
    gallery, said = save_pairs(tmp_path / "gallery", 120, 40), list[str]()
    (tmp_path / "gallery" / "0.png").write_text("no picture")
    tasks = [{"task": "image_retrieval", "name": name, "gallery": str(gallery)} for name in "ab"]
    recipe = Recipe.model_validate(
        {"data": "x", "evaluate": [{"data": str(save_pairs(tmp_path)), **one} for one in tasks]}
    )
    first, second = build_tasks(recipe.evaluate, recipe.data.columns, tell=said.append)
    assert isinstance(first, ImageRetrievalTask)
    assert isinstance(second, ImageRetrievalTask)
    assert first.gallery is second.gallery
    (line,) = said
    assert line.startswith("pairs.csv: 1 row cannot be searched in; the last:")


def test_wrong_captions_are_those_of_all_columns_of_negatives(tmp_path: Path) -> None:
    data = rows(tmp_path, "image,text,wrong,other,kind", "0.png,a,b,c,add", "1.png,d,e,f,swap")
    columns = {"negatives": ["wrong", "other"], "label": "kind"}
    task = build(data, task="image_caption_selection", columns=columns, language="de")
    assert isinstance(task, ImageCaptionSelectionTask)
    assert task.captions == [["a", "b", "c"], ["d", "e", "f"]]
    assert (list(task.subsets), task.ids, task.language) == (["add", "swap"], ["0", "1"], "de")
    data = rows(tmp_path, "image,text,negatives", "0.png,a,b", "1.png,d,e")
    assert build(data, task="image_caption_selection").captions == [["a", "b"], ["d", "e"]]
    data = rows(tmp_path, "image,text,negatives", "0.png,a,b", "1.png,d,")
    with pytest.raises(UserError, match=r"evaluate.0.data: row 1 of rows.csv lacks a wrong caption"):
        build(data, task="image_caption_selection")
    with pytest.raises(UserError, match=r'evaluate.0.columns.negatives: no column "wrogn" in rows.csv'):
        build(data, task="image_caption_selection", columns={"negatives": "wrogn"})
    data = rows(tmp_path, "image,text,negatives", "0.png,a,a")
    with pytest.raises(UserError, match=r"image_caption_selection: rows.csv: a wrong caption must differ"):
        build(data, task="image_caption_selection")


def test_without_wrong_captions_two_rows_of_a_group_are_an_example(tmp_path: Path) -> None:
    lines = ["0.png,a,x", "1.png,b,y", "2.png,c,x", "3.png,d,y"]
    task = build(rows(tmp_path, "image,text,group", *lines), task="image_caption_selection")
    assert isinstance(task, WinogroundTask)
    assert list(task.captions) == ["a", "c", "b", "d"]
    assert task.ids == ["0", "1"]
    direct = build(tmp_path / "rows.csv", task="retrieval")
    assert [one.tobytes() for one in task.images] == [direct.images[row].tobytes() for row in (0, 2, 1, 3)]
    data = rows(tmp_path, "image,text,group", *lines[:3])
    with pytest.raises(UserError, match=r"rows.csv has no column of wrong captions, and 1 of its 2 groups are not two"):
        build(data, task="image_caption_selection")


def test_robustness_is_zero_shot_classification_of_corrupted_pictures(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"templates": ["one {}"], "class_names": {"a": "alpha"}}
    task = build(save_pairs(tmp_path), task="robustness", corruptions=["fog"], name="mine", **settings)
    assert isinstance(task, RobustnessTask)
    assert (task.corruptions, task.dataset) == (("fog",), "mine")
    plain = build(save_pairs(tmp_path), task="zeroshot_classification", name="mine", **settings)
    for field in ("labels", "class_names", "templates", "groups", "ids"):
        assert getattr(task.zeroshot, field) == getattr(plain, field)
    with pytest.raises(ValueError, match="snow"):
        build(save_pairs(tmp_path), task="robustness", corruptions=["snow"])


def test_the_corruptions_of_a_recipe_are_those_there_are() -> None:
    assert get_args(Corruption) == tuple(CORRUPTIONS)


def test_health_is_of_what_the_rows_have(tmp_path: Path) -> None:
    task = build(save_pairs(tmp_path), task="representation_health")
    assert isinstance(task, RepresentationHealthTask)
    assert (len(task.images), len(task.captions), task.ids[2]) == (60, 60, "2")
    assert build(save_pairs(tmp_path), task="representation_health", columns={"text": False}).captions == ()


def test_only_what_needs_texts_asks_for_a_text_tower() -> None:
    tasks = ["image_retrieval", "representation_health", "robustness"]
    configs = Recipe.model_validate({"data": "x", "evaluate": tasks}).evaluate
    check_modalities(configs[:2], ["image"])
    check_modalities(configs[1:2], ["text"])
    with pytest.raises(UserError, match=r"evaluate.0: image_retrieval needs a model with an image tower"):
        check_modalities(configs, ["text"])
    with pytest.raises(UserError, match=r"evaluate.2: robustness needs a model with a text tower"):
        check_modalities(configs, ["image"])


def test_the_log_tells_their_accuracies_apart(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path)
    names = [{"task": "zeroshot_classification"}, {"task": "robustness", "corruptions": ["contrast"]}]
    tasks = [build(pairs, **name) for name in names]
    logged = headline_metrics(judge(ColourEmbedder(), tasks))
    assert {"pairs.csv/acc1", "pairs.csv/robustness/acc1"} <= logged.keys()
