from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from evaluation import CachedEmbedder
from mmcl.shared_pass import encode_images_once
from tests.studies import ByColour


class Counting(list[Image.Image]):
    """Pictures that count how often one of them is asked for."""

    num_asked = 0

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        self.num_asked += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_each_picture_is_asked_for_once_and_every_model_sees_all_in_order(batch_size: int) -> None:
    pictures = Counting(Image.new("RGB", (4, 4), (20 * n, 255 - n, 7)) for n in range(8))
    embedders = [ByColour("a"), ByColour("b")]
    cached = [CachedEmbedder(embedder) for embedder in embedders]
    encode_images_once(pictures, cached, batch_size)
    assert pictures.num_asked == 8
    for one in cached:
        np.testing.assert_array_equal(one.encode_images(pictures), ByColour().encode_images(list(pictures)))
    assert [embedder.num_pictures for embedder in embedders] == [8, 8]


def test_a_model_that_knows_the_pictures_is_left_in_peace() -> None:
    pictures = Counting([Image.new("RGB", (4, 4))])
    embedder = ByColour()
    cached = CachedEmbedder(embedder)
    cached.encode_images(pictures)
    pictures.num_asked = 0
    encode_images_once(pictures, [cached], 8)
    assert (embedder.num_pictures, pictures.num_asked) == (1, 0)
