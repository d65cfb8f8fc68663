"""Names of MTEB, its runs and its result files; its mock tasks stand for tasks whose data are on the hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import EvaluationError
from evaluation.mteb_suite import MTEBScore, find_tasks, format_scores, judge_by_mteb
from tests.evaluation.fakes import ColourEmbedder, unit


class LettersEmbedder(ColourEmbedder):
    """Tells any two texts apart by their letters."""

    fingerprint = "abc"

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.num_texts += len(texts)
        return unit([np.bincount([ord(letter) % 61 for letter in text], minlength=61) + 0.01 for text in texts])


def mock(name: str) -> Any:
    pytest.importorskip("mteb")
    import mteb.mocks.mock_tasks

    return getattr(mteb.mocks.mock_tasks, name)()


def score(task: str, kind: str, value: float | None) -> MTEBScore:
    return MTEBScore(task, kind, "main", value, "" if value is not None else "no data")


def test_a_benchmark_or_a_task_is_found_by_name_and_each_task_once() -> None:
    pytest.importorskip("mteb")
    names = [task.metadata.name for task in find_tasks("STSBenchmark, MTEB(eng, v2),SICK-R,STSBenchmark")]
    assert names[0] == "STSBenchmark"
    assert len(names) == len(set(names)) > 40


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("MTEB(eng,v2)", "MTEB(eng, v2)"),
        ("mieb(eng)", "MIEB(eng)"),
        ("STSBenchmrk", "STSBenchmark"),
        ("STSBenchmark,sick-r", "SICK-R"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(wrong: str, nearest: str) -> None:
    pytest.importorskip("mteb")
    with pytest.raises(EvaluationError) as error:
        find_tasks(wrong)
    assert str(error.value).endswith(f'. Did you mean "{nearest}"?')


@pytest.mark.parametrize(("version", "says_so"), [((3, 10), True), ((3, 11), False)])
def test_without_mteb_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], says_so: bool
) -> None:
    monkeypatch.setitem(sys.modules, "evaluation.mteb_encoder", None)
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(EvaluationError, match=r'pip install "mmcl\[mteb\]"') as error:
        find_tasks("STSBenchmark")
    assert ("newer ones need 3.11" in str(error.value)) is says_so


def test_results_lie_as_mteb_lays_them_and_are_not_made_twice(tmp_path: Path) -> None:
    tasks = [mock("MockSTSTask"), mock("MockRetrievalTask")]
    told: list[MTEBScore] = []
    embedder = LettersEmbedder()
    scores = judge_by_mteb(embedder, "mmcl/letters", tasks, tmp_path, tell=told.append)
    assert told == scores
    assert [(each.type, each.metric) for each in scores] == [("STS", "cosine_spearman"), ("Retrieval", "ndcg_at_10")]
    folder = tmp_path / "results/mmcl__letters/abc"
    assert json.loads((folder / "model_meta.json").read_text())["name"] == "mmcl/letters"
    for each in scores:
        assert each.value is not None
        stored = json.loads((folder / f"{each.task}.json").read_text())["scores"]
        main = [part["main_score"] for split in stored.values() for part in split]
        assert each.value == pytest.approx(np.mean(main), abs=1e-5)

    encoded = embedder.num_texts
    assert [each.value for each in judge_by_mteb(embedder, "mmcl/letters", tasks, tmp_path)] == pytest.approx(
        [each.value for each in scores], abs=1e-5
    )
    assert embedder.num_texts == encoded


def test_the_score_of_a_part_of_the_languages_is_that_of_the_part(tmp_path: Path) -> None:
    whole = judge_by_mteb(LettersEmbedder(), "mmcl/x", [mock("MockMultilingualRetrievalTask")], tmp_path)
    file = next(tmp_path.rglob("MockMultilingualRetrievalTask.json"))
    stored = json.loads(file.read_text())
    for part in (part for split in stored["scores"].values() for part in split):
        part["main_score"] = {"eng": 0.25, "fra": 0.75}[part["hf_subset"]]
    file.write_text(json.dumps(stored))
    english = mock("MockMultilingualRetrievalTask").filter_languages(["eng"])
    (part,) = judge_by_mteb(LettersEmbedder(), "mmcl/x", [english], tmp_path)
    assert (len(whole), part.value) == (1, 0.25)


def test_pictures_are_judged_too(tmp_path: Path) -> None:
    tasks = [mock("MockAny2AnyRetrievalT2ITask"), mock("MockImageClassificationTask")]
    embedder = LettersEmbedder()
    embedder.encode_texts = lambda texts: unit([np.array([1.0, 2.0, 3.0])] * len(texts))  # type: ignore[method-assign]
    scores = judge_by_mteb(embedder, "mmcl/pictures", tasks, tmp_path)
    assert all(each.value is not None for each in scores)
    assert embedder.num_images > 0


def test_a_task_of_pictures_is_refused_before_any_is_judged(tmp_path: Path) -> None:
    class TextsOnly(LettersEmbedder):
        modalities = ("text",)

    embedder = TextsOnly()
    tasks = [mock("MockSTSTask"), mock("MockAny2AnyRetrievalT2ITask")]
    with pytest.raises(EvaluationError, match="MockAny2AnyRetrievalT2I needs a model that embeds image too"):
        judge_by_mteb(embedder, "mmcl/texts", tasks, tmp_path)
    assert embedder.num_texts == 0


def test_a_task_whose_data_cannot_be_had_has_a_reason_and_stops_no_other(tmp_path: Path) -> None:
    sts = mock("MockSTSTask")
    broken = mock("MockRetrievalTask")
    broken.load_data = lambda **_: {}["no such subset"]
    tasks = [*find_tasks("SICK-R"), broken, sts]
    missing, misread, judged = judge_by_mteb(LettersEmbedder(), "mmcl/x", tasks, tmp_path)
    assert (missing.value, misread.value) == (None, None)
    assert missing.reason.startswith("ConnectionError: Couldn't reach 'mteb/sickr-sts'")
    assert misread.reason == "KeyError: 'no such subset'"
    assert judged.value is not None


def test_a_fault_in_encoding_is_not_taken_for_missing_data(tmp_path: Path) -> None:
    class Faulty(LettersEmbedder):
        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            raise KeyError("a fault")

    with pytest.raises(KeyError, match="a fault"):
        judge_by_mteb(Faulty(), "mmcl/x", [mock("MockSTSTask")], tmp_path)


def test_a_score_that_is_no_number_is_none(tmp_path: Path) -> None:
    class Constant(LettersEmbedder):
        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            return unit([np.ones(3)] * len(texts))

    with pytest.warns(match="constant"):
        (found,) = judge_by_mteb(Constant(), "mmcl/x", [mock("MockSTSTask")], tmp_path)
    assert (found.value, found.reason) == (None, "MTEB gives no main score")


def test_means_are_over_tasks_and_over_types() -> None:
    table = format_scores([score("a", "STS", 0.2), score("b", "STS", 0.4), score("c", "Retrieval", 0.9)])
    assert [line.split() for line in table.splitlines()] == [
        ["task", "type", "metric", "value"],
        ["a", "STS", "main", "20.0"],
        ["b", "STS", "main", "40.0"],
        ["c", "Retrieval", "main", "90.0"],
        ["Mean", "(Task)", "50.0"],
        ["Mean", "(TaskType)", "60.0"],
    ]


def test_there_is_no_mean_of_a_benchmark_in_parts() -> None:
    assert "Mean" not in format_scores([score("a", "STS", 0.2), score("b", "STS", None), score("c", "STS", 0.1)])
    assert "Mean" not in format_scores([score("a", "STS", 0.2)])
