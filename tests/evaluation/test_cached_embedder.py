"""Sequences are encoded once."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation import CachedEmbedder, Described, Embedder
from evaluation.corruptions import CorruptedPictures
from tests.evaluation.fakes import ColourEmbedder, LazyPictures, PromptedColours, RebuildableColours, picture


def test_each_sequence_is_encoded_once() -> None:
    inner = ColourEmbedder()
    cached = CachedEmbedder(inner)
    pictures, others = LazyPictures(["red", "blue"]), LazyPictures(["blue", "red"])
    first = cached.encode_images(pictures)
    assert cached.encode_images(pictures) is first
    np.testing.assert_array_equal(cached.encode_images(others), first[::-1])
    assert inner.num_images == 4
    texts = ["red"]
    assert cached.encode_texts(texts) is cached.encode_texts(texts)
    assert inner.num_texts == 1


def test_a_sequence_is_encoded_once_behind_each_prompt() -> None:
    inner = PromptedColours({"query": "red "})
    cached, texts = CachedEmbedder(inner), ["green"]
    behind = cached.encode_texts(texts, prompt="query")
    assert cached.encode_texts(texts, prompt="query") is behind
    assert cached.prompts == inner.prompts
    assert not np.array_equal(cached.encode_texts(texts), behind)
    assert inner.num_texts == 2


def test_a_sequence_that_is_gone_does_not_lend_its_id() -> None:
    cached = CachedEmbedder(ColourEmbedder())
    for colour in ("red", "blue", "green"):  # each list dies before the next is made
        row = cached.encode_texts([colour])[0]
        np.testing.assert_array_equal(row, ColourEmbedder().encode_texts([colour])[0])


def test_corrupted_pictures_are_not_remembered() -> None:
    inner, corrupted = ColourEmbedder(), CorruptedPictures([picture("red")], "contrast", 1)
    cached = CachedEmbedder(inner)
    np.testing.assert_array_equal(cached.encode_images(corrupted), cached.encode_images(corrupted))
    assert inner.num_images == 2


def test_tasks_share_what_the_untrained_self_encodes() -> None:
    cached, images = CachedEmbedder(RebuildableColours()), [picture("red")]
    untrained = cached.untrained(seed=1)
    assert untrained is cached.untrained(seed=1)
    assert untrained.fingerprint == RebuildableColours(seed=1).fingerprint != cached.untrained().fingerprint
    assert untrained.encode_images(images) is untrained.encode_images(images)
    assert not np.array_equal(untrained.encode_images(images), cached.encode_images(images))
    assert CachedEmbedder(ColourEmbedder()).untrained() is None


def test_it_is_an_embedder_and_says_what_the_inner_one_says() -> None:
    inner = ColourEmbedder()
    plain = CachedEmbedder(inner)
    assert isinstance(plain, Embedder)
    assert (plain.name, plain.fingerprint, plain.pretrained, plain.preprocessing) == ("colours", "c0ffee", "", {})
    assert plain.precision == ""
    inner.pretrained, inner.preprocessing, inner.precision = "laion", {"size": 8}, "bf16"
    described = CachedEmbedder(inner)
    assert isinstance(described, Described)
    assert (described.pretrained, described.preprocessing, described.precision) == ("laion", {"size": 8}, "bf16")


class Store:
    """Keeps embeddings by what was encoded."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    def of(self, embedder: Embedder) -> Store:
        return self

    def load(self, items: Any, kind: str) -> Any:
        return self.kept.get((kind, len(items)))

    def save(self, items: Any, kind: str, rows: Any) -> None:
        self.kept[kind, len(items)] = rows


def test_a_store_is_asked_first_and_given_what_was_made() -> None:
    store, texts = Store(), ["a", "b"]
    made = CachedEmbedder(ColourEmbedder(), store).encode_texts(texts)
    pictures = LazyPictures(["red"])
    CachedEmbedder(ColourEmbedder(), store).encode_images(pictures)
    assert set(store.kept) == {("texts", 2), ("images", 1)}
    store.kept["texts", 2] = made * 2
    second = CachedEmbedder(ColourEmbedder(), store)
    np.testing.assert_array_equal(second.encode_texts(texts), made * 2)
    assert second.knows_images(pictures)
    assert not second.knows_images(LazyPictures(["red", "blue"]))
