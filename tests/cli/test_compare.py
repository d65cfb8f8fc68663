"""``mmcl compare``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mmcl.cli.main import main
from tests.evaluation.compared import judged


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three models on two data sets: the first is better than the others, which are alike."""
    for seed, (model, accuracy) in enumerate({"first": 0.9, "second": 0.6, "third": 0.6}.items()):
        for dataset in ("photos", "digits"):
            result = judged(model, accuracy, seed=seed, dataset=dataset, pretrained="openai")
            result.write(tmp_path / "study" / model / "results" / f"{dataset}-knn.json")
    return tmp_path / "study"


def test_what_is_not_told_apart_is_said(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(study)]) == 0
    shown = capsys.readouterr().out
    for line in (
        "photos knn acc1: 1 of 3 pairs not told apart (Holm): second and third",
        "mean over 2 knn acc1: 1 of 3 pairs not told apart (Holm): second and third",
    ):
        assert line in shown


def test_tables_are_written(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / "tables" / f"table.{name}" for name in ("latex", "markdown", "csv")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["compare", str(study), *options]) == 0
    assert r"\toprule" in files["latex"].read_text()
    assert "| first | **" in files["markdown"].read_text()
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert {(row["model"], row["dataset"]) for row in rows} == {
        (model, dataset) for model in ("first", "second", "third") for dataset in ("photos", "digits")
    }


def test_json_holds_all_pairs_of_the_tasks_and_data_sets_asked_for(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(study), "--dataset", "photos", "--task", "knn", "--metric", "acc1", "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    (one,) = record["by_dataset"]
    assert one["datasets"] == ["photos"]
    assert len(one["pairs"]) == 3
    assert record["means"] == []


def test_published_results_stand_beside(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = tmp_path / "benchmark.csv"
    published.write_text("acc1,dataset,model,pretrained,task\n0.5,photos,first,openai,knn\n")
    assert main(["compare", str(study), "--published", str(published)]) == 0
    assert "published" in capsys.readouterr().out.splitlines()[-2]
    assert main(["compare", str(study), "--published", str(published), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["published"]
    assert (one["dataset"], one["model"], one["published"]) == ("photos", "first,openai", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: no such file or folder"),
        (
            ["study", "--dataset", "photo"],
            '--dataset: no result of "photo" (there: digits, photos). Did you mean "photos"?',
        ),
        (["study", "--task", "kn"], '--task: no result of "kn" (there: knn). Did you mean "knn"?'),
        (["study", "--metric", "acc"], 'no result has a metric "acc" (known: acc1, ties)'),
        (["study", "--published", "none.csv"], "none.csv: "),
        (["study", "--csv", "study"], "cannot write study: "),
        (["study/first", "other"], "precision bf16, not fp32"),
    ],
)
def test_mistakes_are_one_message(
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(study.parent)
    judged("other", 0.5, precision="bf16").write(Path("other/r.json"))
    if arguments[-1] == "other":
        judged("first", 0.5, precision="fp32").write(Path("study/first/results/photos-knn.json"))
    assert main(["compare", *arguments]) == 2
    assert message in capsys.readouterr().err
