"""``mmcl train`` from the command line: small likenesses of recipes, and what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation import TaskResult
from mmcl.cli.main import main
from mmcl.cli.train import format_plan, format_run
from mmcl.training.plan import GroupPlan, Plan
from mmcl.training.run import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


COLUMNS = "{image: image_path, text: title, group: product_id, label: category, negatives: false}"


@pytest.mark.parametrize(
    "text",
    [
        f"data: {{train: products.csv, columns: {COLUMNS}}}",
        f"data: {{train: {{path: products.csv, delimiter: ;}}, validation: held.csv, columns: {COLUMNS}}}",
        f"base: vision/simclr\nobjectives: [cross_entropy]\ndata: {{train: products.csv, columns: {COLUMNS}}}",
        f"base: quickstart\ndata: {{train: products.csv, columns: {COLUMNS}}}",
        "data: {columns: {text: title}}",
    ],
)
def test_a_recipe_with_columns_of_its_own_can_be_tried_small(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "products.yaml").write_text(text)
    code = main(["train", "products.yaml", "--smoke", "--dry-run"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "256 rows of glyphs" in printed.out


def test_a_smaller_recipe_on_digits_keeps_its_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("base: vision/simclr\nobjectives: [supcon]\ndata: {validation: held.csv}")
    assert main(["train", "mine.yaml", "--smoke", "--dry-run"]) == 0
    assert "256 rows of digits   image <- image   label <- label" in capsys.readouterr().out


def test_mistakes_of_the_data_section_are_told_before_anything_is_tried(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.yaml").write_text("data: {train: x.csv, columns: {txt: a}}")
    assert main(["train", "mine.yaml", "--smoke"]) == 2
    assert capsys.readouterr().err == 'error: mine.yaml:1 data.columns.txt: unknown key. Did you mean "text"?\n'


def plan(**given: Any) -> Plan:
    """A plan with what a test does not care about filled in."""
    fields: dict[str, Any] = {
        "num_parameters": 1500,
        "num_trained": 1400,
        "num_training_parameters": 0,
        "num_training_trained": 0,
        "groups": (GroupPlan("decay", 1400, 0.001, 0.1),),
        "num_rows": 60,
        "num_groups": 40,
        "steps_per_epoch": 7,
        "num_steps": 21,
        "optimizer": "adamw",
        "batch_size": 8,
        "micro_batch_size": None,
        "fitting": None,
        "num_processes": 1,
        "num_negatives": {"clip": 7},
        "first_loss": 2.1,
        "chance": 2.079,
        "device": "cpu",
        "precision": "fp32",
        "attention": {"CLIPModel": "sdpa"},
        "peak_memory_gib": 0.5,
        "seconds_per_step": 0.1,
        "tasks": (),
        "guard": (),
        "remarks": (),
        "objectives": ("clip",),
        "chosen": None,
        "warnings": (),
    }
    return Plan(**{**fields, **given})


def line_of(plan: Plan, word: str) -> str | None:
    return next((line for line in format_plan(plan).splitlines() if line.startswith(word)), None)


def test_a_plan_tells_parameters_of_training_apart_where_there_are_any() -> None:
    assert line_of(plan(), "model") == "model       1,500 parameters, 1,400 trained"
    assert line_of(plan(), "objectives") is None
    found = line_of(plan(num_training_parameters=3000, num_training_trained=200), "objectives")
    assert found == "objectives  3,000 parameters, 200 trained, for training alone"


@pytest.mark.parametrize(
    ("attention", "said"),
    [
        ({"ViTModel": "sdpa", "BertModel": "sdpa"}, "attention   sdpa"),
        (
            {"ViTModel": "sdpa", "MPNetModel": "eager"},
            "attention   sdpa, eager in MPNetModel, for which transformers has no faster one",
        ),
        ({}, None),
    ],
)
def test_a_plan_says_which_attention_is_used(attention: dict[str, str], said: str | None) -> None:
    assert line_of(plan(attention=attention), "attention") == said


def test_a_plan_says_how_a_micro_batch_was_found() -> None:
    assert "micro_batch_size" not in format_plan(plan(micro_batch_size=4))
    lines = format_plan(plan(micro_batch_size=4, fitting="micro_batch_size: auto takes 4")).splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith("batch"))
    assert lines[number] == "batch       8 = 2 x 4 cached, exact, up to 7 negatives per anchor"
    assert lines[number + 1] == "            micro_batch_size: auto takes 4"


@pytest.mark.parametrize(
    ("num_negatives", "said"),
    [
        ({"clip": 7}, "up to 7 negatives per anchor"),
        ({"moco": 65536}, "up to 65,536 negatives per anchor"),
        ({"byol": None}, "no negatives"),
        ({"clip": 7, "simclr": 1024}, "up to 7 (clip), 1,024 (simclr) negatives per anchor"),
        ({"clip": 7, "byol": None, "swav": None}, "up to 7 (clip) negatives per anchor, none (byol, swav)"),
        ({"byol": None, "swav": None}, "no negatives"),
    ],
)
def test_a_plan_says_how_many_negatives_an_anchor_has(num_negatives: dict[str, int | None], said: str) -> None:
    assert line_of(plan(num_negatives=num_negatives), "batch") == f"batch       8, {said}"


def test_what_a_reader_of_the_numbers_should_know_stands_below_them(folder: Path) -> None:
    notes = ("Raw pixels by the same protocol: acc1 40.0.",)
    result = TaskResult("digits", "mine", "knn", {"acc1": 0.5}, 10, headline=("acc1",), notes=notes)
    assert f"digits knn: {notes[0]}" in format_run(Run(folder, (result,))).splitlines()
