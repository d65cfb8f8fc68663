from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation import (
    CachedEmbedder,
    FewLabelTask,
    KNNTask,
    LinearProbeTask,
    RetrievalTask,
    TaskResult,
    ZeroShotClassificationTask,
)
from mmcl.data.evaluation_rows import EvaluationRows, open_evaluation_rows, validation_rows
from mmcl.data.loader import build_train_data
from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.training.judge import (
    AnyBuiltTask,
    build_tasks,
    check_modalities,
    headline_metrics,
    training_rows,
)
from tests.evaluation.fakes import ColourEmbedder
from tests.tiny import save_pairs, tiny_recipe


def build(data: Path, *tasks: dict[str, Any]) -> list[AnyBuiltTask]:
    recipe = Recipe.model_validate({"data": "unused", "evaluate": [{"data": str(data), **task} for task in tasks]})
    return build_tasks(recipe.evaluate, recipe.data.columns)


def test_tasks_of_one_data_set_share_their_pictures(tmp_path: Path) -> None:
    first, second = build(save_pairs(tmp_path), {"task": "retrieval"}, {"task": "zeroshot_classification"})
    assert isinstance(first, RetrievalTask)
    assert isinstance(second, ZeroShotClassificationTask)
    assert first.images is second.images


@pytest.mark.parametrize("task", ["retrieval", "clustering", "representation_health"])
def test_results_are_of_the_language_that_texts_are_said_to_be(tmp_path: Path, task: str) -> None:
    (built,) = build(save_pairs(tmp_path), {"task": task, "language": "de"})
    assert built.evaluate(ColourEmbedder()).language == "de"


def test_two_tasks_of_one_name_are_refused_before_one_overwrites_the_other(tmp_path: Path) -> None:
    task = {"task": "zeroshot_classification", "templates": ["a {}"]}
    data = save_pairs(tmp_path)
    with pytest.raises(UserError, match=r'evaluate.1: two tasks .* are called "pairs.csv"'):
        build(data, task, {**task, "templates": ["one {}"]})
    assert len(build(data, task, {**task, "name": "other prompts"})) == 2


def test_a_picture_with_a_row_for_each_caption_is_no_rival_of_itself(tmp_path: Path) -> None:
    save_pairs(tmp_path, num_rows=3)
    lines = ["image,text,group", "0.png,a,x", "0.png,b,x", "1.png,c,y", "2.png,d,y"]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    (task,) = build(tmp_path / "captions.csv", {"task": "retrieval"})
    assert isinstance(task, RetrievalTask)
    assert list(task.picture_ids) == [0, 0, 1, 2]
    assert [(picture, task.texts[text]) for picture, text in task.own_texts] == [(0, "a"), (0, "b"), (1, "c"), (2, "d")]


def test_beside_prompts_of_classes_retrieval_is_of_the_rows_held_out_with_captions(tmp_path: Path) -> None:
    recipe, captioned = tiny_recipe(tmp_path), save_pairs(tmp_path / "captioned", 20, 20).with_name("two.csv")
    lines = [f"{row}.png,{caption} {row},g{row}" for row in range(20) for caption in ("alpha", "beta")]
    captioned.write_text("\n".join(["image,text,group", *lines]))
    train = [str(tmp_path / "data" / "pairs.csv"), {"path": str(captioned), "columns": {"text": "text"}}]
    data_fields = {"train": train, "validation": 0.4, "caption_templates": ["a {}"]}
    recipe = Recipe.model_validate(recipe.model_dump() | {"data": data_fields, "evaluate": ["retrieval"]})
    model = build_model(recipe.model, recipe.seed)
    rows = validation_rows(recipe, build_train_data(recipe, model.preprocessing, model.tokenizer))
    assert rows is not None
    with_captions = [row for row in rows.ids if row >= 60]
    assert 0 < len(with_captions) < len(rows)
    said: list[str] = []
    (task,) = build_tasks(recipe.evaluate, recipe.data.columns, validation=rows, tell=said.append)
    assert isinstance(task, RetrievalTask)
    assert len(task.images) == len(with_captions)
    # Two rows show each picture, which is no rival of itself.
    assert len(set(task.picture_ids)) == len(with_captions) // 2
    num_others = len(rows) - len(with_captions)
    assert said == [
        f"pairs.csv + two.csv: {num_others} rows held out have no text of their own; retrieval leaves them out"
    ]


def test_groups_that_are_the_classes_are_not_resampled_together(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path)
    task = {"task": "zeroshot_classification"}
    assert build(pairs, task)[0].groups is not None
    as_classes = {**task, "columns": {"group": "label", "label": "label"}}
    assert build(pairs, as_classes)[0].groups is None


def test_a_task_without_rows_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no rows to judge on, because data.validation is 0"):
        build_tasks(Recipe.model_validate({"data": "x"}).evaluate, ColumnsConfig())


