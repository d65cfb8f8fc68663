"""Suites: the packaged ones, and a user's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluation import CachedEmbedder
from mmcl.data.benchmark_sets import CLASSIFICATION, RETRIEVAL, set_name
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig
from mmcl.recipe_tasks import MultiLabelZeroShotConfig, ZeroShotClassificationConfig
from mmcl.suites import list_suites, load_suite, suite_names
from mmcl.training.judge import build_tasks
from tests.evaluation.fakes import ColourEmbedder

MORE_THAN_CLIP_BENCHMARK_JUDGES = {"imagenet-o", "vtab/dsprites_label_y_position"}


@pytest.mark.parametrize("name", suite_names())
def test_every_task_of_a_suite_has_data_that_can_be_found(name: str) -> None:
    suite = load_suite(name)
    assert suite.description
    assert len({(task.task, task.name or task.data.path) for task in suite.evaluate}) == len(suite.evaluate)
    for task in suite.evaluate:
        assert task.data is not None
        if task.data.path.startswith("wds/"):
            assert set_name(task.data.path)
        elif task.data.path not in ("glyphs", "digits"):
            assert re.fullmatch("[0-9a-f]{40}", task.data.revision or "")


def test_the_packaged_suites() -> None:
    assert [suite.name for suite in list_suites()] == [
        "clip-benchmark",
        "quick",
        "retrieval",
        "robustness",
        "sentences",
    ]


def test_clip_benchmark_is_what_it_judges_itself() -> None:
    collections = pytest.importorskip("clip_benchmark.datasets.builder").dataset_collection
    tasks = load_suite("clip-benchmark").evaluate
    named = {set_name(task.data.path) for task in tasks if isinstance(task, ZeroShotClassificationConfig)}
    assert named == set(CLASSIFICATION) - MORE_THAN_CLIP_BENCHMARK_JUDGES
    several = {set_name(task.data.path) for task in tasks if isinstance(task, MultiLabelZeroShotConfig)}
    assert named | several == set(collections["vtab+"])
    captioned = {set_name(task.data.path) for task in tasks if task.task == "retrieval"}
    assert captioned == set(RETRIEVAL) == set(collections["retrieval"])
    shifted = {set_name(task.data.path) for task in load_suite("robustness").evaluate if task.task != "robustness"}
    assert shifted == {*collections["imagenet_robustness"], "imagenet1k"}


@pytest.mark.slow
def test_quick_needs_no_download_and_encodes_every_picture_once() -> None:
    suite = load_suite("quick")
    few = [task.model_copy(update={"data": task.data.model_copy(update={"limit": 40})}) for task in suite.evaluate]
    tasks = build_tasks(few, ColumnsConfig())
    embedder = ColourEmbedder()
    cached = CachedEmbedder(embedder)
    results = [task.evaluate(cached) for task in tasks]
    assert [(result.dataset, result.task) for result in results] == [(one.name, one.task) for one in suite.evaluate]
    # Unseen characters, the unseen face, the digits judged on, and those learnt from.
    assert embedder.num_images == 3 * 40 + 1347


def test_a_suite_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("description: Mine\nevaluate:\n  - {task: retrieval, data: products.csv}\n")
    suite = load_suite(str(file))
    assert (suite.name, suite.description) == (str(file), "Mine")
    assert [(task.task, task.data.path) for task in suite.evaluate if task.data] == [("retrieval", "products.csv")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evaluate: [knn]", r"mine.yaml:1 evaluate.0: knn needs data of its own in a suite"),
        ("evaluate: []", r"mine.yaml:1 evaluate: must have at least one task"),
        ("evaluate: [{task: knm, data: x}]", r'mine.yaml:1 evaluate.0: unknown name "knm" .*Did you mean "knn"'),
        ("evaluate: [{task: knn, dat: x}]", r'evaluate.0.dat: unknown key.*Did you mean "data"'),
        ("model: x\nevaluate: [{task: knn, data: x}]", r"mine.yaml:1 model: unknown key; a suite has description and"),
        ("- knn", r"mine.yaml: a suite is a list of tasks, as evaluate: \[...\]"),
        ("", r"mine.yaml: a suite is a list of tasks"),
    ],
)
def test_a_mistake_in_a_suite_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_suite(str(tmp_path / "mine.yaml"))


def test_an_unknown_suite_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'no suite "clip_benchmark": packaged are .*Did you mean "clip-benchmark"'):
        load_suite("clip_benchmark")
    with pytest.raises(UserError, match=r"cannot read .*none.yaml: No such file"):
        load_suite("none.yaml")
