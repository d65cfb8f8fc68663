"""Several processes find what one finds, to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.embedder import Embeddings, Picture
from mmcl.embedder import ModelEmbedder
from mmcl.model import build_model
from mmcl.text.prompts import Prompts
from mmcl.training.sharded_embedder import ShardedEmbedder
from tests.evaluation.fakes import ColourEmbedder, LazyPictures
from tests.processes import run_processes
from tests.tiny import bert_alone, save_tokenizer, vit_bert_pair


def test_one_two_and_three_processes_find_the_same_to_the_last_digit_for_1_to_65_rows(tmp_path: Path) -> None:
    model, sizes = vit_bert_pair(save_tokenizer(tmp_path / "tokenizer"), dropout=0.1), list(range(1, 66))
    (alone,), *others = (
        run_processes("judged_sizes", world_size, tmp_path / str(world_size), model=model, sizes=sizes)
        for world_size in (1, 2, 3)
    )
    for found in (of_process for world in others for of_process in world):
        for size, here, expected in zip(sizes, found, alone, strict=True):
            for rows, wanted in zip(here["rows"], expected["rows"], strict=True):
                assert np.array_equal(rows, wanted), size
            assert here["results"] == expected["results"], size


def test_a_row_is_encoded_in_the_batch_in_which_one_process_would(tmp_path: Path) -> None:
    texts = ["letter " * (row % 9) + "a" for row in range(40)]
    embedder = ModelEmbedder(build_model(bert_alone(save_tokenizer(tmp_path))), "texts", batch_size=6)
    assert np.array_equal(ShardedEmbedder(embedder).encode_texts(texts), embedder.encode_texts(texts))


def test_pictures_are_decoded_a_batch_at_a_time() -> None:
    pictures, num_decoded = LazyPictures(["red", "blue"] * 75), []

    class Watched(ColourEmbedder):
        batch_size = 64

        def encode_images(self, images: Sequence[Picture]) -> Embeddings:
            num_decoded.append(pictures.num_decoded)
            return super().encode_images(images)

    assert len(ShardedEmbedder(Watched()).encode_images(pictures)) == 150
    assert num_decoded == [64, 128, 150]


def test_a_sharded_embedder_tells_what_the_one_it_wraps_does(tmp_path: Path) -> None:
    embedder = ModelEmbedder(build_model(bert_alone(save_tokenizer(tmp_path))), "texts", pretrained="tag")
    sharded = ShardedEmbedder(embedder)
    assert sharded.modalities == embedder.modalities == ("text",)
    embedder.model.tokenizer.prompts = Prompts({"query": "black "})
    assert np.array_equal(sharded.encode_texts(["a"], prompt="query"), embedder.encode_texts(["a"], prompt="query"))
    for name in ("name", "fingerprint", "pretrained", "preprocessing", "precision", "prompts"):
        assert getattr(sharded, name) == getattr(embedder, name)
    assert isinstance(sharded.untrained(3), ShardedEmbedder)
    assert sharded.untrained(3).fingerprint == embedder.untrained(3).fingerprint != embedder.fingerprint
    assert ShardedEmbedder(ColourEmbedder()).untrained() is None
    # One that does not say what it encodes has both of a protocol's methods.
    assert ShardedEmbedder(ColourEmbedder()).modalities == ("image", "text")
