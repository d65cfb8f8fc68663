from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcl.data.preview import preview_sheet
from mmcl.errors import UserError
from tests.data.builders import PREPROCESSING, Wants, picture, recipe, write_lines, write_pairs

pytestmark = pytest.mark.usefixtures("empty_cache")


def _sheet(train: Path | dict[str, object], num_rows: int = 3, **data: object) -> Image.Image:
    return preview_sheet(recipe(train, **data).data, PREPROCESSING, num_rows)  # type: ignore[arg-type]


def test_sheet_has_a_line_per_row_and_a_column_per_view(tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 6)
    one, two = _sheet(file, 3), _sheet(file, 4, image_views=[{}, {"horizontal_flip": 0.5}])
    assert (one.mode, two.mode) == ("RGB", "RGB")
    assert two.width - one.width == 2 * 168
    assert two.height - one.height == 168
    assert _sheet(file, 100).height == _sheet(file, 6).height


def test_first_column_is_the_plain_resize(tmp_path: Path) -> None:
    write_pairs(tmp_path, 1)
    sheet = np.asarray(_sheet(tmp_path / "pairs.jsonl", 1))
    plain = Image.fromarray(PREPROCESSING.resize(picture(0)).permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(sheet[8:168, 8:168], np.asarray(plain.resize((160, 160), Image.Resampling.BICUBIC)))


def test_captions_are_drawn(tmp_path: Path) -> None:
    sheet = np.asarray(_sheet(write_pairs(tmp_path, 1), 1))
    assert (sheet[:, 520:] < 100).any()


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_that_cannot_be_used_are_shown_with_the_reason(tmp_path: Path, streaming: bool) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"image": "gone.png", "text": "x"}, {"image": "gone.png", "text": None}])
    sheet = np.asarray(_sheet({"path": str(file), "streaming": streaming}, 2)).astype(int)
    is_red = (sheet[..., 0] - sheet[..., 1] > 100) & (sheet[..., 0] > 150)
    assert is_red[:168, :500].any()
    assert is_red[168:, :500].any()
    assert not is_red[:168, 520:].any()
    assert is_red[168:, 520:].any()


def test_missing_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'data.columns.text: no column "titel"'):
        _sheet(write_pairs(tmp_path, 1), columns={"text": "titel"})


def test_texts_alone_have_no_picture_columns(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"text": "a", "positive": "b"}, {"text": "c", "positive": None}])
    wants = Wants(("text.0", "text.1"))
    data = recipe(file).data
    plain = np.asarray(preview_sheet(data, PREPROCESSING)).astype(int)
    assert plain.shape[1] == 8 + 320
    both = np.asarray(preview_sheet(data, PREPROCESSING, objectives=[wants])).astype(int)
    assert (both[:168] < 100).sum() > (plain[:168] < 100).sum()
    is_red = (both[..., 0] - both[..., 1] > 100) & (both[..., 0] > 150)
    assert not is_red[:168].any()
    assert is_red[168:].any()


def test_what_a_row_may_lack_is_said_in_grey(tmp_path: Path) -> None:
    write_pairs(tmp_path, 1)
    file = write_lines(tmp_path / "a.jsonl", [{"image": None, "text": "x"}, {"image": "0.png", "text": "y"}])
    data = recipe(file).data
    clip, simcse = Wants(("image.0", "text.0")), Wants(("text.0", "text.0"))
    for objectives, is_left_out in (([clip], True), ([clip, simcse], False)):
        sheet = np.asarray(preview_sheet(data, PREPROCESSING, objectives=objectives)).astype(int)[:168, :500]
        assert (sheet < 200).any()
        assert (sheet[..., 0] - sheet[..., 1] > 100).any() == is_left_out


def test_several_sources_are_shown_in_turn_and_named(tmp_path: Path) -> None:
    first = write_pairs(tmp_path / "a", 8)
    texts = write_lines(tmp_path / "b.jsonl", [{"title": f"t {row}"} for row in range(2)])
    train = [str(first), {"path": str(texts), "columns": {"text": "title"}}]
    sheet = np.asarray(_sheet(train, 5)).astype(int)  # type: ignore[arg-type]
    assert sheet.shape[0] == 8 + 5 * 168
    is_coloured = [np.ptp(sheet[8 + row * 168 : 168 + row * 168, 8:168], axis=2).mean() > 20 for row in range(5)]
    assert is_coloured == [True, True, True, False, False]
    is_grey = (np.ptp(sheet[..., 520:, :], axis=2) < 10) & (abs(sheet[:, 520:, 0] - 128) < 20)
    assert all(is_grey[8 + row * 168 : 24 + row * 168].any() for row in range(5))
