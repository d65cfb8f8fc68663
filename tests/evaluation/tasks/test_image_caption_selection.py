"""A picture's own caption among others: SugarCrepe's, ARO's and Winoground's forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import image_caption_selection as theirs
from PIL import Image

from evaluation import EvaluationError, ImageCaptionSelectionTask, TaskResult, WinogroundTask, write_report
from evaluation.exhibits import Item
from tests.evaluation.fakes import CollapsedEmbedder, ColourEmbedder, picture


class FixedScores:
    """Pictures are axes, and a text ``a .1 b .7`` has cosines .1 and .7 with pictures a and b."""

    name = "fixed"
    fingerprint = "f1"
    AXES = "abcd"

    def encode_images(self, images: Any) -> np.ndarray:
        rows = np.zeros((len(images), 5), dtype=np.float32)
        for row, image in enumerate(images):
            rows[row, image.size[0] - 8] = 1  # the width says which
        return rows

    def encode_texts(self, texts: Any) -> np.ndarray:
        rows = np.zeros((len(texts), 5))
        for row, text in enumerate(texts):
            words = text.split()
            for axis, cosine in zip(words[::2], words[1::2], strict=True):
                rows[row, self.AXES.index(axis)] = float(cosine)
            rows[row, 4] = np.sqrt(1 - (rows[row] ** 2).sum())
        return rows.astype(np.float32)


def axes(count: int) -> list[Any]:
    return [Image.new("RGB", (8 + axis, 8)) for axis in range(count)]


def selection(**fields: Any) -> ImageCaptionSelectionTask:
    given: dict[str, Any] = {
        "images": [picture(name) for name in ("red", "green", "blue", "white")],
        "captions": [["red", "green"], ["blue", "green"], ["blue", "red", "green"], ["red", "white", "blue"]],
        "dataset": "colours",
        "resamples": 50,
    }
    return ImageCaptionSelectionTask(**{**given, **fields})


def test_the_first_caption_is_right_unless_said_otherwise() -> None:
    result = selection().evaluate(ColourEmbedder())
    assert result.examples["acc"].tolist() == [1, 0, 1, 0]
    assert (result.metrics["acc"], result.metrics["ties"], result.headline) == (0.5, 0, ("acc",))
    result = selection(answers=[0, 1, 0, 1]).evaluate(ColourEmbedder())
    assert result.examples["acc"].tolist() == [1, 1, 1, 1]
    assert result.chance["acc"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3 + 1 / 3) / 4)
    assert result.intervals["acc"].num_units == 4


def test_ties_and_a_collapsed_model_are_missed() -> None:
    result = selection(answers=[0, 1, 0, 1]).evaluate(CollapsedEmbedder())
    assert (result.metrics["acc"], result.metrics["ties"]) == (0, 4)
    assert result.notes[0].startswith("In 4 of 4 examples a wrong answer scored exactly as high")
    lost = [["green", "red", "white red green blue"]]  # it ties with none, and loses
    assert selection(images=[picture("red")], captions=lost).evaluate(ColourEmbedder()).metrics["ties"] == 0


def test_subsets_are_judged_each_and_on_average() -> None:
    result = selection(subsets=["add", "add", "swap", "add"], groups=[1, 1, 2, 2]).evaluate(ColourEmbedder())
    assert result.metrics["add/acc"] == pytest.approx(1 / 3)
    assert result.metrics["swap/acc"] == 1
    assert result.metrics["mean_per_subset_acc"] == pytest.approx(2 / 3)
    assert result.headline == ("acc", "mean_per_subset_acc")
    chance = {"acc": 5 / 12, "add/acc": 4 / 9, "swap/acc": 1 / 3, "mean_per_subset_acc": 7 / 18}
    assert result.chance == pytest.approx(chance)
    assert result.examples["subset"].tolist() == ["add", "add", "swap", "add"]
    assert {one.num_units for one in result.intervals.values()} == {2}


def winoground(**fields: Any) -> WinogroundTask:
    given: dict[str, Any] = {
        "images": axes(2),
        "captions": ["a .6 b .3", "a .4 b .5"],
        "dataset": "pairs",
        "resamples": 50,
    }
    return WinogroundTask(**{**given, **fields})


@pytest.mark.parametrize(
    ("captions", "text", "image", "group"),
    [
        (["a .6 b .3", "a .4 b .5"], 1, 1, 1),
        (["a .6 b .5", "a .1 b .3"], 0, 1, 0),  # the first caption is nearer to both pictures
        (["a .6 b .1", "a .5 b .3"], 1, 0, 0),  # both captions are nearer to the first picture
        (["a .3 b .6", "a .5 b .4"], 0, 0, 0),
        (["a .5 b .3", "a .5 b .6"], 0, 1, 0),  # both captions are as near to the first picture
    ],
)
def test_scores_of_winoground_by_hand(captions: list[str], text: float, image: float, group: float) -> None:
    result = winoground(captions=captions).evaluate(FixedScores())
    assert (result.metrics["text_acc"], result.metrics["image_acc"], result.metrics["acc"]) == (text, image, group)
    assert result.num_examples == 1


def test_a_tie_that_costs_the_group_score_is_counted() -> None:
    result = winoground(captions=["a .5 b .3", "a .5 b .6"]).evaluate(FixedScores())
    assert result.metrics["ties"] == 1
    result = winoground().evaluate(CollapsedEmbedder())
    assert [result.metrics[name] for name in ("text_acc", "image_acc", "acc", "ties")] == [0, 0, 0, 1]
    assert result.chance == {"text_acc": 1 / 4, "image_acc": 1 / 4, "acc": 1 / 6}


def test_examples_of_winoground_are_pairs() -> None:
    captions = ["a .6 b .3", "a .4 b .5", "c .3 d .6", "c .5 d .4"]
    result = winoground(images=axes(4), captions=captions, subsets=["x", "y"], ids=["p", "q"]).evaluate(FixedScores())
    assert result.examples["id"].tolist() == ["p", "q"]
    assert result.examples["acc"].tolist() == [1, 0]
    assert result.metrics["x/text_acc"] == 1
    assert result.metrics["mean_per_subset_acc"] == 0.5


def test_what_was_chosen_is_shown(tmp_path: Path) -> None:
    for result in (selection().evaluate(ColourEmbedder()), winoground().evaluate(FixedScores())):
        for example in result.exhibits.image_queries:
            assert example.wanted.is_relevant
            assert example.candidates[0].is_relevant == (example.rank == 1)
        assert TaskResult.read(result.write(tmp_path / "result.json")) == result
        assert write_report(tmp_path / "report.html", "t", [result]).stat().st_size > 1000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": [], "captions": []}, "image_caption_selection needs pictures, got none"),
        ({"captions": [["red", "green"]]}, "4 pictures must have as many lists of captions, got 1"),
        ({"captions": [["red"], *[["a", "b"]] * 3]}, r"a right and a wrong caption .* got \['red'\] for picture 0"),
        ({"captions": [["red", "red"], *[["a", "b"]] * 3]}, 'must differ from the right one, got "red" as both'),
        ({"captions": [["red", " "], *[["a", "b"]] * 3]}, "every caption must be a text, got ' ' for picture 0"),
        ({"answers": [1]}, "answers must be empty or one per picture, got 1"),
        ({"answers": [0, 0, 0, 3]}, r"an answer must lie in 0 .. 2, the captions offered, got 3 for picture 3"),
        ({"subsets": ["x"]}, "subsets must be as many as examples, 4, got 1"),
        ({"groups": [1]}, "groups must be as many as examples, 4, got 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=f"colours: .*{message}"):
        selection(**fields)


def test_an_example_of_winoground_is_two_pictures() -> None:
    with pytest.raises(EvaluationError, match="two pictures with a caption each, got 3 pictures and 3 captions"):
        winoground(images=axes(3), captions=["a .1", "b .1", "c .1"])
    with pytest.raises(EvaluationError, match=r'got "a \.1" as both for picture 0'):
        winoground(captions=["a .1", "a .1"])


class Stored:
    """Vectors of pictures and texts that are numbers: an embedder of ours, and a model of CLIP_benchmark's."""

    name = "stored"
    fingerprint = "5708"

    def __init__(self, seed: int) -> None:
        rows = np.random.default_rng(seed).normal(size=(2, 200, 6))
        self.images, self.texts = (rows / np.linalg.norm(rows, axis=2, keepdims=True)).astype(np.float32)

    def encode_images(self, images: Any) -> np.ndarray:
        return self.images[[int(image) for image in images]]

    def encode_texts(self, texts: Any) -> np.ndarray:
        return self.texts[[int(text) for text in texts]]

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens

    def theirs(self, num_images: int, captions: list[list[str]]) -> dict[str, float]:
        """Return CLIP_benchmark's numbers of examples of ``num_images`` consecutive pictures."""
        pixels = torch.from_numpy(self.images[: len(captions) * num_images]).reshape(
            len(captions), num_images, -1, 1, 1
        )

        def tokens(texts: list[str]) -> torch.Tensor:
            return torch.from_numpy(self.encode_texts(texts))

        found: dict[str, float] = theirs.evaluate(self, [(pixels, captions)], tokens, "cpu", amp=False)
        return found


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_the_numbers_are_those_of_clip_benchmark(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.tasks.image_caption_selection.picture_item", lambda images, row: Item())
    model, num_wrong = Stored(seed), seed % 3 + 1
    captions = [[str((row + 7 * offset) % 200) for offset in range(num_wrong + 1)] for row in range(50)]
    task = ImageCaptionSelectionTask(images=list(map(str, range(50))), captions=captions, dataset="d", resamples=1)
    assert task.evaluate(model).metrics["acc"] == pytest.approx(model.theirs(1, captions)["acc"])
    flat = list(map(str, range(100)))
    result = WinogroundTask(images=flat, captions=flat, dataset="d", resamples=1).evaluate(model)
    found = model.theirs(2, [flat[row : row + 2] for row in range(0, 100, 2)])
    assert {name: result.metrics[name] for name in found} == pytest.approx(found)
