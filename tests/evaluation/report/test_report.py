"""The page: whole, escaped, and loading nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation import BitextMiningTask, RetrievalTask, STSTask, TaskResult, ZeroShotClassificationTask, write_report
from evaluation.report import render_report
from tests.evaluation.fakes import COLOURS, AngleEmbedder, CollapsedEmbedder, ColourEmbedder, picture

HOSTILE = "<script>alert('red')</script>\"><img src=x onerror=alert(1)>{{ 7*7 }}"
LOG = [{"step": step, "loss": 3.0 / step, "chance": 2.0, "lr": 1e-3} for step in range(1, 30)]
VOID = {"meta", "img", "br", "link", "input"}


class Elements(HTMLParser):
    """Collects tags and attributes, and checks that what opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


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
    elements = Elements(hostile_page)
    assert {tag for tag, _ in elements.tags} & {"script", "iframe", "object", "embed", "link", "form"} == set()
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert HOSTILE in elements.text


def test_nothing_is_loaded_from_anywhere(hostile_page: str) -> None:
    assert not re.search(r"https?:|(?:src|href|url)\s*[=(]\s*[\"']?//", hostile_page)
    for _, attributes in Elements(hostile_page).tags:
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in hostile_page
    assert "default-src 'none'" in hostile_page


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
    assert page.count("data:image/png;base64,") > 20


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
