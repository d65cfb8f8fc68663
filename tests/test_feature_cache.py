from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation import CachedEmbedder
from mmcl.embedder import ModelEmbedder
from mmcl.feature_cache import FeatureCache
from mmcl.item_digests import Digests
from mmcl.model import TwoTower, build_model
from mmcl.text.prompts import Prompts
from tests.studies import ByColour
from tests.tiny import WORDS, save_tokenizer, vit_bert_pair

TEXTS = ["black knight", "two"]


def cached(embedder: Any, folder: Path, told: list[str] | None = None) -> CachedEmbedder:
    return CachedEmbedder(embedder, FeatureCache(folder, Digests(), (told or []).append))


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_was_encoded_is_taken_and_not_encoded_again(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    first, second = ByColour(), ByColour()
    for embedder in (first, second):
        store = cached(embedder, tmp_path)
        rows = store.encode_images(pictures), store.encode_texts(TEXTS)
        np.testing.assert_array_equal(rows[0], ByColour().encode_images(pictures))
        np.testing.assert_array_equal(rows[1], ByColour().encode_texts(TEXTS))
    assert (first.num_pictures, first.num_texts, second.num_pictures, second.num_texts) == (2, 2, 0, 0)
    assert len(files(tmp_path)) == 2


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return save_tokenizer(tmp_path / "tokenizer")


def other_weight(model: TwoTower) -> None:
    model.towers.text_projection.weight.data[0, 0] += 1e-6


def other_prompt(model: TwoTower) -> None:
    model.tokenizer.prompts = Prompts({"query": "black "})


def other_mean(model: TwoTower) -> None:
    model.preprocessing = model.preprocessing.with_fields(None, (0.4, 0.5, 0.5), None)


def nothing(model: TwoTower) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "fields", "num_files"),
    [
        (nothing, {}, 1),
        (other_weight, {}, 2),
        (other_prompt, {}, 2),
        (other_mean, {}, 2),
        (nothing, {"precision": "bf16"}, 2),
        (nothing, {"batch_size": 1}, 2),
        (nothing, {"name": "another"}, 2),
    ],
)
def test_whatever_can_change_an_embedding_misses(
    tokenizer: str, tmp_path: Path, change: Any, fields: dict[str, Any], num_files: int
) -> None:
    def encode(change: Any, **fields: Any) -> None:
        model = build_model(vit_bert_pair(tokenizer))
        change(model)
        cached(ModelEmbedder(model, **{"name": "x", **fields}), tmp_path / "cache").encode_texts(TEXTS)

    encode(nothing)
    encode(change, **fields)
    assert len(files(tmp_path / "cache")) == num_files


def test_precision_and_device_of_anybodys_object_count_too(tmp_path: Path) -> None:
    for number, fields in enumerate(({}, {"precision": "fp32"}, {"precision": "bf16"}, {"device": "cuda"}), start=1):
        embedder = ByColour()
        vars(embedder).update(fields)
        cached(embedder, tmp_path).encode_texts(TEXTS)
        assert len(files(tmp_path)) == number


def test_other_items_kinds_prompts_and_libraries_miss(
    tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    other_prompt(model)
    embedder, folder = ModelEmbedder(model, "x"), tmp_path / "cache"
    cached(embedder, folder).encode_texts(TEXTS)
    for number, given in enumerate((TEXTS[:1], TEXTS[::-1], [*TEXTS, ""], ["black knigh", "ttwo"]), start=2):
        cached(embedder, folder).encode_texts(given)
        assert len(files(folder)) == number, given
    cached(embedder, folder).encode_texts(TEXTS, prompt="query")
    assert len(files(folder)) == 6
    monkeypatch.setattr("mmcl.feature_cache.library_versions", lambda names: {"torch": "0"})
    cached(embedder, folder).encode_texts(TEXTS)
    assert len(files(folder)) == 7


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
def test_a_damaged_file_is_made_again_and_said(tmp_path: Path, damage: str) -> None:
    told: list[str] = []
    expected = cached(ByColour(), tmp_path).encode_texts(WORDS)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-5], "changed": content[:-1] + bytes([content[-1] ^ 1]), "emptied": b""}[damage])
    store = FeatureCache(tmp_path, Digests(), told.append)
    for num_encoded in (len(WORDS), 0):
        embedder = ByColour()
        np.testing.assert_array_equal(CachedEmbedder(embedder, store).encode_texts(WORDS), expected)
        assert embedder.num_texts == num_encoded
    (line,) = told
    assert "is damaged" in line
    assert "encoding again" in line


def test_embeddings_that_no_task_would_take_are_not_kept(tmp_path: Path) -> None:
    class Broken(ByColour):
        def encode_texts(self, texts: Any) -> Any:
            return np.full((len(texts), 3), np.nan, dtype=np.float32)

    assert np.isnan(cached(Broken(), tmp_path).encode_texts(TEXTS)).all()
    assert files(tmp_path) == []


def test_the_untrained_model_is_kept_beside_the_trained_one(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(vit_bert_pair(tokenizer), seed=1)
    for _ in range(2):
        untrained = cached(ModelEmbedder(model, "x"), tmp_path / "cache").untrained()
        assert untrained is not None
        untrained.encode_texts(TEXTS)
    assert len(files(tmp_path / "cache")) == 1
