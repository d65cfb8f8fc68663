from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from PIL import Image
from typer.testing import CliRunner

from mmcl.cli.data import app
from mmcl.errors import UserError
from tests.data.builders import write_pairs


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def _preview(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["preview", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def test_preview_of_data_writes_a_sheet(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    said = _preview(write_pairs(tmp_path, 4), "--output", sheet, "--rows", 2)
    assert said.startswith(str(sheet))
    assert "224 px" in said
    assert _size(sheet)[1] == 8 + 2 * 168


def test_preview_of_a_recipe_takes_its_views_and_size(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 4)
    (tmp_path / "a.yaml").write_text(
        f"base: clip/finetune\ndata: {{train: {pairs}, image_views: [{{}}, {{}}]}}\n"
        "model: {image: {name: x, image_size: 32}, text: y}\n"
    )
    said = _preview(tmp_path / "a.yaml", "-o", tmp_path / "sheet.png")
    assert "32 px" in said
    assert _size(tmp_path / "sheet.png")[0] == 8 + 5 * 168 + 320


def test_overrides_name_columns(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 4)
    with pytest.raises(UserError, match=r'data.columns.text: no column "txt" in pairs.jsonl'):
        _preview(pairs, "data.columns.text=txt", "-o", tmp_path / "sheet.png")


def test_output_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--output: cannot write .*: No such file or directory"):
        _preview(write_pairs(tmp_path, 2), "-o", tmp_path / "gone" / "sheet.png")
