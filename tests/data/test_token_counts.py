from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.data import token_counts
from mmcl.data.loader import TrainData, build_train_data
from mmcl.data.token_counts import count_tokens
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from tests.data.builders import PREPROCESSING, CharacterTokenizer, write_lines, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")

TEXTS = ["abc", "b", "cab d"]


def data_of(train: Any, objectives: Any = "skip_gram", max_length: int = 32, **fields: Any) -> TrainData:
    recipe = Recipe.model_validate(
        {
            "data": {"train": train, "validation": 0, **fields},
            "objectives": [objectives] if isinstance(objectives, str) else objectives,
            "batch_size": 2,
        }
    )
    return build_train_data(recipe, PREPROCESSING, CharacterTokenizer(max_length))


def counted(data: TrainData) -> dict[str, int]:
    counts = count_tokens(data)
    assert counts.dtype == torch.int64
    assert counts.dim() == 1
    return {chr(token): int(counts[token]) for token in counts.nonzero()[:, 0]}


def text_file(folder: Path, texts: list[str] = TEXTS) -> str:
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(folder / "texts.txt")


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 100])
def test_every_token_of_every_text_counts_once(
    tmp_path: Path, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counts, "_ROWS_AT_A_TIME", rows_at_a_time)
    data = data_of(text_file(tmp_path))
    assert counted(data) == {"a": 2, "b": 3, "c": 2, "d": 1, " ": 1}
    assert len(count_tokens(data)) == ord("d") + 1


def test_what_is_cut_off_does_not_count(tmp_path: Path) -> None:
    assert counted(data_of(text_file(tmp_path), max_length=2)) == {"a": 2, "b": 2, "c": 1}


def test_held_out_rows_do_not_count(tmp_path: Path) -> None:
    texts = [chr(ord("A") + number) for number in range(40)]
    data = data_of(text_file(tmp_path, texts), validation=0.3)
    held = {texts[position] for position in data.held_out.tolist()}
    assert 0 < len(held) < 40
    assert set(counted(data)) == set(texts) - held


def test_all_captions_of_a_row_count_and_rows_without_any_are_passed_over(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 4)
    captions: list[Any] = [["ab", "a"], None, "c", ["b", ""]]
    rows = [{"image": name, "text": caption} for name, caption in zip(names, captions, strict=True)]
    rows = [{**row, "text": [row["text"]] if isinstance(row["text"], str) else row["text"]} for row in rows]
    file = write_lines(tmp_path / "pairs.jsonl", rows)
    objectives = ["clip", {"simclr": {"views": ["image.0", "image.0"]}}]
    assert counted(data_of(str(file), objectives)) == {"a": 2, "b": 2, "c": 1}


def test_counting_draws_no_random_number(tmp_path: Path) -> None:
    data = data_of(text_file(tmp_path))
    before = torch.get_rng_state()
    count_tokens(data)
    assert torch.equal(before, torch.get_rng_state())


def test_a_stream_is_refused(tmp_path: Path) -> None:
    data = data_of({"path": text_file(tmp_path), "streaming": True})
    with pytest.raises(UserError, match=r"data.train: the tokens of texts.txt have to be counted before .* a stream"):
        count_tokens(data)
