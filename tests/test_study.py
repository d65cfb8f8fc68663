from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mmcl
from evaluation import TaskResult, read_results
from evaluation.exhibits import Exhibits
from mmcl.data import evaluation_rows
from mmcl.embedder import load
from mmcl.errors import UserError
from mmcl.study import run_study, slugs
from mmcl.study_config import study_of
from tests.studies import ByColour, save_models
from tests.tiny import save_pairs

TASKS = ("retrieval", "zeroshot_classification")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return str(save_pairs(tmp_path / "data", num_rows=30, num_groups=20))


def judged(models: Any, data: str, **keys: Any) -> list[TaskResult]:
    return mmcl.evaluate(models, **{"tasks": list(TASKS), "data": data, "batch_size": 8, **keys})


def test_every_model_is_judged_by_every_task_as_if_alone(models: list[str], pairs: str) -> None:
    together = judged([*models, ByColour()], pairs)
    assert [(result.model, result.task) for result in together] == [
        (name, task) for name in (*models, "by colour") for task in TASKS
    ]
    alone = [result for model in (*models, ByColour()) for result in judged(model, pairs)]
    assert [result.metrics for result in together] == [result.metrics for result in alone]
    assert together == alone


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the pictures that rows hand over decoded; reading them once when the data is opened is not among them."""
    counted = []
    decode = evaluation_rows.decode_image

    def counting(*given: Any) -> Image.Image:
        counted.append(1)
        return decode(*given)

    monkeypatch.setattr(evaluation_rows, "decode_image", counting)
    return counted


def test_a_picture_is_decoded_once_for_all_resident_models(
    models: list[str], pairs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pictures shown with the results are decoded again; without exhibits none are.
    monkeypatch.setattr("evaluation.tasks.retrieval.RetrievalTask._exhibits", lambda *_: Exhibits())
    for resident, expected in ((None, 30), (1, 90)):
        counted = count_decodes(monkeypatch)
        judged([*models, ByColour()], pairs, tasks=["retrieval"], resident=resident)
        assert len(counted) == expected


def test_untrained_models_beside_the_trained_ones_share_the_decoding(
    models: list[str], pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knn = {"task": "knn", "train": str(save_pairs(tmp_path / "train", num_rows=12, num_groups=12)), "k": 3}
    alone = [judged(model, pairs, evaluate=[knn], tasks=None, baselines=True)[0] for model in models]
    # Raw pixels are read beside, once for each task.
    monkeypatch.setattr("evaluation.baselines.RawPixels.encode_images", lambda _, images: np.eye(len(images), 42))
    counted = count_decodes(monkeypatch)
    together = judged(models, pairs, evaluate=[knn], tasks=None, baselines=True)
    assert len(counted) == 30 + 12
    for one, other in zip(together, alone, strict=True):
        assert one.metrics["untrained/acc1"] == other.metrics["untrained/acc1"]


def test_a_second_call_goes_on_and_encodes_nothing(pairs: str, tmp_path: Path) -> None:
    first, second = ByColour("x"), ByColour("y")
    output = tmp_path / "out"
    before = judged([first, second], pairs, output=str(output))
    assert sorted(str(path.relative_to(output)) for path in output.glob("*/results/*.json")) == [
        f"{slug}/results/pairs.csv-{task}.json" for slug in ("x", "y") for task in TASKS
    ]
    assert (output / "report.html").is_file()
    (output / "y" / "results" / "pairs.csv-retrieval.json").unlink()
    report, times = (output / "report.html").read_bytes(), [path.stat().st_mtime_ns for path in output.glob("x/*/*")]
    again = [ByColour("x"), ByColour("y"), ByColour("z")]
    after = judged(again, pairs, output=str(output))
    assert after[:4] == before
    assert [one.num_pictures for one in again] == [0, 0, 30], "what was cached or done is not encoded"
    assert [path.stat().st_mtime_ns for path in output.glob("x/*/*")] == times
    assert (output / "report.html").read_bytes() != report
    assert "pictures and maps are of the others.</p>" in (output / "report.html").read_text(encoding="utf-8")


def test_what_changed_is_judged_again(pairs: str, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    knn = {"task": "knn", "train": str(save_pairs(tmp_path / "train")), "k": 3}
    judged([ByColour()], pairs, evaluate=[knn], tasks=None, output=output)

    def num_encoded(fingerprint: str = "1", **fields: Any) -> int:
        model = ByColour(fingerprint=fingerprint)
        judged([model], pairs, evaluate=[{**knn, **fields}], tasks=None, output=output, cache=False)
        return model.num_pictures

    assert num_encoded() == 0
    assert num_encoded(k=5) == 90, "settings"
    assert num_encoded(k=5) == 0
    assert num_encoded(k=5, fingerprint="2") == 90, "model"
    picture = Image.open(tmp_path / "data" / "3.png")
    picture.putpixel((0, 0), (1, 2, 3))
    picture.save(tmp_path / "data" / "3.png")
    assert num_encoded(k=5, fingerprint="2") == 90, "one pixel"


def test_a_result_of_the_first_rows_in_its_place_is_not_taken_for_one_of_all(pairs: str, tmp_path: Path) -> None:
    whole, part = ({"task": "retrieval", "data": {"path": pairs, "limit": limit}} for limit in (None, 10))
    sizes = []
    for task in (whole, part, whole):
        (result,) = judged(ByColour(), pairs, tasks=None, evaluate=[task], output=str(tmp_path / "out"))
        sizes.append((result.num_examples, result.is_partial))
    assert sizes == [(30, False), (10, True), (30, False)]


def test_a_result_is_of_the_model_that_it_names_and_of_these_libraries(
    pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, lines = str(tmp_path / "out"), list[str]()
    study = study_of({"models": ["unused"], "tasks": ["retrieval"], "data": pairs, "output": output})
    for names in (("a,b", "a b"), ("a b", "a,b")):  # whose folders are a-b and a-b-2
        results = run_study(study, [ByColour(name) for name in names], tell=lines.append)
        assert tuple(result.model for result in results) == names
    assert "a-b/results/pairs.csv-retrieval.json is redone: model changed" in lines
    monkeypatch.setattr("mmcl.study.library_versions", lambda: {"numpy": "9.9"})
    run_study(study, [ByColour("a b")], tell=lines.append)
    assert "a-b/results/pairs.csv-retrieval.json is redone: versions of libraries changed" in lines


def test_it_says_what_is_done_again(pairs: str, tmp_path: Path) -> None:
    lines: list[str] = []
    for template in ("a {}", "the {}"):
        task = {"task": "zeroshot_classification", "templates": [template]}
        study = study_of({"models": ["x"], "evaluate": [task], "data": pairs, "output": str(tmp_path / "out")})
        run_study(study, [ByColour("x")], tell=lines.append)
    assert "x/results/pairs.csv-zeroshot_classification.json is redone: templates changed" in lines


def test_results_of_earlier_calls_that_are_not_of_this_one_are_named(pairs: str, tmp_path: Path) -> None:
    lines: dict[str, list[str]] = {"first": [], "second": []}
    for name, heard in lines.items():
        task = {"task": "retrieval", "name": name}
        study = study_of({"models": ["x"], "evaluate": [task], "data": pairs, "output": str(tmp_path / "out")})
        run_study(study, [ByColour("x")], tell=heard.append)
    assert not any("also holds" in line for line in lines["first"])
    assert lines["second"][-1] == (
        f"{tmp_path / 'out'} also holds results that are not of this call, and mmcl compare takes them in:"
        " x/results/first-retrieval.json"
    )


def test_the_first_rows_are_marked_and_neither_cached_nor_taken_for_all(
    pairs: str, models: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    results = judged(models, pairs, output=str(output), limit=10)
    assert judged(models, pairs, output=str(output), limit=10) == results, "a trial may be repeated"
    assert all(result.is_partial for result in results)
    assert not (output / "cache").exists()
    whole = judged(models, pairs, output=str(output))
    assert [result.num_examples for result in whole] == [30] * 4
    assert not any(result.is_partial for result in whole)
    with pytest.raises(UserError, match="holds results on all rows; give another output"):
        judged(models, pairs, output=str(output), limit=10)


class Wrong(ByColour):
    def encode_texts(self, texts: Any) -> Any:
        return np.full((len(texts), 3), np.nan, dtype=np.float32)


def test_a_model_that_fails_does_not_stop_the_others(pairs: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 4 results cannot be had:\nbad .*must embed texts to unit norm"):
        judged([Wrong("bad"), ByColour("good")], pairs, output=str(tmp_path / "out"))
    assert len(list((tmp_path / "out").glob("*/results/*.json"))) == 2


def test_all_mistakes_are_told_at_once(models: list[str], pairs: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        mmcl.evaluate(
            [models[0], str(tmp_path / "models" / "no" / "such")],
            evaluate=["knn", {"task": "retrieval", "data": "no/such.csv"}, {"task": "sts", "data": pairs}],
            data=pairs,
            output=str(Path(pairs) / "out"),
        )
    said = str(error.value)
    for part in ("such", "evaluate.0.train: knn learns", "evaluate.1.data.path: there is no no/such.csv", "output: "):
        assert part in said
    assert len(said.splitlines()) == 5


def test_folders_of_models_are_all_different() -> None:
    assert slugs(["ViT-B-32,openai", "runs/a", "runs-a", "..", "/x"]) == [
        "ViT-B-32-openai", "runs-a", "runs-a-2", "model-2", "x",
    ]  # fmt: skip


def test_whatever_models_are_called_their_results_are_found_and_outlive_the_cache(pairs: str, tmp_path: Path) -> None:
    names = ["./model", "checkpoints", "before", "cache"]
    judged([ByColour(name) for name in names], pairs, tasks=["retrieval"], output=str(tmp_path))
    shutil.rmtree(tmp_path / "cache")
    assert sorted(read_results(tmp_path)) == sorted(names)


def test_a_killed_call_leaves_whole_results(pairs: str, tmp_path: Path) -> None:
    class Stopping(ByColour):
        def encode_texts(self, texts: Any) -> Any:
            raise KeyboardInterrupt

    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        judged([ByColour("x"), Stopping("y")], pairs, output=str(output))
    lines = [json.loads(line) for line in (output / "done.jsonl").read_text().split("\n") if line]
    assert [line["file"] for line in lines] == [f"x/results/pairs.csv-{task}.json" for task in TASKS]
    with (output / "done.jsonl").open("a") as log:
        log.write('{"file": "y/resul')
    again = ByColour("x")
    assert len(judged([again, ByColour("y")], pairs, output=str(output))) == 4
    assert again.num_pictures == 0


def test_precision_is_that_of_the_study(models: list[str], pairs: str) -> None:
    (result,) = judged(models[0], pairs, tasks=["retrieval"], precision="bf16")
    assert result.precision == "bf16"
    assert result.fingerprint == load(models[0], precision="bf16").fingerprint
