from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmcl.cli.main import main
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.training.run import Run, run_recipe
from tests.data.builders import class_samples, write_benchmark
from tests.tiny import WORDS, bert_alone, save_pairs, save_tokenizer, tiny_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tiny_recipe(tmp_path_factory.mktemp("run"), evaluate=["retrieval"]))


def test_a_run_folder_is_judged_on_data_of_ones_own(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = save_pairs(tmp_path / "data", num_rows=30, num_groups=20)
    tasks = ["--task", "retrieval", "--task", "zeroshot_classification", "--template", "a {}"]
    assert main(["evaluate", str(run.path), *tasks, "--data", str(pairs), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["task"] for result in results] == ["retrieval", "zeroshot_classification"]
    assert all(result["num_examples"] == 30 for result in results)
    assert 0 <= results[0]["metrics"]["text_retrieval_recall@1"] <= 1


def test_labels_are_learnt_from_where_train_says_so(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, data = (str(save_pairs(tmp_path / name, num_rows=45)) for name in ("train", "data"))
    tasks = ["--task", "knn", "--task", "linear_probe", "--task", "few_label", "--baselines"]
    assert main(["evaluate", str(run.path), *tasks, "--train", train, "--data", data]) == 0
    shown = capsys.readouterr().out
    for part in ("acc1@5_labels", "mean_per_class_recall", "pairs.csv knn: Raw pixels by the same protocol: acc1"):
        assert part in shown


def test_the_model_folder_and_the_run_give_the_same_numbers(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(save_pairs(tmp_path / "data"))
    found = []
    for model in (run.path, run.model):
        assert main(["evaluate", str(model), "-t", "retrieval", "-d", pairs, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)[0]["metrics"])
    assert found[0] == found[1]


def test_results_and_report_are_written_and_never_over_others(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, output = str(save_pairs(tmp_path / "data")), tmp_path / "results"
    command = ["evaluate", str(run.path), "-t", "retrieval", "-d", pairs, "--output", str(output)]
    assert main(command) == 0
    assert str(output / "report.html") in capsys.readouterr().out
    report = (output / "report.html").read_bytes()
    written = sorted(path.name for path in (output / "results").iterdir())
    assert written == ["pairs.csv-retrieval.json", "pairs.csv-retrieval.parquet"]
    assert main(command) == 2
    assert "already holds something" in capsys.readouterr().err
    assert (output / "report.html").read_bytes() == report


def test_an_open_clip_name_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights cannot be fetched here, so the mistake is the test: it is one line that says what is allowed."""
    pairs = str(save_pairs(tmp_path / "data"))
    assert main(["evaluate", "ViT-B-32,openia", "-t", "retrieval", "-d", pairs]) == 2
    assert 'Did you mean "openai"?' in capsys.readouterr().err


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    model = build_model(bert_alone(save_tokenizer(folder / "tokenizer")))
    export_model(model, folder / "model", ModelCardFacts("texts"))
    return str(folder / "model")


def save_graded(folder: Path) -> str:
    """Pairs with scores, hard negatives and labels, in a file without a line of names."""
    lines = [f"{WORDS[n % 5]} one,{WORDS[n % 7]} two,{n % 6},{WORDS[n % 3]} black,{n % 2}\n" for n in range(24)]
    (folder / "pairs.csv").write_text("".join(lines))
    return str(folder / "pairs.csv")


GRADED = ["--column-names", "a,b,s,n,y", "--text", "a", "--positive", "b"]


def test_a_model_of_texts_is_judged_by_every_task_of_texts(
    text_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more.txt").write_text("a white knight\nno arrow\n")
    tasks = ("sts", "pair_classification", "text_retrieval", "bitext_mining", "triplet_accuracy")
    asked = [part for task in tasks for part in ("-t", task)]
    options = ["--score", "s", "--negatives", "n", "--label", "y", "--corpus", str(tmp_path / "more.txt")]
    data = ["--data", save_graded(tmp_path), *GRADED]
    assert main(["evaluate", text_model, *asked, *data, *options, "--baselines", "--language", "de", "--json"]) == 0
    results = {result["task"]: result for result in json.loads(capsys.readouterr().out)}
    assert tuple(results) == tasks
    assert "bag_of_words/cosine_spearman" in results["sts"]["metrics"]
    assert results["text_retrieval"]["protocol"]["num_documents"] == 7 + 3 + 2
    assert {result["language"] for result in results.values()} == {"de"}
    assert results["triplet_accuracy"]["num_examples"] == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-t", "sts"], 'sts needs scores, and pairs.csv has no column "score" .* as --score: NAME'),
        (["-t", "sts", "--score", "q"], '--score: no column "q" in pairs.csv'),
        (["-t", "triplet_accuracy", "--negatives", "m"], '--negatives: no column "m" in pairs.csv'),
        (["-t", "pair_classification", "--label", "s"], '--label: the label of a pair must be 1 or 0, .* got "2"'),
        (["-t", "text_retrieval", "--corpus", "no/such.csv"], "--corpus: there is no no/such.csv"),
        (["-t", "sts", "--column-names", "a,a"], "--column-names: must be names, one for each column, all different"),
        (
            ["-t", "sts", "--column-names", "a,b"],
            "--column-names: 2 names .*, and the first row of pairs.csv has 5 fields",
        ),
        (["-t", "retrieval"], "--task: retrieval needs a model with an image tower"),
    ],
)
def test_a_mistake_in_what_texts_are_judged_by_is_one_message(
    text_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["evaluate", text_model, "--data", save_graded(tmp_path), *GRADED, *arguments]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    assert re.search(message, captured)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-t", "retreival"], 'unknown task "retreival" .* Did you mean "retrieval"'),
        (["-t", "zeroshot_classification", "--label", "colour"], 'no column "colour"'),
        (["-t", "retrieval", "--text", "image_path"], '--text: no column "image_path"'),
        (["-t", "retrieval", "--delimiter", ";"], "--delimiter"),
        (["-t", "knn"], "--train: knn learns from labelled rows; say which"),
        (["-t", "knn", "--train", "no/such.csv"], "--train: there is no no/such.csv"),
    ],
)
def test_a_mistake_is_one_message(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    pairs = str(save_pairs(tmp_path / "data"))
    assert main(["evaluate", str(run.path), "-d", pairs, *arguments]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    assert re.search(message, captured)


def test_a_mistake_in_the_split_of_what_is_learnt_from_names_its_option(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(save_pairs(tmp_path / "data"))
    command = ["evaluate", str(run.path), "-t", "knn", "-d", pairs, "--train", pairs, "--train-split", "x"]
    assert main(command) == 2
    assert "error: --train-split: " in capsys.readouterr().err


def test_the_rows_learnt_from_are_not_those_judged_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(save_pairs(tmp_path / "data"))
    assert main(["evaluate", str(run.path), "-t", "knn", "-d", pairs, "--train", pairs, "--limit", "9"]) == 2
    assert "--train: the rows learnt from are the rows judged on" in capsys.readouterr().err


def test_an_evaluation_set_without_labels_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = save_pairs(tmp_path / "data")
    lines = pairs.read_text().splitlines()
    pairs.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    assert main(["evaluate", str(run.path), "-t", "zeroshot_classification", "-d", str(pairs)]) == 2
    assert "needs labels" in capsys.readouterr().err


def test_names_and_templates_are_taken_by_name_and_from_files(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_benchmark(tmp_path / "wds_pets", [class_samples(0, 1, 1)])
    command = ["evaluate", str(run.path), "-t", "zeroshot_classification", "-d", str(data), "--json"]
    (tmp_path / "names.txt").write_text("tom\nrex\n")
    hashes = []
    for options in ([], ["--template", "simple"], ["--template", "a {}", "--class-names", str(tmp_path / "names.txt")]):
        assert main([*command, *options]) == 0
        (result,) = json.loads(capsys.readouterr().out)
        hashes.append(result["template_hash"])
        assert result["protocol"] == ({"templates": "simple"} if "simple" in options else {})
    assert len(set(hashes)) == 3
    assert list(result["per_class"]) == ["tom", "rex"]
    assert main([*command, "--template", "simple", "--template", "a {}"]) == 2
    assert 'error: --template: "simple" has no place {} for the class' in capsys.readouterr().err
    assert main([*command, "--template", "simpel"]) == 2
    assert 'Did you mean "simple"?' in capsys.readouterr().err
