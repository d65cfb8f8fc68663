from __future__ import annotations

import pickle

from PIL import Image

from mmcl.data.pictures import MOST_BYTES_OF_ONE, PictureCache


def test_pictures_are_kept_until_there_is_no_room() -> None:
    cache = PictureCache(most_bytes=250)
    pictures = [Image.new("L", (10, 10), shade) for shade in range(4)]
    for position, picture in enumerate(pictures):
        cache.add(position, picture)
    assert [cache.get(position) for position in range(4)] == [*pictures[:2], None, None]
    cache.add(4, Image.new("L", (5, 5)))
    assert cache.get(4) is not None
    assert cache.num_bytes == 225


def test_colours_take_three_times_the_room() -> None:
    cache = PictureCache(most_bytes=299)
    cache.add(0, Image.new("RGB", (10, 10)))
    assert cache.get(0) is None


def test_large_pictures_are_not_kept() -> None:
    cache = PictureCache()
    cache.add(0, Image.new("L", (MOST_BYTES_OF_ONE + 1, 1)))
    cache.add(1, Image.new("L", (MOST_BYTES_OF_ONE, 1)))
    assert cache.get(0) is None
    assert cache.get(1) is not None


def test_a_worker_gets_an_empty_one() -> None:
    cache = PictureCache(500)
    cache.add(0, Image.new("L", (10, 10)))
    sent = pickle.loads(pickle.dumps(cache))
    assert (sent.most_bytes, sent.num_bytes, sent.get(0)) == (500, 0, None)
