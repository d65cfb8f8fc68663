from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from PIL import Image
from typer.testing import CliRunner

from mmcl.cli.data import app
from mmcl.errors import UserError
from tests.data.builders import write_lines, write_pairs, write_pictures


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
    assert f"\n{sheet}: " in said
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


def test_preview_of_data_guesses_columns_and_says_so(tmp_path: Path) -> None:
    write_pairs(tmp_path, 4)
    names = sorted(file.name for file in tmp_path.glob("*.png"))
    rows = "".join(f"{name},a thing of number {index}\n" for index, name in enumerate(names))
    (tmp_path / "photos.csv").write_text("file,title\n" + rows)
    said = _preview(tmp_path / "photos.csv", "-o", tmp_path / "sheet.png")
    assert said.startswith("image <- file   text <- title\n")


def test_output_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--output: cannot write .*: No such file or directory"):
        _preview(write_pairs(tmp_path, 2), "-o", tmp_path / "gone" / "sheet.png")


def _check(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_check_says_what_it_found(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 12, num_groups=6)
    (tmp_path / "5.png").write_bytes(b"")
    said = _check(pairs, "--max-unreadable", 0.1).splitlines()
    assert "12 rows   image <- image   text <- text   group <- group" in said
    assert "pictures   1 cannot be read; none repeats, by pixels" in said
    assert said[-1] == f"row 5: {tmp_path / '5.png'}: an empty file"


def test_check_of_a_recipe_names_the_columns_of_every_role(tmp_path: Path) -> None:
    rows = [{"short": f"a{row}", "long": f"b{row}", "positive": f"c{row}", "score": row or None} for row in range(6)]
    recipe = {
        "model": {"text": {"config": {"model_type": "bert"}, "tokenizer": "glyphs"}},
        "data": {
            "train": str(write_lines(tmp_path / "sts.jsonl", rows)),
            "columns": {"anchor": ["short", "long"]},
            "max_unreadable": 1,
        },
        "objectives": ["cosent"],
    }
    (tmp_path / "sts.yaml").write_text(json.dumps(recipe))
    said = _check(tmp_path / "sts.yaml").splitlines()
    assert "6 rows   text <- short, long   positive <- positive   score <- score" in said
    assert "scores     1 row without a score" in said


def test_check_writes_every_row_of_it(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 12)
    for row in range(7):
        (tmp_path / f"{row}.png").write_bytes(b"")
    said = _check(pairs, "--max-unreadable", 1, "--json", "--output", tmp_path / "report.json", "--image", "image")
    report = json.loads(said)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert [bad["row"] for bad in report["unreadable"]] == list(range(7))
    assert report["guesses"][1]["column"] == "text"


def test_findings_that_stop_training_are_a_users_mistake_after_they_are_shown(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 12)
    (tmp_path / "5.png").write_bytes(b"")
    result = CliRunner().invoke(app, ["check", str(pairs)])
    assert "pictures   1 cannot be read" in result.output
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("--max-unreadable: 1 of 12 rows cannot be used")


def test_findings_that_stop_nothing_leave_the_exit_code(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 12)
    said = _check(pairs, "--held-out", pairs)
    assert "overlap    12 by group, 12 by picture, 12 by text, of 12 rows of pairs.jsonl" in said


def test_check_looks_at_the_first_rows_only(tmp_path: Path) -> None:
    assert "5 rows   image <- image" in _check(write_pairs(tmp_path, 12), "--limit", 5)


def test_held_out_rows_that_are_not_there_are_named_by_their_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--held-out: there is no .*gone.csv"):
        _check(write_pairs(tmp_path, 4), "--held-out", tmp_path / "gone.csv")


def _mixed(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    train = [str(write_pairs(folder / "a", 12)), {"path": str(write_pairs(folder / "b", 6)), "weight": 2}]
    (folder / "mixed.yaml").write_text(json.dumps({"base": "clip/finetune", "data": {"train": train}}))
    return folder / "mixed.yaml"


def test_check_of_a_recipe_looks_at_each_of_its_sources(tmp_path: Path) -> None:
    said = _check(_mixed(tmp_path)).splitlines()
    for name, number in (("pairs.jsonl (data.train.0)", 12), ("pairs.jsonl (data.train.1)", 6)):
        here = said.index(name)
        assert said[here + 1] == f"{number} rows   image <- image   text <- text   group <- group"
        assert said[here + 2] == "pictures   all can be read; none repeats, by pixels"
    assert [check["num_rows"] for check in json.loads(_check(_mixed(tmp_path / "json"), "--json"))] == [12, 6]


def test_prompts_of_a_class_are_no_captions_that_repeat(tmp_path: Path) -> None:
    rows = [{"image": name, "label": "cat"} for name in write_pictures(tmp_path, 6)]
    data = {"train": str(write_lines(tmp_path / "cats.jsonl", rows)), "caption_templates": ["a {}."]}
    (tmp_path / "cats.yaml").write_text(json.dumps({"base": "clip/finetune", "data": data}))
    assert _check(tmp_path / "cats.yaml").splitlines()[1:] == [
        "6 rows   image <- image   label <- label",
        "pictures   all can be read; none repeats, by pixels",
        "labels     1 classes",
    ]


def test_check_of_a_recipe_stops_where_its_run_would(tmp_path: Path) -> None:
    recipe = _mixed(tmp_path)
    (tmp_path / "b" / "3.png").write_bytes(b"")
    result = CliRunner().invoke(app, ["check", str(recipe)])
    assert "pictures   1 cannot be read" in result.output
    assert str(result.exception).startswith("data.max_unreadable: 1 of 6 rows cannot be used")


def test_options_that_describe_data_do_not_go_with_a_recipe(tmp_path: Path) -> None:
    recipe = _mixed(tmp_path)
    for option in (("--text", "text"), ("--max-unreadable", "0.5"), ("--limit", "3")):
        with pytest.raises(UserError, match=r"mixed.yaml is a recipe, which says itself what its data is"):
            _check(recipe, *option)


def test_rows_of_a_stream_are_not_checked(tmp_path: Path) -> None:
    recipe = tmp_path / "stream.yaml"
    train = {"path": str(write_pairs(tmp_path, 4)), "streaming": True}
    recipe.write_text(json.dumps({"base": "clip/finetune", "data": {"train": train}}))
    with pytest.raises(UserError, match=r"^data.train.streaming: the rows of a stream are met in training"):
        _check(recipe)
