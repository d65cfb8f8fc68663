"""``mmcl evaluate --suite``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mmcl.cli.main import main
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from tests.data.builders import class_samples, write_benchmark
from tests.tiny import bert_alone, save_tokenizer, vit_bert_pair

MOCKS = "mteb:MockSTSTask,MockRetrievalTask"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model of texts, in a run folder; the working folder holds it."""
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    export_model(build_model(bert_alone(tokenizer)), tmp_path / "runs/simcse/model", ModelCardFacts("x"))
    monkeypatch.chdir(tmp_path)
    return "runs/simcse"


@pytest.fixture
def mocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """MTEB's mock tasks, which need no data, under names of their own."""
    pytest.importorskip("mteb")
    import mteb.mocks.mock_tasks

    registry = sys.modules["mteb.get_tasks"]._TASKS_REGISTRY
    for name in ("MockSTSTask", "MockRetrievalTask", "MockAny2AnyRetrievalT2ITask"):
        monkeypatch.setitem(registry, name, getattr(mteb.mocks.mock_tasks, name))


@pytest.mark.usefixtures("mocks")
def test_scores_are_printed_and_mteb_files_them_in_the_working_folder(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", model, "--suite", MOCKS]) == 0
    shown = capsys.readouterr()
    assert "1/2  MockSTSTask  " in shown.err
    for part in ("MockSTSTask", "cosine_spearman", "ndcg_at_10", "Mean (Task)", "Mean (TaskType)", "results  results"):
        assert part in shown.out
    (folder,) = (tmp_path / "results/mmcl__simcse").iterdir()
    meta = json.loads((folder / "model_meta.json").read_text())
    assert (meta["modalities"], meta["embed_dim"], meta["max_tokens"]) == (["text"], 16, 32)

    # The folder of the model is the same model under the same name: nothing is judged again.
    (folder / "MockRetrievalTask.json").unlink()
    written = (folder / "MockSTSTask.json").stat().st_mtime_ns
    assert main(["evaluate", f"{model}/model", "--suite", MOCKS, "--json"]) == 0
    assert [score["task"] for score in json.loads(capsys.readouterr().out)] == ["MockSTSTask", "MockRetrievalTask"]
    assert (folder / "MockSTSTask.json").stat().st_mtime_ns == written
    assert (folder / "MockRetrievalTask.json").exists()


@pytest.mark.usefixtures("mocks")
@pytest.mark.filterwarnings("ignore:The fill_missing parameter:DeprecationWarning")  # within MTEB
@pytest.mark.filterwarnings("ignore:The `get_sentence_embedding_dimension` method:FutureWarning")  # called by MTEB
def test_scores_are_those_of_the_exported_folder_in_sentence_transformers(model: str, tmp_path: Path) -> None:
    import mteb
    from sentence_transformers import SentenceTransformer

    assert main(["evaluate", model, "--suite", "mteb:MockSTSTask"]) == 0
    (file,) = (tmp_path / "results").rglob("MockSTSTask.json")
    (ours,) = json.loads(file.read_text())["scores"]["test"]
    found = mteb.evaluate(SentenceTransformer(f"{model}/model", device="cpu"), mteb.get_task("MockSTSTask"), cache=None)
    (theirs,) = found.task_results[0].scores["test"]
    assert abs(theirs["cosine_pearson"]) > 0.01
    for metric in ("cosine_pearson", "cosine_spearman", "main_score"):
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-4)


@pytest.mark.usefixtures("mocks")
def test_a_model_of_pictures_and_texts_is_judged_by_mieb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = build_model(vit_bert_pair(save_tokenizer(tmp_path / "tokenizer")))
    export_model(pair, tmp_path / "model", ModelCardFacts("x"))
    command = ["evaluate", str(tmp_path / "model"), "--suite", "mteb:MockAny2AnyRetrievalT2ITask"]
    assert main([*command, "--output", str(tmp_path / "judged")]) == 0
    assert "Any2AnyRetrieval" in capsys.readouterr().out
    assert len(list((tmp_path / "judged/results").rglob("Mock*.json"))) == 1


