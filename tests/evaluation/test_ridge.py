"""Words guessed from pixels."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import BagOfWordsRidge, Described, Embedder, EvaluationError, RawPixels, RetrievalTask
from tests.evaluation.fakes import COLOURS, LazyPictures, picture

NAMES = list(COLOURS)
CAPTIONS = [f"a {name} picture" for name in NAMES]


@pytest.fixture
def ridge() -> BagOfWordsRidge:
    return BagOfWordsRidge(LazyPictures(NAMES), CAPTIONS, RawPixels(side=2), alpha=1e-3)


def test_it_is_an_embedder_of_pictures_and_texts(ridge: BagOfWordsRidge) -> None:
    assert isinstance(ridge, Embedder)
    assert isinstance(ridge, Described)
    images, texts = ridge.encode_images(LazyPictures(NAMES)), ridge.encode_texts(CAPTIONS)
    assert images.shape == texts.shape
    assert images.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)


def test_the_map_is_that_of_ridge_regression(ridge: BagOfWordsRidge) -> None:
    pixels, words = RawPixels(side=2).encode_images(LazyPictures(NAMES)), ridge.encode_texts(CAPTIONS)
    centred = (pixels - pixels.mean(axis=0)).astype(np.float64)
    squares = centred.T @ centred + 1e-3 * np.eye(centred.shape[1])
    weights = np.linalg.solve(squares, centred.T @ (words - words.mean(axis=0)))
    expected = centred @ weights + words.mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(ridge.encode_images(LazyPictures(NAMES)), expected, atol=1e-4)


def test_it_finds_the_captions_of_pictures_like_those_learnt_from(ridge: BagOfWordsRidge) -> None:
    darker = [picture(name, 0.9) for name in NAMES]
    task = RetrievalTask.from_captions(darker, [[text] for text in CAPTIONS], dataset="d", resamples=20)
    assert task.evaluate(ridge).metrics["text_retrieval_recall@1"] == 1


def test_the_fingerprint_is_of_what_was_learnt(ridge: BagOfWordsRidge) -> None:
    same = BagOfWordsRidge(LazyPictures(NAMES), CAPTIONS, RawPixels(side=2), alpha=1e-3)
    other = BagOfWordsRidge(LazyPictures(NAMES[::-1]), CAPTIONS, RawPixels(side=2), alpha=1e-3)
    assert same.fingerprint == ridge.fingerprint != other.fingerprint


def test_mistakes_are_one_clear_error() -> None:
    with pytest.raises(EvaluationError, match="every picture needs one caption, got 1 pictures, 2 captions"):
        BagOfWordsRidge([picture("red")], ["a", "b"])
    with pytest.raises(EvaluationError, match=r"alpha must be > 0, got 0"):
        BagOfWordsRidge([picture("red")], ["a"], alpha=0)
