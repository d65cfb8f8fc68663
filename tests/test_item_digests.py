from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcl.data.evaluation_rows import open_evaluation_rows
from mmcl.item_digests import Digests
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.tiny import save_pairs

DIFFERENT: list[Any] = [
    *([], [[]], ["a"], ["a", "b"], ["b", "a"], ["ab"], ["a", ""], [["a"], ["b"]], [["a", "b"]]),
    *([1], ["1"], [1.0], [True], [None], 1, "a", None),
    *(np.array([1]), np.array([1.0]), np.array([[1]]), np.array([1, 2])),
    *({}, {"a": 1}, {"a": 2}, {"b": 1}),
]


def test_values_that_differ_have_sums_that_differ() -> None:
    assert len({Digests().of(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_equal_values_have_equal_sums() -> None:
    assert Digests().of(["a", 1]) == Digests().of(("a", 1))
    assert Digests().of(np.arange(6)[::2]) == Digests().of(np.array([0, 2, 4]))


def test_what_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError):
        Digests().of([object()])


def test_pictures_of_rows_count_by_every_byte(tmp_path: Path) -> None:
    pairs = save_pairs(tmp_path, num_rows=6, num_groups=6)

    def digest() -> str:
        images = open_evaluation_rows(SourceConfig(path=str(pairs)), ColumnsConfig()).images
        return Digests().of_pictures(images)

    before = digest()
    assert digest() == before
    content = (tmp_path / "2.png").read_bytes()
    picture = Image.open(tmp_path / "2.png")
    picture.putpixel((3, 3), (1, 2, 3))
    picture.save(tmp_path / "2.png")
    assert digest() != before
    (tmp_path / "2.png").write_bytes(content)
    assert digest() == before


def test_a_path_among_pictures_stands_for_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    sums = set()
    for colour in ("red", "blue"):
        Image.new("RGB", (4, 4), colour).save(path)
        sums |= {Digests().of_pictures([str(path)]), Digests().of_pictures([path])}
    assert len(sums) == 2
    digests, paths = Digests(), [str(path)]
    assert digests.of(paths) != digests.of_pictures(paths)


@dataclass
class Task:
    texts: list[str]
    k: int


def test_every_field_of_a_task_has_a_sum() -> None:
    first, second = Digests().of_fields(Task(["a"], 5)), Digests().of_fields(Task(["a"], 6))
    assert list(first) == ["texts", "k"]
    assert first["texts"] == second["texts"]
    assert first["k"] != second["k"]
