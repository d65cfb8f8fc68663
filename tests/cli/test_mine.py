from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmcl.cli.main import main
from mmcl.cli.mine import _lines
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.vectors.mine import MineReport
from tests.tiny import resnet_pair, save_pairs, save_tokenizer
from tests.towers.tiny_configs import scramble


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    built = build_model(resnet_pair(save_tokenizer(folder / "tokenizer")))
    scramble(built)
    export_model(built, folder / "model", ModelCardFacts("x"))
    return str(folder / "model")


def test_it_says_what_it_found_and_what_it_dropped(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, output = save_pairs(tmp_path / "data", 30, 20), tmp_path / "m.parquet"
    (pairs.parent / "4.png").unlink()
    command = ["data", "mine", str(pairs), "-m", model, "-o", str(output), "--num-negatives", "2", "--margin", "0"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"negatives   .*\d+ rows have 2.*; 1 could not be compared", lines[0])
    assert re.fullmatch(r"dropped     \d+ candidates by the margin, \d+ as of the row's group", lines[1])
    assert lines[2] == f"pictures    relative paths start from {pairs.parent}: give it as data.train.image_root"
    assert lines[3] == f"{output}: 30 rows"
    assert pq.read_table(output).column_names == ["image", "text", "group", "label", "negatives"]


def test_it_warns_where_most_rows_are_left_without() -> None:
    def said(num_without: int) -> str:
        num_with = {3: 10 - num_without, 0: num_without}
        return "\n".join(_lines(MineReport(Path("m.parquet"), 10, 0, num_with, 40, 0, False, None)))

    assert "warning: most rows have no negative." in said(6)
    assert "warning" not in said(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "titel"], '--text: no column "titel"'),
        (["--anchor", "text", "--positive", "no"], '--positive: no column "no"'),
        (["--margin", "0.1", "--relative-margin", "0.1"], "give one of them"),
        (["--range-max", "2"], "--range-max must leave room"),
        (["--format", "cvs"], 'unknown format "cvs"'),
    ],
)
def test_a_mistake_is_said_in_the_commands_own_words(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    pairs = save_pairs(tmp_path / "data", 30, 20)
    assert main(["data", "mine", str(pairs), "-m", model, "-o", str(tmp_path / "m.parquet"), *options]) == 2
    assert message in capsys.readouterr().err
