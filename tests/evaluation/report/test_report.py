"""The page: whole, escaped, and loading nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import (
    BitextMiningTask,
    ImageRetrievalTask,
    RetrievalTask,
    STSTask,
    TaskResult,
    ZeroShotClassificationTask,
    write_report,
)
from evaluation.exhibits import THUMBNAIL_SIDE
from evaluation.report import render_report
from tests.evaluation.fakes import COLOURS, AngleEmbedder, CollapsedEmbedder, ColourEmbedder, picture, unit
from tests.evaluation.report.pages import Elements, check_page, pictures_of

HOSTILE = "<script>alert('red')</script>\"><img src=x onerror=alert(1)>{{ 7*7 }}"
LOG = [{"step": step, "loss": 3.0 / step, "chance": 2.0, "lr": 1e-3} for step in range(1, 30)]
COMMITTED = Path(__file__).parents[3] / "docs" / "compare-models.html"


def results(captions: list[str], embedder: ColourEmbedder) -> Iterator[TaskResult]:
    pictures = [picture(name) for name in COLOURS]
    yield RetrievalTask.from_captions(
        pictures, [[text] for text in captions], dataset=captions[0], resamples=20, image_kinds=captions
    ).evaluate(embedder)
    yield ZeroShotClassificationTask(
        images=pictures, labels=captions, dataset=captions[1], templates=["{}"], resamples=20
    ).evaluate(embedder)


@pytest.fixture(scope="module")
def hostile_page() -> str:
    captions = [f"{HOSTILE} {name}" for name in COLOURS]
    return render_report(HOSTILE, list(results(captions, ColourEmbedder())), LOG, HOSTILE, {HOSTILE: HOSTILE})


def test_hostile_texts_stay_texts(hostile_page: str) -> None:
    assert HOSTILE in check_page(hostile_page).text


def test_nothing_is_loaded_from_anywhere(hostile_page: str) -> None:
    check_page(hostile_page)
    assert not re.search(r"https?:|(?:src|href|url)\s*[=(]\s*[\"']?//", hostile_page)


def test_links_of_the_page_lead_somewhere(hostile_page: str) -> None:
    tags = Elements(hostile_page).tags
    anchors = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = [attributes["href"][1:] for tag, attributes in tags if tag == "a"]
    assert links == ["result-1", "result-2", "training", "recipe"]
    assert set(links) <= anchors


def test_everything_a_reader_expects_is_there() -> None:
    captions = [f"the {name} one" for name in COLOURS]
    judged = list(results(captions, ColourEmbedder()))
    page = render_report("Run", judged, LOG, "lr: 0.001", {"numpy": "2.0"})
    text = Elements(page).text
    for example in judged[0].exhibits.text_queries:
        assert f'<span class="query-text" dir="auto">{example.query.text}</span>' in page
    for expected in (
        "image_retrieval_recall@1",
        "95% interval",
        "chance",
        "Loss",
        "Learning rate",
        "Text to picture",
        "Picture to text",
        "Confusion matrix",
        "Similarity matrix",
        "Map of the embeddings",
        "lr: 0.001",
        "numpy",
        "the yellow one",
    ):
        assert expected in text, expected
    assert page.count("<svg") == 2 + 2
    assert len(pictures_of(check_page(page))) > 20


def test_the_model_is_named_once_where_the_page_is_called_after_it() -> None:
    judged = list(results(list(COLOURS), ColourEmbedder()))
    assert '<p class="soft">colours</p>' in render_report("Run", judged)
    assert '<p class="soft">colours</p>' not in render_report("colours", judged)


def test_each_result_is_headed_by_its_data_and_its_task() -> None:
    one, two = (TaskResult("digits", "m", task, {"acc1": 0.5}, 9) for task in ("knn", "linear_probe"))
    page = render_report("Run", [one, two])
    headings = [re.sub("<[^>]*>", "", heading) for heading in re.findall(r"<h2.*?</h2>", page)]
    assert headings == ["Results", "digits, knn", "digits, linear probe", "Versions"]


@pytest.mark.parametrize(
    ("keys", "num_wide"),
    [
        (("loss",), 1),
        (("loss", "lr"), 2),
        (("loss", "lr", "data_wait"), 0),
        (("loss", "lr", "data_wait", "samples_per_second"), 4),
        (("loss", "lr", "data_wait", "samples_per_second", "health/text/spread"), 2),
    ],
)
def test_no_chart_stands_alone_in_a_row_of_three(keys: tuple[str, ...], num_wide: int) -> None:
    page = render_report("Run", [], [{"step": step, **dict.fromkeys(keys, 1.0)} for step in (1, 2)])
    figures = re.findall(r'<figure( class="wide")?>', page)
    assert len(figures) == len(keys)
    assert figures == [' class="wide"'] * num_wide + [""] * (len(keys) - num_wide)


def test_any_unicode_is_shown_without_a_warning(tmp_path: Path) -> None:
    captions = [f"{text} {name}" for text, name in zip("ا⠿😀中\u202e\ud800", COLOURS, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = write_report(tmp_path / "deep" / "report.html", "😀", list(results(captions, ColourEmbedder())))
    page = path.read_text(encoding="utf-8")
    assert "⠿ green" in page
    assert not list(path.parent.glob("*.part"))


def test_the_same_results_give_the_same_page() -> None:
    captions = list(COLOURS)
    first, second = (render_report("Run", list(results(captions, ColourEmbedder())), LOG) for _ in range(2))
    assert first == second


def test_results_read_from_json_give_a_page_without_exhibits() -> None:
    stored = [TaskResult.from_json(one.to_json()) for one in results(list(COLOURS), ColourEmbedder())]
    text = Elements(render_report("Run", stored)).text
    assert "acc1" in text
    for absent in ("Confusion matrix", "Training", "Recipe", "Map"):
        assert absent not in text


def test_ties_of_a_collapsed_model_are_on_the_page() -> None:
    text = Elements(render_report("Run", list(results(list(COLOURS), CollapsedEmbedder())))).text
    assert "scored exactly as high" in text


def test_a_page_without_results_still_stands() -> None:
    assert "Loss" in Elements(render_report("Run", [], LOG)).text


def test_tasks_of_texts_show_answers_and_pairs_and_count_what_they_judged() -> None:
    angles = [f"{HOSTILE} {angle}" for angle in (0, 10, 50, 90)]
    others = [f"other {angle}" for angle in (12, 1, 48, 100)]
    tasks = (
        STSTask(first=angles, second=others, scores=[1.5, 2, 3, 4], dataset="pairs", resamples=20),
        BitextMiningTask(first=angles, second=others, dataset="translations", resamples=20),
    )
    page = Elements(render_report("Run", [task.evaluate(AngleEmbedder()) for task in tasks]))
    assert "script" not in {tag for tag, _ in page.tags}
    for shown in ("sts, 4 pairs", "bitext mining, 4 pairs", "judged most differently", "1.5", "Text to text", "rank 2"):
        assert shown in page.text, shown
    assert "pictures" not in page.text


class BrighterEmbedder(ColourEmbedder):
    """Takes whatever has no blue for white."""

    name = "brighter"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = super().encode_images(images)
        rows[rows[:, 2] < 0.1] = 3**-0.5
        return rows


@pytest.fixture(scope="module")
def three_models() -> str:
    captions = [f"<b>the {name} one" for name in COLOURS]
    embedders = (ColourEmbedder(), BrighterEmbedder(), CollapsedEmbedder())
    judged = [result for embedder in embedders for result in results(captions, embedder)]
    return render_report("<b>Three", judged, recipe_text="name: <b>", versions={})


def test_several_models_on_the_same_data_make_a_comparison(three_models: str) -> None:
    elements = check_page(three_models)
    headings = [re.sub("<[^>]*>", "", heading) for heading in re.findall(r"<h2.*?</h2>", three_models)]
    assert headings[0] == "Results"
    assert len(headings) == 1 + 2 + 2  # one section for each task, whatever the number of models
    for shown in ("Where they disagree", "Recall of each class", "colours", "brighter", "collapsed", "<b>the red one"):
        assert shown in elements.text, shown
    assert [attributes for tag, attributes in elements.tags if tag == "b" and "the" in str(attributes)] == []
    assert "Similarity matrix" not in elements.text  # less of each


def test_pictures_of_a_comparison_are_in_the_page(three_models: str) -> None:
    pictures = pictures_of(check_page(three_models))
    assert len(pictures) > 20
    assert all(0 < side <= THUMBNAIL_SIDE for image in pictures for side in image.size)


def test_the_page_of_three_models_on_ten_tasks_of_photographs_stays_under_three_megabytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evaluation.report.report._MAX_TSNE_MAPS", 0)  # which takes time and no room
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, size=(40, 12, 12, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels).resize((300, 300), Image.Resampling.BICUBIC) for pixels in small]
    labels = [f"class {number % 10}" for number in range(40)]
    embedders = [NoiseEmbedder(seed) for seed in range(3)]
    tasks = [
        *(
            RetrievalTask.from_captions(pictures, [[f"{n} {label}"] for label in labels], dataset=str(n), resamples=20)
            for n in range(3)
        ),
        *(
            ZeroShotClassificationTask(images=pictures, labels=labels, dataset=str(n), resamples=20)
            for n in range(3, 10)
        ),
    ]
    page = render_report("Large", [task.evaluate(embedder) for embedder in embedders for task in tasks])
    assert len(pictures_of(check_page(page))) > 300
    assert len(page) < 3e6


class NoiseEmbedder(ColourEmbedder):
    """Embeds anything anywhere."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.name, self.rng = f"noise {seed}", np.random.default_rng(seed)

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return unit(list(self.rng.normal(size=(len(images), 8))))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return unit(list(self.rng.normal(size=(len(texts), 8))))


def test_pictures_found_by_pictures_are_shown_and_numbers_of_several_models_stand_side_by_side() -> None:
    pictures = [picture(name, brightness) for name in COLOURS for brightness in (1.0, 0.9)]
    task = ImageRetrievalTask(
        images=pictures, labels=[name for name in COLOURS for _ in range(2)], dataset="d", resamples=20
    )
    health = TaskResult("d", "colours", "health", {"gap": 0.25}, 4, units={"gap": "number"}, headline=("gap",))
    other = replace(health, model="other", metrics={"gap": 0.5})
    elements = check_page(render_report("Run", [task.evaluate(ColourEmbedder()), health, other], versions={}))
    assert "Picture to picture" in elements.text
    assert len(pictures_of(elements)) > 12
    assert "0.25" in elements.text
    assert "0.50" in elements.text


def test_the_committed_comparison_is_whole_and_shows_its_pictures() -> None:
    page = COMMITTED.read_text(encoding="utf-8")
    pictures = pictures_of(check_page(page))
    assert len(pictures) > 100
    assert all(min(image.size) > 0 for image in pictures)
    assert len(page) < 3e6
    for shown in ("quickstart", "untrained", "bag-of-words ridge", "Where they disagree"):
        assert shown in page
