from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.errors import UserError
from mmcl.item_digests import Digests
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig
from mmcl.study import run_study
from mmcl.study_config import StudyConfig, study_of
from mmcl.study_tasks import TASKS, StudyTask, asked_tasks, different_pictures, open_study_tasks
from mmcl.training.judge import build_tasks
from tests.studies import ByColour
from tests.tiny import WORDS, save_pairs


def study(**keys: Any) -> StudyConfig:
    return study_of({"models": ["x"], **keys})


def test_tasks_of_a_study_come_before_those_of_its_suite_and_are_filtered_by_name() -> None:
    asked = asked_tasks(study(evaluate=["knn", "retrieval"], data="digits", suite="quick", tasks=["knn"]))
    assert [(place, config.task) for place, config in asked] == [
        ("evaluate.0", "knn"),
        ("suite quick: evaluate.5", "knn"),
    ]


def test_names_alone_are_tasks_on_the_data() -> None:
    ((place, config),) = asked_tasks(study(tasks=["retrieval"], data="glyphs"))
    assert (place, config.task, config.data.path) == ("tasks.0", "retrieval", "glyphs")


def test_the_lower_limit_holds_and_baselines_reach_every_task_that_has_them() -> None:
    own = {"task": "retrieval", "data": {"path": "glyphs", "limit": 5}}
    asked = asked_tasks(study(evaluate=[own, "knn"], data="digits", limit=7, baselines=True))
    assert [config.data.limit for _, config in asked] == [5, 7]
    assert asked[1][1].baselines is True


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tasks": ["retreival"], "data": "x"}, 'tasks: unknown task "retreival" .* Did you mean "retrieval"'),
        ({"evaluate": ["retrieval"]}, "evaluate.0: retrieval has no rows to judge on"),
        ({"tasks": ["knn"], "evaluate": ["retrieval"], "data": "x"}, "tasks: there is none of kind knn among"),
        ({"suite": "quik"}, 'no suite "quik"'),
        ({"evaluate": [{"task": "knn", "train": "x"}], "data": "x"}, "evaluate.0.train: these are the rows judged on"),
        ({"evaluate": [{"task": "image_retrieval", "gallery": "x"}], "data": "x"}, "evaluate.0.gallery: these are"),
    ],
)
def test_what_cannot_be_asked_for_is_said(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        asked_tasks(study(**keys))


def opened(asked: StudyConfig, problems: list[UserError]) -> Any:
    return open_study_tasks(asked, asked_tasks(asked), lambda line: None, problems)


def test_rows_that_several_tasks_name_are_opened_once(tmp_path: Path) -> None:
    pairs = str(save_pairs(tmp_path))
    problems: list[UserError] = []
    tasks = opened(study(evaluate=["retrieval", "zeroshot_classification"], data=pairs), problems)
    assert len(different_pictures(tasks)) == 1
    assert problems == []


def test_two_results_of_one_name_are_refused_and_other_mistakes_told_beside(tmp_path: Path) -> None:
    pairs = str(save_pairs(tmp_path))
    problems: list[UserError] = []
    evaluate = ["retrieval", {"task": "retrieval", "data": "no/such.csv"}, "retrieval"]
    assert len(opened(study(evaluate=evaluate, data=pairs), problems)) == 1
    first, second = map(str, problems)
    assert first.startswith("evaluate.1.data.path: there is no no/such.csv")
    assert second.startswith("evaluate.2: evaluate.0 is a task of kind retrieval on data of that name too")


def every_task(folder: Path) -> list[dict[str, Any]]:
    """One task of each kind, on small data."""
    pairs, train = str(save_pairs(folder / "data")), str(save_pairs(folder / "train"))
    selection = [f"data/{n}.png,{WORDS[n % 5]} one,{WORDS[n % 7]} two" for n in range(20)]
    (folder / "selection.csv").write_text("\n".join(["image,text,negatives", *selection]) + "\n")
    texts = [f"{WORDS[n % 5]} one,{WORDS[n % 7]} two,{n % 6},{n % 2},{WORDS[n % 3]} black" for n in range(24)]
    (folder / "texts.csv").write_text("\n".join(["text,positive,score,label,negatives", *texts]) + "\n")
    given: dict[str, dict[str, Any]] = {name: {"train": train} for name in ("knn", "linear_probe", "few_label")}
    given["multilabel_zeroshot_classification"] = {"separator": " ", "columns": {"labels": "text", "text": False}}
    given["image_caption_selection"] = {"data": str(folder / "selection.csv")}
    of_texts = ("sts", "pair_classification", "text_retrieval", "bitext_mining", "triplet_accuracy")
    given |= {name: {"data": str(folder / "texts.csv")} for name in of_texts}
    return [{"task": task, "data": pairs, **given.get(task, {})} for task in TASKS]


def test_every_kind_of_task_is_known_again(tmp_path: Path) -> None:
    """A new task whose fields cannot be told apart would be judged again by every call."""
    asked = study(evaluate=every_task(tmp_path), output=str(tmp_path / "out"))
    before = run_study(asked, [ByColour("x")])
    again = ByColour("x")
    assert run_study(asked, [again]) == before
    assert (again.num_pictures, again.num_texts) == (0, 0)
    assert len(before) == len(TASKS)


def test_sums_of_a_task_follow_its_rows_and_its_settings(tmp_path: Path) -> None:
    def sums(**fields: Any) -> dict[str, str]:
        task = {"task": "zeroshot_classification", "data": str(tmp_path / "pairs.csv"), **fields}
        (one,) = opened(study(evaluate=[task]), [])
        return Digests().of_fields(one.task)

    save_pairs(tmp_path)
    before = sums()
    assert sums() == before
    assert {name for name, value in sums(templates=["a {}"]).items() if value != before[name]} == {"templates"}
    text = (tmp_path / "pairs.csv").read_text().replace("digit\n", "one\n")
    (tmp_path / "pairs.csv").write_text(text)
    changed = {name for name, value in sums().items() if value != before[name]}
    assert changed <= {"labels", "class_names", "groups"}


@pytest.mark.parametrize("task", ["retrieval", "image_retrieval", "robustness"])
def test_the_pictures_that_a_task_encodes_are_known(tmp_path: Path, task: str) -> None:
    asked = {"task": task, "data": str(save_pairs(tmp_path))}
    (config,) = Recipe.model_validate({"data": "unused", "evaluate": [asked]}).evaluate
    (built,) = build_tasks([config], ColumnsConfig())
    (pictures,) = StudyTask("evaluate.0", config, built).pictures
    assert len(pictures) == 60
