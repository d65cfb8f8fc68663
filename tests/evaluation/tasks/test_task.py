"""What an embedder gives is checked before it is judged."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import CachedEmbedder, EvaluationError
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify
from tests.evaluation.fakes import ColourEmbedder, PromptedColours, picture


class Gives(ColourEmbedder):
    """Gives what it is told to."""

    def __init__(self, rows: np.ndarray) -> None:
        super().__init__()
        self.rows = rows

    def encode_images(self, images: object) -> np.ndarray:
        return self.rows

    encode_texts = encode_images


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 2), np.float32), r"one float row for each of 2 texts, got float32 of shape \(1, 2\)"),
        (np.ones(2, np.float32), r"got float32 of shape \(2,\)"),
        (np.ones((2, 1), np.int64), "got int64"),
        (np.array([[1, 0], [3, 4]], np.float32), "1 of 2 are not, first: texts 1 has norm 5"),
        (np.array([[np.nan, 0], [1, 0]], np.float32), "first: texts 0 has norm nan"),
        (np.zeros((2, 2), np.float32), "2 of 2 are not"),
    ],
)
def test_rows_that_are_not_unit_vectors_are_refused(rows: np.ndarray, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        embed_texts(Gives(rows), ["a", "b"])


def test_texts_are_embedded_behind_the_first_prompt_that_the_embedder_has() -> None:
    def row(*prompts: str, embedder: ColourEmbedder) -> list[float]:
        return embed_texts(embedder, ["no colour"], *prompts)[0].tolist()

    plain, prompted = ColourEmbedder(), PromptedColours({"passage": "red ", "document": "blue "})
    assert row("document", "passage", embedder=prompted) == row(embedder=PromptedColours({}, "blue "))
    assert row("query", "passage", embedder=CachedEmbedder(prompted)) == row(embedder=PromptedColours({}, "red "))
    assert row("query", embedder=prompted) == row("query", embedder=plain) == row(embedder=plain)


def test_half_precision_rounding_is_no_error() -> None:
    rows = np.full((1, 3), 0.5775, dtype=np.float16)
    assert embed_images(Gives(rows), [picture("red")]) is rows


def test_identity_holds_what_the_embedder_tells() -> None:
    plain = identify(ColourEmbedder())
    assert (plain["model"], plain["fingerprint"], plain["pretrained"]) == ("colours", "c0ffee", "")
    assert plain["preprocessing"] is None
    assert "numpy" in plain["versions"]
    described = ColourEmbedder()
    described.pretrained, described.preprocessing, described.precision = "tag", {"size": 8}, "fp16"
    assert (plain["precision"], identify(described)["precision"]) == ("", "fp16")
    assert identify(described)["pretrained"] == "tag"
    assert identify(described)["preprocessing"] == {"size": 8}


def test_ids_are_those_given_or_else_places() -> None:
    assert example_ids(["b", "a"], 2, "x").tolist() == ["b", "a"]
    assert example_ids(None, 3, "x").tolist() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a"], "x: 3 examples must have as many ids, got 1"),
        (["a", "b", "a"], 'x: ids must differ, "a" occurs 2 times'),
    ],
)
def test_ids_by_which_nothing_can_be_paired_are_refused(ids: list[str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        example_ids(ids, 3, "x")
