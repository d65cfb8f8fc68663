from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mmcl
from evaluation.corruptions import CorruptedPictures
from evaluation.embedder import Described, Embedder
from mmcl.cli.main import main
from mmcl.errors import UserError
from mmcl.file_embedder import FileEmbedder
from tests.studies import save_models
from tests.tiny import save_pairs

ROWS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return save_pairs(tmp_path / "data", num_rows=30, num_groups=30)


def captions(pairs: Path) -> list[str]:
    return [line.split(",")[1] for line in pairs.read_text().splitlines()[1:]]


def retrieval(model: str, pairs: Path) -> Any:
    (result,) = mmcl.evaluate(model, tasks=["retrieval"], data=str(pairs))
    return result.metrics


def test_what_mmcl_embeds_is_judged_as_the_model_is(pairs: Path, tmp_path: Path) -> None:
    (model,) = save_models(tmp_path, ["a"])
    vectors = str(tmp_path / "vectors.parquet")
    assert main(["embed", model, str(pairs), "-o", vectors, "--what", "image"]) == 0
    found = FileEmbedder(vectors)
    assert isinstance(found, Embedder)
    assert isinstance(found, Described)
    assert found.modalities == ("image",)
    rows, expected = knn([vectors, model], pairs, tmp_path)
    assert rows.metrics == expected.metrics


def knn(models: list[str], pairs: Path, folder: Path) -> Any:
    """Neighbours among equal pictures in a folder of their own."""
    train = str(save_pairs(folder / "train", num_rows=30, num_groups=30))
    return mmcl.evaluate(models, evaluate=[{"task": "knn", "train": train, "k": 3}], data=str(pairs))


@pytest.mark.parametrize("form", ["npz", "parquet by path", "parquet by row"])
def test_every_form_gives_the_same_numbers(pairs: Path, tmp_path: Path, form: str) -> None:
    texts = list(dict.fromkeys(captions(pairs)))
    text_rows = ROWS[::-1][: len(texts)]
    if form == "npz":
        path = tmp_path / "x.npz"
        np.savez(path, images=ROWS, texts=text_rows, text=np.array(texts))
    else:
        path = tmp_path / "x.parquet"
        by_path = form.endswith("path")
        keys = [f"{row}.png" if by_path else row for row in range(30)]
        columns = {
            "image" if by_path else "id": [*keys, *[None] * len(texts)],
            "text": [*[None] * 30, *texts],
            "embedding": [*ROWS.tolist(), *text_rows.tolist()],
        }
        pq.write_table(pa.table(columns), path)
    found = FileEmbedder(str(path))
    assert found.modalities == ("image", "text")
    np.testing.assert_allclose(found.encode_texts(texts[:3]), text_rows[:3], atol=1e-6)

    class Same:
        name, fingerprint = "same", "1"

        def encode_images(self, images: Any) -> Any:
            return ROWS

        def encode_texts(self, given: Any) -> Any:
            return np.stack([text_rows[texts.index(text)] for text in given])

    (expected,) = mmcl.evaluate(Same(), tasks=["retrieval"], data=str(pairs), batch_size=30)
    assert retrieval(str(path), pairs) == expected.metrics