def test_labels_are_needed_for_classification(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path)
    pairs.write_text("\n".join(line.rsplit(",", 1)[0] for line in pairs.read_text().splitlines()) + "\n")
    with pytest.raises(UserError, match=r"needs labels: pairs.csv has no label column"):
        build(pairs, {"task": "zeroshot_classification"})


def test_class_names_for_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'colour', which is no label of pairs.csv"):
        build(save_pairs(tmp_path), {"task": "zeroshot_classification", "class_names": {"colour": "hue"}})


def test_columns_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="columns are those of the task's own data"):
        Recipe.model_validate({"data": "x", "evaluate": [{"task": "retrieval", "columns": {"text": "t"}}]})


PROBES = pytest.mark.parametrize(
    ("task", "kind"), [("knn", KNNTask), ("linear_probe", LinearProbeTask), ("few_label", FewLabelTask)]
)


def rows_of(data: Path) -> EvaluationRows:
    return open_evaluation_rows(SourceConfig(path=str(data)), ColumnsConfig())


@PROBES
def test_a_task_that_learns_from_labels_gets_both_kinds_of_rows_and_its_settings(
    tmp_path: Path, task: str, kind: type[KNNTask | LinearProbeTask | FewLabelTask]
) -> None:
    settings = {
        "knn": {"k": 3, "temperature": 0.5},
        "linear_probe": {"c_grid": (1.0, 2.0), "validation_fraction": 0.3},
        "few_label": {"labels_per_class": (1, 4), "num_seeds": 2, "c": 3.0},
    }[task]
    train, data = save_pairs(tmp_path / "train", num_rows=50), save_pairs(tmp_path / "data", num_rows=45)
    (built,) = build(data, {"task": task, "train": str(train), "baselines": True, "name": "ours", **settings})
    assert isinstance(built, kind)
    assert (len(built.train_images), len(built.images)) == (50, 45)
    assert built.train_labels == rows_of(train).labels
    assert built.labels == rows_of(data).labels
    assert built.groups == rows_of(data).groups
    assert built.baselines
    assert built.dataset == "ours"
    assert {name: getattr(built, name) for name in settings} == settings


def test_tasks_that_learn_from_the_same_rows_share_both_kinds_of_pictures(tmp_path: Path) -> None:
    train, data = save_pairs(tmp_path / "train"), save_pairs(tmp_path / "data")
    tasks = [{"task": task, "train": str(train)} for task in ("knn", "linear_probe", "few_label")]
    built = build(data, *tasks, {"task": "zeroshot_classification"})
    assert len({id(task.images) for task in built}) == 1
    assert len({id(task.train_images) for task in built[:3]}) == 1  # type: ignore[union-attr]


def test_by_default_the_rows_of_the_run_are_learnt_from_and_those_held_out_judged_on(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, evaluate=["knn", "linear_probe", {"task": "few_label", "labels_per_class": [1]}])
    model = build_model(recipe.model, recipe.seed)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    validation = validation_rows(recipe, data)
    opened: list[EvaluationRows] = []

    def train() -> EvaluationRows:
        opened.append(training_rows(recipe, data))
        return opened[-1]

    tasks = build_tasks(recipe.evaluate, recipe.data.columns, validation=validation, train=train)
    (rows,) = opened
    assert validation is not None
    assert sorted(rows.ids + validation.ids) == list(range(60))
    assert not set(rows.groups) & set(validation.groups)
    assert len(rows.images) == len(rows.labels or ()) == len(rows.groups) == len(rows.ids)
    assert all(task.images is validation.images for task in tasks)
    assert all(task.train_images is rows.images for task in tasks)  # type: ignore[union-attr]
    first = rows.images[0]
    assert first.tobytes() == rows_of(Path(recipe.data.train.path)).images[rows.ids[0]].tobytes()


