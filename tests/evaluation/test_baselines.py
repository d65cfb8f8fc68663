"""Pixels and words as embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from evaluation import TFIDF, BagOfWords, Described, Embedder, EvaluationError, RawPixels
from evaluation.baselines import terms_of
from tests.evaluation.fakes import LazyPictures, picture


def noise(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_raw_pixels_are_an_embedder() -> None:
    embedder = RawPixels()
    assert isinstance(embedder, Embedder)
    assert isinstance(embedder, Described)


def test_a_picture_of_the_side_is_its_own_pixels_from_minus_one_to_one_at_unit_norm() -> None:
    image = noise()
    pixels = np.asarray(image).astype(float).ravel() / 127.5 - 1
    (row,) = RawPixels().encode_images([image])
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, pixels / np.linalg.norm(pixels), rtol=1e-6)


def test_the_negative_of_a_picture_is_the_opposite_vector() -> None:
    first, second = RawPixels(side=8, mode="L").encode_images(
        [noise().convert("L"), ImageOps.invert(noise().convert("L"))]
    )
    assert first @ second == pytest.approx(-1, abs=0.02)


def test_every_picture_has_unit_norm_and_the_width_of_its_side_and_mode() -> None:
    images = [picture("white", 0.0), picture("white"), picture("white", 0.5), noise(size=(50, 20))]
    for mode, channels in (("RGB", 3), ("L", 1)):
        rows = RawPixels(side=8, mode=mode).encode_images(images)
        assert rows.shape == (4, 64 * channels)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert RawPixels(side=8, mode="L").fingerprint != RawPixels(side=8).fingerprint


def test_pictures_are_read_one_by_one_and_from_paths(tmp_path: Path) -> None:
    images = LazyPictures(["red", "green"])
    rows = RawPixels().encode_images(images)
    assert images.num_decoded == 2
    picture("red").save(tmp_path / "red.png")
    assert RawPixels().encode_images([tmp_path / "red.png"]).tolist() == rows[:1].tolist()


def test_what_has_no_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match="cannot be read"):
        RawPixels().encode_images([tmp_path / "broken.png"])
    with pytest.raises(EvaluationError, match="no texts"):
        RawPixels().encode_texts(["red"])
    with pytest.raises(EvaluationError, match="side must be >= 1, got 0"):
        RawPixels(side=0)
    with pytest.raises(EvaluationError, match='mode must be RGB or L, got "RGBA"'):
        RawPixels(mode="RGBA")


def test_terms_are_words_and_of_unspaced_scripts_characters_and_their_pairs() -> None:
    assert terms_of("It's 5 Ｐ.M., a CAFÉ!") == ["it", "s", "5", "p", "m", "a", "café"]
    assert terms_of("我去USA了。") == ["我", "去", "我去", "usa", "了"]
    assert terms_of("カタ กข") == ["カ", "タ", "カタ", "ก", "ข", "กข"]
    assert terms_of("... ，。") == []


TEXTS = ["a man rides a horse", "a man plays", "the horse plays", "我去睡觉", "我去上学", "!?"]


@pytest.mark.parametrize("kind", [BagOfWords, TFIDF])
def test_cosines_are_those_of_all_term_counts(kind: type[BagOfWords]) -> None:
    terms = sorted({term for text in TEXTS for term in terms_of(text)})
    counts = np.array([[terms_of(text).count(term) for term in terms] for text in TEXTS])
    if kind is TFIDF:
        counts = counts * (np.log((1 + len(TEXTS)) / (1 + (counts > 0).sum(axis=0))) + 1)
    expected = counts[:5] / np.linalg.norm(counts[:5], axis=1, keepdims=True)
    rows = kind(TEXTS).encode_texts(TEXTS)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[:5] @ rows[:5].T, expected @ expected.T, atol=1e-6)


@pytest.mark.parametrize("kind", [BagOfWords, TFIDF])
def test_a_text_without_a_known_term_is_like_no_other_but_its_kind(kind: type[BagOfWords]) -> None:
    rows = kind(TEXTS[:5]).encode_texts(["!?", "unheard", *TEXTS])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert rows[0] @ rows[1] == 1
    assert (rows[2:7] @ rows[0]).tolist() == [0] * 5


def test_word_counts_tell_themselves_apart_and_refuse_what_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({kind(texts).fingerprint for kind in (BagOfWords, TFIDF) for texts in (TEXTS, TEXTS[:3])}) == 4
    with pytest.raises(EvaluationError, match="a TF-IDF embeds texts and no pictures"):
        TFIDF(TEXTS).encode_images([picture("red")])
    with pytest.raises(EvaluationError, match="a bag of words needs texts with words, got 2 without any"):
        BagOfWords(["!", "..."])
    monkeypatch.setattr("evaluation.baselines.MAX_BYTES", 200)
    with pytest.raises(EvaluationError, match="a bag of words of 18 dimensions takes at most 2 texts at once, got 6"):
        BagOfWords(TEXTS).encode_texts(TEXTS)
