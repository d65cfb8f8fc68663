from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.embedder import Described, Embedder, Prompted
from mmcl.errors import UserError
from mmcl.sentence_embedder import SentenceEmbedder
from tests.tiny import WORDS, save_tokenizer
from tests.towers import joint_families, sentence_models
from tests.towers.samples import pictures

PROMPTS = {"query": "black "}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    sentence_models.save(tmp_path, save_tokenizer(tmp_path / "words"), "weightedmean", prompts=PROMPTS)
    return str(tmp_path / "model")


def test_it_is_an_embedder_with_prompts(folder: str) -> None:
    found = SentenceEmbedder(folder, ("text",), "cpu")
    assert isinstance(found, Embedder)
    assert isinstance(found, Described)
    assert isinstance(found, Prompted)
    behind, plain = found.encode_texts(["knight"], prompt="query"), found.encode_texts(["black knight"])
    np.testing.assert_allclose(behind, plain, atol=1e-6)
    with pytest.raises(UserError, match='the model has no prompt "title"'):
        found.encode_texts(["knight"], prompt="title")


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_rows_of_unit_norm_come_in_order_whatever_the_batch(tmp_path: Path, batch_size: int) -> None:
    joint_families.save(joint_families.FAMILIES["clip"], tmp_path)
    found = SentenceEmbedder(str(tmp_path), ("image", "text"), "cpu", batch_size)
    for rows, single in (
        (found.encode_texts(WORDS), [found.encode_texts([word])[0] for word in WORDS]),
        (found.encode_images(pictures()), [found.encode_images([picture])[0] for picture in pictures()]),
    ):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, np.stack(single), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_half_precision_stays_near_and_has_unit_norm(folder: str) -> None:
    full = SentenceEmbedder(folder, ("text",), "cpu").encode_texts(WORDS)
    half = SentenceEmbedder(folder, ("text",), "cpu", precision="bf16").encode_texts(WORDS)
    assert not np.array_equal(full, half)
    assert (full * half).sum(axis=1).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)


def test_the_fingerprint_follows_every_file_and_the_precision(folder: str) -> None:
    def fingerprint(**fields: str) -> str:
        return SentenceEmbedder(folder, ("text",), "cpu", **fields).fingerprint  # type: ignore[arg-type]

    before = fingerprint()
    assert fingerprint() == before
    assert fingerprint(precision="bf16") != before
    path = Path(folder) / "config_sentence_transformers.json"
    path.write_text(path.read_text().replace("black ", "white "))
    assert fingerprint() != before


def test_what_it_does_not_encode_and_what_is_no_list_are_refused(folder: str, tmp_path: Path) -> None:
    found = SentenceEmbedder(folder, ("text",), "cpu")
    with pytest.raises(UserError, match="it is a model of texts alone"):
        found.encode_images(pictures())
    with pytest.raises(UserError, match="encode_texts takes a list of texts, got 'knight'"):
        found.encode_texts("knight")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="sentence-transformers cannot open"):
        SentenceEmbedder(str(tmp_path / "empty"), ("text",))