@pytest.mark.usefixtures("mocks")
def test_data_that_cannot_be_had_is_one_message_after_what_was_judged(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", model, "--suite", "mteb:SICK-R,MockSTSTask"]) == 2
    shown = capsys.readouterr()
    assert "MockSTSTask" in shown.out
    assert "SICK-R" not in shown.out
    assert "Traceback" not in shown.err
    assert "error: 1 of 2 tasks have no score; SICK-R: ConnectionError: Couldn't reach 'mteb/sickr-sts'" in shown.err
    assert "give the same command again with a network" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "clip-bench"], 'no suite "clip-bench": packaged are clip-benchmark, quick,'),
        (["--suite", "mteb:"], '--suite: unknown suite "mteb:" (known: mteb:NAMES'),
        (["--suite", "mteb:STSBenchmark", "-d", "digits"], "--data does not go with --suite"),
        (["--suite", "mteb:STSBenchmark", "--limit", "9"], "--limit does not go with --suite"),
        (["-t", "retrieval", "-d", "digits"], "--task: retrieval needs a model with an image tower; this has none"),
        (["-d", "digits"], "give --task and --data, or --suite"),
        ([], "give --task and --data, or --suite"),
    ],
)
def test_a_mistake_is_one_message(
    model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["evaluate", model, *arguments]) == 2
    assert f"error: {message}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of pictures and texts."""
    folder = tmp_path_factory.mktemp("pair")
    export_model(build_model(vit_bert_pair(save_tokenizer(folder / "tokenizer"))), folder / "m", ModelCardFacts("x"))
    return str(folder / "m")


def test_a_packaged_suite_is_judged_and_task_keeps_some_of_it(
    pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", pair, "--suite", "quick", "--limit", "120", "--output", str(tmp_path / "out")]
    assert main([*command, "--task", "retrieval", "--task", "zeroshot_classification"]) == 0
    shown = capsys.readouterr().out
    for part in ("unseen characters", "scripts in an unseen face", "handwritten digits", "report.html"):
        assert part in shown
    assert len(list((tmp_path / "out/results").glob("*.json"))) == 5


def test_data_of_a_suite_that_cannot_be_had_are_told_and_the_others_judged(
    pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zeroshot = "task: zeroshot_classification"
    lines = [f"  - {{{zeroshot}, data: {data}}}" for data in ("{path: digits, limit: 30}", "wds/mnist", "wds/cifar10")]
    (tmp_path / "mine.yaml").write_text("\n".join(["evaluate:", *lines]))
    write_benchmark(tmp_path / "copies/wds_mnist", [class_samples(0, 1, 1)])
    command = ["evaluate", pair, "--suite", str(tmp_path / "mine.yaml"), "--dataset-root", str(tmp_path / "copies")]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert "digits" in shown.out
    assert "mnist" in shown.out
    assert "mnist: with the data came 2 class names and 2 templates" in shown.err
    assert f"mine.yaml: evaluate.2.data.path: wds/cifar10 is not in dataset_root: there is no {tmp_path}" in shown.err
    assert "error: 1 tasks of the suite cannot be judged, because their data cannot be had" in shown.err
    assert main([*command, "--dry-run"]) == 2
    assert "nothing was judged" in capsys.readouterr().out


def test_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--list-suites"]) == 0
    shown = capsys.readouterr().out
    for name in ("clip-benchmark  CLIP_benchmark's 36 sets", "quick  ", "robustness  ", "mteb:NAMES  "):
        assert name in shown


def test_a_wrong_name_is_answered_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mteb")
    assert main(["evaluate", "no/such-model", "--suite", "mteb:MTEB(eng,v2)"]) == 2
    assert 'Did you mean "MTEB(eng, v2)"?' in capsys.readouterr().err