def test_of_several_sources_those_with_labels_teach_and_no_replay_does(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    more, old, bare = (save_pairs(tmp_path / name, 20, 20) for name in ("more", "old", "bare"))
    train = [
        str(tmp_path / "data" / "pairs.csv"),
        {"path": str(more), "weight": 1},
        {"path": str(old), "weight": 1, "replay": True},
        {"path": str(bare), "weight": 1, "columns": {"label": False}},
    ]
    fields = recipe.model_dump()
    recipe = Recipe.model_validate(fields | {"data": fields["data"] | {"train": train}})
    model = build_model(recipe.model, recipe.seed)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    rows = training_rows(recipe, data)
    assert rows.name == "pairs.csv + pairs.csv"
    held = set(data.held_out.tolist())
    assert rows.ids == [row for row in range(80) if row not in held]
    one, other = rows_of(tmp_path / "data" / "pairs.csv"), rows_of(more)
    assert rows.labels == [(one.labels + other.labels)[row] for row in rows.ids]
    first_of_more = next(index for index, row in enumerate(rows.ids) if row >= 60)
    assert rows.images[first_of_more].tobytes() == other.images[rows.ids[first_of_more] - 60].tobytes()


def test_every_training_row_is_learnt_from_where_validation_has_a_source_of_its_own(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    other = save_pairs(tmp_path / "other", num_rows=10)
    fields = recipe.data.model_dump(exclude_unset=True) | {"validation": str(other)}
    recipe = Recipe.model_validate(recipe.model_dump(exclude_unset=True) | {"data": fields})
    model = build_model(recipe.model, recipe.seed)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    assert training_rows(recipe, data).ids == list(range(60))


def test_rows_without_a_label_or_a_caption_teach_as_labels_allow(tmp_path: Path) -> None:
    train = save_pairs(tmp_path / "train", num_rows=20)
    lines = train.read_text().splitlines()
    unlabelled = [line.rsplit(",", 1)[0] + "," for line in lines[1:16]]
    bare = [",".join([line.split(",")[0], "", *line.split(",")[2:]]) for line in lines[16:]]
    train.write_text("\n".join([lines[0], *unlabelled, *bare]) + "\n")
    told: list[str] = []
    recipe = Recipe.model_validate(
        {
            "data": "unused",
            "evaluate": [{"task": "knn", "train": str(train), "data": str(save_pairs(tmp_path / "data"))}],
        }
    )
    (task,) = build_tasks(recipe.evaluate, recipe.data.columns, tell=told.append)
    assert isinstance(task, KNNTask)
    assert len(task.train_images) == len(task.train_labels) == 5
    assert told == ["pairs.csv: 15 rows cannot be learnt from; the last: the label is missing"]


@PROBES
def test_mistakes_are_of_the_user(tmp_path: Path, task: str, kind: type[object]) -> None:
    data, train = save_pairs(tmp_path / "data"), save_pairs(tmp_path / "train")
    with pytest.raises(UserError, match=rf"evaluate.0.train: {task} learns from labelled rows; say which"):
        build(data, {"task": task})
    train.write_text("\n".join(line.replace("alpha", "omega") for line in train.read_text().splitlines()[:2]) + "\n")
    with pytest.raises(UserError, match=f"{task}: pairs.csv: training pictures of at least two classes needed"):
        build(data, {"task": task, "train": str(train)})
    train.write_text("\n".join(line.rsplit(",", 1)[0] for line in train.read_text().splitlines()) + "\n")
    with pytest.raises(UserError, match=f"{task} needs labels: pairs.csv has no label column"):
        build(data, {"task": task, "train": str(train)})


def test_the_log_tells_the_accuracies_of_several_tasks_apart(tmp_path: Path) -> None:
    train, data = save_pairs(tmp_path / "train"), save_pairs(tmp_path / "data")
    tasks = [{"task": task, "train": str(train)} for task in ("knn", "linear_probe", "few_label")]
    embedder = CachedEmbedder(ColourEmbedder())
    results: list[TaskResult] = [
        task.evaluate(embedder) for task in build(data, *tasks, {"task": "zeroshot_classification"})
    ]
    logged = headline_metrics(results)
    assert logged["pairs.csv/knn/acc1"] == results[0].metrics["acc1"]
    assert logged["pairs.csv/linear_probe/acc1"] == results[1].metrics["acc1"]
    assert logged["pairs.csv/few_label/acc1@5_labels"] == results[2].metrics["acc1@5_labels"]
    assert logged["pairs.csv/acc1"] == results[3].metrics["acc1"]
    assert len(logged) == sum(len(result.headline) for result in results)


@pytest.mark.parametrize(("modalities", "task"), [(["image"], "retrieval"), (["text"], "knn")])
def test_a_task_that_the_model_cannot_do_is_refused(modalities: list[str], task: str) -> None:
    configs = Recipe.model_validate({"data": "x", "evaluate": [task]}).evaluate
    check_modalities(configs, ["image", "text"])
    missing = "text" if modalities == ["image"] else "image"
    with pytest.raises(UserError, match=rf"evaluate.0: {task} needs a model with an? {missing} tower; this has none"):
        check_modalities(configs, modalities)


def test_examples_are_known_by_their_positions_in_the_source(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path, 100, 100)
    lines = pairs.read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 1)[0] + ","  # row 2 has no label
    pairs.write_text("\n".join(lines) + "\n")
    train = {"train": str(save_pairs(tmp_path / "train"))}
    names = ("retrieval", "zeroshot_classification", "knn", "linear_probe", "few_label")
    tasks = build(pairs, *({"task": name, **(train if number > 1 else {})} for number, name in enumerate(names)))
    expected = [str(row) for row in range(100) if row != 2]
    assert [task.ids for task in tasks] == [expected] * 5
    assert isinstance(tasks[0], RetrievalTask)
    assert tasks[0].text_ids == [f"{row}.0" for row in expected]
