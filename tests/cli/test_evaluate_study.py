"""Several models, and studies, on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mmcl.cli.main import main
from tests.studies import save_models
from tests.tiny import save_pairs

TASKS = ["-t", "retrieval", "-t", "zeroshot_classification"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return str(save_pairs(tmp_path / "data", num_rows=30, num_groups=20))


def test_several_models_stand_side_by_side_and_a_second_call_goes_on(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["evaluate", *models, f"untrained:{models[0]}", *TASKS, "-d", pairs, "-o", str(output)]
    assert main(command) == 0
    first = capsys.readouterr()
    assert re.search(rf"metric +{models[0]} +{models[1]} +untrained:{models[0]}", first.out)
    assert "6/6" in first.err
    assert len(list(output.glob("*/results/*.json"))) == 6
    assert main(command) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert "6/6" not in second.err


def test_a_study_is_judged_as_its_file_and_the_options_say(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "paper.yaml"
    study.write_text(
        f"models: {json.dumps(models)}\nevaluate: [retrieval, zeroshot_classification]\n"
        f"tasks: [zeroshot_classification]\ndata: {pairs}\noutput: {tmp_path / 'out'}\n"
    )
    other = tmp_path / "other"
    assert main(["evaluate", str(study), "--limit", "12", "--output", str(other), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [(result["task"], result["num_examples"], result["is_partial"]) for result in results] == [
        ("zeroshot_classification", 12, True)
    ] * 2
    assert not (tmp_path / "out").exists()
    assert (other / "report.html").is_file()


def test_a_dry_run_checks_all_and_judges_and_writes_nothing(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcl.study.open_model", lambda *_, **__: pytest.fail("weights were loaded"))
    output = tmp_path / "out"
    command = ["evaluate", *models, *TASKS, "-d", pairs, "-o", str(output), "--dry-run"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    for part in (
        "2 models",
        f"{models[0]}: image and text",
        "pairs.csv retrieval",
        "30 pictures, 4 results",
        "nothing",
    ):
        assert part in shown
    assert not output.exists()


def test_a_dry_run_tells_all_mistakes_at_once(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "paper.yaml"
    study.write_text(
        f"""models: [{models[0]}, "ViT-B-32,openia", {models[0]}x]
evaluate:
  - retrieval
  - {{task: zeroshot_classification, data: {pairs}, columns: {{label: colour}}}}
data: no/such.csv
output: {pairs}/out
"""
    )
    assert main(["evaluate", str(study), "--dry-run"]) == 2
    said = capsys.readouterr().err
    for part in (
        'Did you mean "openai"?',
        f"there is no folder {models[0]}x",
        "there is no no/such.csv",
        'no column "colour"',
        "output: cannot write",
    ):
        assert part in said
    assert "Traceback" not in said


def test_a_model_without_the_tower_is_named(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.eye(30, dtype=np.float32))
    assert main(["evaluate", models[0], str(tmp_path / "x.npy"), "-t", "retrieval", "-d", pairs]) == 2
    assert "x.npy: --task: retrieval needs a model with a text tower; this has none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "retrieval"], "--task does not go with a study"),
        (["b"], "is a study, which names its models; give it alone"),
        (["--suite", "quick"], "--suite does not go with a study"),
    ],
)
def test_what_does_not_go_with_a_study_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    study = tmp_path / "paper.yaml"
    study.write_text("models: [a]\ntasks: [retrieval]\ndata: x.csv\n")
    assert main(["evaluate", str(study), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_train_and_corpus_are_read_without_a_line_of_names_as_the_data_is(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "test"):
        path = save_pairs(tmp_path / name)
        path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    columns = ["--column-names", "image,text,group,label"]
    files = ["--train", str(tmp_path / "train/pairs.csv"), "--data", str(tmp_path / "test/pairs.csv")]
    assert main(["evaluate", models[0], "-t", "knn", *files, *columns, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["protocol"]["num_train_examples"] == 60
    (tmp_path / "texts.csv").write_text("alpha,beta\none,two\n")
    (tmp_path / "more.csv").write_text("black,knight\nwhite,arrow\n")
    given = ["--data", str(tmp_path / "texts.csv"), "--corpus", str(tmp_path / "more.csv"), "--column-names", "a,b"]
    command = ["evaluate", models[0], "-t", "text_retrieval", *given, "--text", "a", "--positive", "b", "--json"]
    assert main(command) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["protocol"]["num_documents"] == 4


def test_embeddings_are_kept_in_a_folder_of_ones_own(models: list[str], pairs: str, tmp_path: Path) -> None:
    command = ["evaluate", models[0], "-t", "retrieval", "-d", pairs, "--cache", str(tmp_path / "kept")]
    assert main(command) == 0
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert not (tmp_path / "out" / "cache").exists()


def test_after_ctrl_c_the_way_on_is_told(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.RetrievalTask.evaluate", stop)
    output = str(tmp_path / "out")
    assert main(["evaluate", *models, "-t", "retrieval", "-d", pairs, "-o", output]) == 130
    assert f"{output} keeps what was done, and the same command goes on" in capsys.readouterr().err


def test_what_the_others_reached_is_printed_before_what_one_could_not_do(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.eye(29, dtype=np.float32))
    assert main(["evaluate", models[0], str(tmp_path / "x.npy"), "-t", "clustering", "-d", pairs, "--json"]) == 2
    shown = capsys.readouterr()
    assert [result["model"] for result in json.loads(shown.out)] == [models[0]]
    assert "error: 1 of 2 results cannot be had:" in shown.err
    assert "has 29 pictures and pairs.csv 30 rows" in shown.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template", "a {}"], "--template is for zeroshot_classification, "),
        (["--class-names", "imagenet"], "--class-names is for zeroshot_classification, "),
        (["--train", "x.csv"], "--train is for knn, linear_probe, few_label, and would change nothing of retrieval"),
        (["--corpus", "x.csv"], "--corpus is for text_retrieval, and "),
        (["--baselines"], "--baselines is for knn, "),
    ],
)
def test_an_option_that_no_task_takes_is_refused(
    pairs: str, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["evaluate", "no/model", "-t", "retrieval", "-d", pairs, *options]) == 2
    assert message in capsys.readouterr().err


def test_several_labels_of_a_picture_are_cut_at_the_separator(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n}.png,{'red;wide' if n % 2 else 'red'}" for n in range(30)]
    tagged = Path(pairs).with_name("tagged.csv")
    tagged.write_text("\n".join(["image,tags", *rows]) + "\n")
    command = ["evaluate", models[0], "-t", "multilabel_zeroshot_classification", "-d", str(tagged), "--labels", "tags"]
    assert main(command) == 2
    assert '--separator: the labels of tagged.csv are one text, such as "red"' in capsys.readouterr().err
    assert main([*command, "--separator", ";", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert {name: one["support"] for name, one in result["per_class"].items()} == {"red": 30, "wide": 15}


def test_a_dry_run_sees_that_results_are_in_the_way(
    models: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "out")
    command = ["evaluate", *models, "-t", "clustering", "-d", pairs, "-o", output]
    assert main(command) == 0
    assert main([*command, "--limit", "20", "--dry-run"]) == 2
    assert f"{output} holds results on all rows; give another output for limit 20" in capsys.readouterr().err
    assert main(["evaluate", models[0], *command[3:], "--dry-run"]) == 2
    assert f"{output} already holds something; give another --output" in capsys.readouterr().err
