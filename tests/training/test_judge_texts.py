"""From rows and a recipe's words to tasks of texts."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import (
    BitextMiningTask,
    PairClassificationTask,
    STSTask,
    TextRetrievalTask,
    TripletAccuracyTask,
)
from mmcl.data.text_rows import TextRows
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig
from mmcl.recipe_tasks import STSConfig
from mmcl.training.judge import build_tasks, check_modalities
from mmcl.training.judge_texts import NEEDS, TextTask, build_text_task
from tests.evaluation.fakes import AngleEmbedder
from tests.processes import run_processes
from tests.tiny import WORDS, bert_alone, save_tokenizer

LINES = ("anchor,positive,n1,n2,score,label,group", "a 0,p 1,n 9,m 8,5,1,g", "b 1,q 2,n 9,,2,0,g", "a 0,p 1,o 7,,,1,h")


def build(folder: Path, task: str, **fields: Any) -> TextTask:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("\n".join(LINES) + "\n")
    columns = {"anchor": "anchor", "negatives": ["n1", "n2"]}
    config = {"task": task, "data": str(folder / "rows.csv"), "columns": columns, **fields}
    recipe = Recipe.model_validate({"data": "unused", "evaluate": [config]})
    (built,) = build_tasks(recipe.evaluate, recipe.data.columns)
    assert not hasattr(built, "images")
    return built  # type: ignore[return-value]


def test_sts_has_the_scores_and_leaves_the_missing_ones_to_be_counted(tmp_path: Path) -> None:
    task = build(tmp_path, "sts", baselines=True, language="de", name="ours")
    assert isinstance(task, STSTask)
    assert (list(task.first), list(task.second)) == (["a 0", "b 1", "a 0"], ["p 1", "q 2", "p 1"])
    assert task.scores == [5, 2, None]
    assert (task.dataset, task.split, task.language, task.baselines) == ("ours", "train", "de", True)
    assert task.groups is not None
    assert len(set(task.groups)) == 2


def test_pairs_have_the_truth_of_their_labels(tmp_path: Path) -> None:
    task = build(tmp_path, "pair_classification")
    assert isinstance(task, PairClassificationTask)
    assert list(task.labels) == [True, False, True]


def test_labels_that_are_no_truths_are_refused() -> None:
    rows = TextRows("nli.csv", "test", [["a"]], [["b"]], [[]], [], ["neutral"], [0], [0])
    config = Recipe.model_validate({"data": "x", "evaluate": ["pair_classification"]}).evaluate[0]
    with pytest.raises(UserError, match=r'evaluate.0.columns.label: .* true or false, got "neutral" in nli.csv'):
        build_text_task(config, rows, "nli", ColumnsConfig())  # type: ignore[arg-type]


def test_queries_find_the_positives_of_their_group_among_all_positives_negatives_and_more(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("z 3\nq 2\n")
    task = build(tmp_path, "text_retrieval", corpus=str(tmp_path / "more.txt"))
    assert isinstance(task, TextRetrievalTask)
    assert sorted(task.corpus.values()) == ["m 8", "n 9", "o 7", "p 1", "q 2", "z 3"]
    found = {
        (text, frozenset(task.corpus[name] for name in task.relevance[query])) for query, text in task.queries.items()
    }
    both = frozenset({"p 1", "q 2"})
    assert found == {("a 0", both), ("b 1", both), ("a 0", frozenset({"p 1"}))}
    assert task.groups is not None
    assert len(task.groups) == 3
    assert len(set(task.groups)) == 2


def test_translations_are_anchors_and_positives(tmp_path: Path) -> None:
    task = build(tmp_path, "bitext_mining")
    assert isinstance(task, BitextMiningTask)
    assert (task.first[1], task.second[1]) == ("b 1", "q 2")


def test_each_hard_negative_makes_a_triplet_of_its_row(tmp_path: Path) -> None:
    task = build(tmp_path, "triplet_accuracy")
    assert isinstance(task, TripletAccuracyTask)
    triplets = list(zip(task.anchors, task.positives, task.negatives, strict=True))
    assert triplets == [("a 0", "p 1", "n 9"), ("a 0", "p 1", "m 8"), ("b 1", "q 2", "n 9"), ("a 0", "p 1", "o 7")]


@pytest.mark.parametrize("task", NEEDS)
def test_every_task_is_judged_by_texts_alone(tmp_path: Path, task: str) -> None:
    result = build(tmp_path, task).evaluate(AngleEmbedder())
    assert result.task == task
    configs = Recipe.model_validate({"data": "x", "evaluate": [task]}).evaluate
    check_modalities(configs, ["text"])
    with pytest.raises(UserError, match=f"evaluate.0: {task} needs a model with a text tower; this has none"):
        check_modalities(configs, ["image"])


def test_a_mistake_in_the_rows_is_of_the_user(tmp_path: Path) -> None:
    rows = TextRows("x.csv", "test", [["a"], ["b"]], [["c"], ["c"]], [], [], [], [0, 1], [0, 1])
    config = Recipe.model_validate({"data": "x", "evaluate": ["bitext_mining"]}).evaluate[0]
    with pytest.raises(UserError, match="bitext_mining: x: second needs two different sentences"):
        build_text_task(config, rows, "x", ColumnsConfig())  # type: ignore[arg-type]


def test_without_held_out_rows_a_task_needs_data_of_its_own() -> None:
    configs = Recipe.model_validate({"data": "x", "evaluate": ["sts"]}).evaluate
    with pytest.raises(UserError, match=r"evaluate.sts: no rows to judge on, because data.validation is 0"):
        build_tasks(configs, ColumnsConfig())
    rows = TextRows("held", "validation", [["a 1"], ["b 2"]], [["c 1"], ["d 9"]], [], [1, 2], [], [0, 1], [4, 7])
    (task,) = build_tasks(configs, ColumnsConfig(), validation_texts=lambda needs: rows)
    assert isinstance(task, STSTask)
    assert (task.dataset, task.split) == ("held", "validation")


def test_two_processes_share_the_texts_and_find_what_one_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{' '.join(rng.choice(WORDS, 3))},{' '.join(rng.choice(WORDS, 4))},{row % 5}" for row in range(30)]
    (tmp_path / "pairs.csv").write_text("\n".join(["anchor,positive,score", *lines]))
    model = bert_alone(save_tokenizer(tmp_path / "tokenizer"))
    tasks = [{"task": task, "data": str(tmp_path / "pairs.csv")} for task in ("sts", "text_retrieval", "bitext_mining")]
    recipe = Recipe.model_validate({"model": model.model_dump(), "data": "unused", "evaluate": tasks})
    alone, *others = (
        found for size in (1, 2) for found in run_processes("judged_texts", size, tmp_path / str(size), recipe=recipe)
    )
    assert sum(found["num_encoded"] for found in others) == alone["num_encoded"]
    assert all(found["num_encoded"] >= alone["num_encoded"] / 3 for found in others)
    for found in others:
        assert found["metrics"] == alone["metrics"]


def test_defaults_are_those_of_the_evaluation_package() -> None:
    defaults = inspect.signature(STSTask).parameters
    for name in ("language", "baselines"):
        assert STSConfig.model_fields[name].default == defaults[name].default


@pytest.mark.parametrize(
    ("task", "ids"),
    [
        ("sts", ["0", "1"]),
        ("pair_classification", ["0", "1", "2"]),
        ("bitext_mining", ["0", "1", "2"]),
        ("text_retrieval", ["0.0", "1.0", "2.0"]),
        ("triplet_accuracy", ["0.0", "0.1", "1.0", "2.0"]),
    ],
)
def test_examples_are_known_by_their_positions_in_the_source(tmp_path: Path, task: str, ids: list[str]) -> None:
    assert build(tmp_path, task).evaluate(AngleEmbedder()).examples["id"].tolist() == ids