def save(path: Path, **arrays: Any) -> str:
    if path.suffix == ".npy":
        np.save(path, arrays["rows"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        pq.write_table(pa.table(arrays), path)
    return str(path)


def with_nan() -> Any:
    rows = ROWS.copy()
    rows[17, 2] = np.nan
    return rows


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("x.npy", {"rows": with_nan()}, "x.npy: row 17 is not finite"),
        ("x.npy", {"rows": ROWS * 0}, "x.npy: row 0 is zero"),
        ("x.npy", {"rows": ROWS[0]}, r"must be a table of floats, one row each, got float32 of shape \(5,\)"),
        ("x.npy", {"rows": np.arange(6).reshape(2, 3)}, "table of floats"),
        ("x.npz", {"images": ROWS, "texts": ROWS[:2, :4], "text": ["a", "b"]}, "of one width, got 5 and 4"),
        ("x.npz", {"texts": ROWS[:2], "text": ["a"]}, "2 texts must have as many strings in text, got 1"),
        ("x.npz", {"rows": ROWS}, "must hold images, or texts and text, got rows"),
        ("x.parquet", {"vector": ROWS.tolist()}, "one of text, image and id; it has vector"),
        ("x.parquet", {"id": [1, 2], "vector": [[1.0], [1.0, 2.0]]}, "of one length, got lengths 1, 2"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, arrays: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FileEmbedder(save(tmp_path / name, **arrays))


def test_a_file_of_something_else_is_one_message(tmp_path: Path) -> None:
    for suffix in (".npy", ".npz", ".parquet"):
        (tmp_path / f"x{suffix}").write_bytes(b"nothing of the kind")
        with pytest.raises(UserError, match=f"cannot read .*x{suffix}"):
            FileEmbedder(str(tmp_path / f"x{suffix}"))


def test_another_number_of_rows_than_the_data_has_is_refused(pairs: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", images=ROWS[:29], texts=ROWS, text=captions(pairs))
    with pytest.raises(UserError, match=r"x.npz has 29 pictures and pairs.csv 30 rows: it must have one for each"):
        retrieval(path, pairs)


def test_a_text_or_a_picture_without_an_embedding_is_named(pairs: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", images=ROWS, texts=ROWS[:2], text=captions(pairs)[:2])
    with pytest.raises(UserError, match=r'has no embedding of .* texts, the first: "'):
        retrieval(path, pairs)
    path = save(tmp_path / "x.parquet", id=list(range(29)), vector=ROWS[:29].tolist())
    with pytest.raises(UserError, match=r"has no embedding of row 29 of pairs.csv \(29.png\)"):
        knn([path], pairs, tmp_path)


def test_corrupted_pictures_are_not_taken_for_those_in_the_file(pairs: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=ROWS, texts=ROWS[:1], text=np.array(["a"]))
    pictures = [Image.new("RGB", (4, 4))] * len(ROWS)
    found = FileEmbedder(str(tmp_path / "x.npz"))
    assert found.encode_images(pictures).shape == ROWS.shape
    with pytest.raises(UserError, match="has embeddings of pictures as they are; robustness corrupts them"):
        found.encode_images(CorruptedPictures(pictures, "fog", 1))


def test_positions_beyond_the_data_are_of_other_data(pairs: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "x.parquet", id=list(range(31)), vector=[*ROWS.tolist(), ROWS[0].tolist()])
    with pytest.raises(UserError, match=r"of row 30, and pairs.csv only 30 rows: it is of other data"):
        knn([path], pairs, tmp_path)


def test_what_lies_in_a_file_is_not_cached(pairs: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", images=ROWS, texts=ROWS, text=captions(pairs))
    mmcl.evaluate([path], tasks=["retrieval"], data=str(pairs), output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "done.jsonl").is_file()
    assert not (tmp_path / "out" / "cache").exists()


def test_rows_are_brought_to_unit_norm_which_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = FileEmbedder(save(tmp_path / "x.npz", texts=ROWS * 3, text=[str(n) for n in range(30)]))
    np.testing.assert_allclose(found.encode_texts(["4"]), ROWS[4:5], atol=1e-6)
    assert "30 of 30 rows are not of unit norm; normalised" in caplog.text


def test_of_limited_data_the_first_rows_are_taken(pairs: Path, tmp_path: Path) -> None:
    limited = {"path": str(pairs), "limit": 20}
    for file in (
        save(tmp_path / "x.npz", images=ROWS, texts=ROWS, text=captions(pairs)),
        save(tmp_path / "x.parquet", id=list(range(30)), vector=ROWS.tolist()),
    ):
        (found,) = mmcl.evaluate(file, tasks=["clustering"], data=limited)
        np.save(tmp_path / "first.npy", ROWS[:20])
        (expected,) = mmcl.evaluate(str(tmp_path / "first.npy"), tasks=["clustering"], data=limited)
        assert found.metrics == expected.metrics
    np.save(tmp_path / "few.npy", ROWS[:19])
    with pytest.raises(UserError, match=r"few.npy has 19 pictures and pairs.csv 20 rows"):
        mmcl.evaluate(str(tmp_path / "few.npy"), tasks=["clustering"], data=limited)
