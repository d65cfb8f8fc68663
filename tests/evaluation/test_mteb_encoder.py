"""What MTEB asks for, answered by an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.evaluation.fakes import ColourEmbedder, picture, picture_vector, text_vector, unit

mteb = pytest.importorskip("mteb")

from evaluation.mteb_encoder import MTEBEncoder  # noqa: E402 - there is no such module without mteb


class TextsOnly(ColourEmbedder):
    modalities = ("text",)
    embedding_dim = 3
    max_tokens = 32


class Prompted(ColourEmbedder):
    """Remembers behind which prompt it was asked to encode."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.prompts = {name: f"{name}: " for name in names}
        self.asked: list[str | None] = []

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> np.ndarray:
        self.asked.append(prompt)
        return super().encode_texts(texts)


def encode(batches: list[dict[str, Any]], embedder: ColourEmbedder | None = None, **given: Any) -> np.ndarray:
    task = SimpleNamespace(name="SICK-R", type="STS")
    return MTEBEncoder(embedder or ColourEmbedder(), "mmcl/colours").encode(batches, task_metadata=task, **given)


def test_it_is_an_encoder_of_mteb() -> None:
    assert isinstance(MTEBEncoder(ColourEmbedder(), "mmcl/colours"), mteb.EncoderProtocol)


def test_rows_are_in_the_order_of_the_batches() -> None:
    texts = ["red", "blue", "green"]
    np.testing.assert_array_equal(
        encode([{"text": texts[:2]}, {"text": texts[2:]}]), unit([text_vector(text) for text in texts])
    )
    pictures = [picture(colour) for colour in texts]
    np.testing.assert_array_equal(
        encode([{"image": pictures[:2]}, {"image": pictures[2:]}]), unit([picture_vector(each) for each in pictures])
    )


def test_all_texts_reach_the_embedder_at_once_so_that_it_can_sort_them_by_length() -> None:
    class Counting(ColourEmbedder):
        calls = 0

        def encode_texts(self, texts: Any) -> np.ndarray:
            self.calls += 1
            return super().encode_texts(texts)

    embedder = Counting()
    encode([{"text": ["red"]}, {"text": ["blue"]}], embedder)
    assert embedder.calls == 1


def test_a_picture_with_a_text_is_the_sum_of_both() -> None:
    both = encode([{"image": [picture("red")], "text": ["blue"]}])
    expected = unit([picture_vector(picture("red"))]) + unit([text_vector("blue")])
    np.testing.assert_allclose(both, expected, rtol=1e-6)


def test_rows_that_are_not_of_unit_norm_are_refused() -> None:
    class Long(ColourEmbedder):
        def encode_texts(self, texts: Any) -> np.ndarray:
            return 2 * super().encode_texts(texts)

    with pytest.raises(ValueError, match="must embed texts to unit norm"):
        encode([{"text": ["red"]}], Long())


@pytest.mark.parametrize(
    ("names", "prompt_type", "expected"),
    [
        (("query", "document"), "query", "query"),
        (("query", "document"), "document", "document"),
        (("query", "passage"), "document", "passage"),
        (("query", "document"), None, None),
        (("query", "STS"), None, "STS"),
        (("query", "STS", "SICK-R"), "query", "SICK-R"),
        ((), "query", None),
    ],
)
def test_texts_stand_behind_the_prompt_that_mteb_chooses(
    names: tuple[str, ...], prompt_type: str | None, expected: str | None
) -> None:
    embedder = Prompted(*names)
    kind = None if prompt_type is None else mteb.types.PromptType(prompt_type)
    encode([{"text": ["red"]}], embedder, prompt_type=kind)
    assert embedder.asked == [expected]


def test_mteb_is_told_what_the_embedder_says_of_itself() -> None:
    meta = MTEBEncoder(TextsOnly(), "mmcl/colours").mteb_model_meta
    assert (meta.name, meta.revision, meta.modalities) == ("mmcl/colours", "c0ffee", ["text"])
    assert (meta.embed_dim, meta.max_tokens, meta.similarity_fn_name.value) == (3, 32, "cosine")
    assert MTEBEncoder(ColourEmbedder(), "mmcl/colours").mteb_model_meta.modalities == ["image", "text"]


def test_similarity_is_the_cosine() -> None:
    rows = unit([text_vector(text) for text in ("red", "blue")])
    similarity = MTEBEncoder(ColourEmbedder(), "mmcl/colours").similarity(rows, 2 * rows)
    np.testing.assert_allclose(similarity, rows @ rows.T, atol=1e-6)
