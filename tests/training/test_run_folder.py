from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.errors import UserError
from mmcl.training.run_folder import RunFolder, new_run_folder, newest_run_folder, run_folder_at


def test_the_next_run_of_a_name_gets_a_number(tmp_path: Path) -> None:
    assert [new_run_folder(tmp_path, "products").path.name for _ in range(3)] == [
        "products",
        "products-2",
        "products-3",
    ]


def test_a_folder_that_holds_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("data: x")
    with pytest.raises(UserError, match="already holds another run"):
        run_folder_at(tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == "data: x"


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(UserError, match="already holds something else"):
        run_folder_at(tmp_path)
    with pytest.raises(UserError, match="already holds something else"):
        run_folder_at(tmp_path / "thesis.tex")


def test_an_empty_or_missing_folder_is_taken(tmp_path: Path) -> None:
    assert run_folder_at(tmp_path).path == tmp_path
    assert run_folder_at(tmp_path / "a" / "b").path.is_dir()


def test_the_newest_run_is_found_by_number(tmp_path: Path) -> None:
    for name in ("run", "run-2", "run-10", "run-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").touch()
    (tmp_path / "run-11").mkdir()
    assert newest_run_folder(tmp_path, "run").path.name == "run-10"
    with pytest.raises(UserError, match="nothing to resume"):
        newest_run_folder(tmp_path, "absent")


def test_metrics_after_a_step_are_forgotten_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append_metrics({"step": step, "loss": 0.5})
    with folder.metrics.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [record["step"] for record in folder.read_metrics()] == [1, 2, 3]
    folder.forget_metrics_after(2)
    assert [record["step"] for record in folder.read_metrics()] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_metric_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunFolder(tmp_path).append_metrics({"step": 1, "loss": float("nan")})
