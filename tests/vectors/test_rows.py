from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from mmcl.embedder import ModelEmbedder
from mmcl.model import build_model
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.vectors.rows import RowsToEmbed, open_rows
from tests.tiny import resnet_pair, save_tokenizer


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> ModelEmbedder:
    return ModelEmbedder(build_model(resnet_pair(save_tokenizer(tmp_path_factory.mktemp("x")))), "tiny", batch_size=2)


def opened(embedder: ModelEmbedder, folder: Path, rows: dict[str, Any], what: str, **options: Any) -> RowsToEmbed:
    kinds = {"image": datasets.Image()} if "image" in rows else {}
    saved = datasets.Dataset.from_dict(rows)
    for name, kind in kinds.items():
        saved = saved.cast_column(name, kind)
    saved.save_to_disk(str(folder))
    return open_rows(SourceConfig(path=str(folder)), ColumnsConfig(), embedder, what, options.get("id_column"))


def pictures(*colours: str) -> list[Image.Image]:
    return [Image.new("RGB", (9, 7), colour) for colour in colours]


def test_embedded_pictures_are_embedded_with_their_ids(embedder: ModelEmbedder, tmp_path: Path) -> None:
    colours = pictures("red", "blue", "white", "black", "green")
    rows = opened(embedder, tmp_path / "x", {"image": colours, "sku": list("abcde")}, "image", id_column="sku")
    part = rows.embed(embedder, 1, 5)
    assert part.ids.to_pylist() == ["b", "c", "d", "e"]
    np.testing.assert_allclose(part.vectors, embedder.encode_images(colours[1:]), atol=1e-6)
    assert part.left_out == ()


def test_the_digest_follows_what_is_embedded_and_what_names_it(embedder: ModelEmbedder, tmp_path: Path) -> None:
    base = {"text": ["one", "two"], "sku": ["a", "b"], "other": [1, 2]}
    found = {}
    for name, change in {
        "base": {},
        "again": {},
        "another column": {"other": [1, 3]},
        "text": {"text": ["one", "three"]},
        "order": {"text": ["two", "one"]},
        "id": {"sku": ["a", "c"]},
    }.items():
        rows = opened(embedder, tmp_path / name.replace(" ", ""), {**base, **change}, "text", id_column="sku")
        found[name] = rows.digest()
    assert found["base"] == found["again"] == found["another column"]
    assert len(set(found.values())) == 4


def test_the_digest_of_pictures_goes_by_path_and_length(embedder: ModelEmbedder, tmp_path: Path) -> None:
    digests = []
    for name, size in (("a", 9), ("b", 9), ("c", 90)):
        noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        rows = opened(embedder, tmp_path / name, {"image": [Image.fromarray(noise)]}, "image")
        digests.append(rows.digest())
    assert digests[0] == digests[1] != digests[2]


def test_no_rows_at_all_make_an_empty_part(embedder: ModelEmbedder, tmp_path: Path) -> None:
    rows = opened(embedder, tmp_path / "x", {"text": ["", None, "one"]}, "text")
    part = rows.embed(embedder, 0, 2)
    assert part.vectors.shape == (0, 8)
    assert [record.sample_id for record in part.left_out] == [0, 1]
