from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from mmcl.cli.main import main
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe_files import load_recipe
from tests.data.builders import write_lines, write_pictures
from tests.tiny import WORDS, bert_alone, save_tokenizer, vit_bert_pair

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint model and a text model of a few weights, as runs."""
    folder = tmp_path_factory.mktemp("models")
    words = save_tokenizer(folder / "words")
    for name, config in (("pair", vit_bert_pair(words)), ("text", bert_alone(words, dropout=0.1))):
        export_model(build_model(config), folder / name / "model", ModelCardFacts("x"))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mmcl(here: Path, capfd: pytest.CaptureFixture[str]) -> Main:
    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(arguments))
        out, err = capfd.readouterr()
        return code, out, err

    return run


def _caption(row: int) -> str:
    return f"{WORDS[row % len(WORDS)]} {WORDS[(row // 3 + 4) % len(WORDS)]} {row // 2}"


def _rows(folder: Path, number: int = 80) -> list[dict[str, str]]:
    names = write_pictures(folder / "bilder ü", number)
    return [
        {"image_path": f"bilder ü/{name}", "title": _caption(row), "product_id": f"P-{row // 2}"}
        for row, name in enumerate(names)
    ]


def _write(folder: Path, kind: str) -> str:
    """Write the same pairs in one of the forms that people have them in; return what to call it."""
    rows = _rows(folder)
    table = datasets.Dataset.from_list(rows)
    if kind in ("csv", "tsv"):
        separator = "\t" if kind == "tsv" else ","
        lines = [separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]
        (folder / f"rows.{kind}").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
        return f"rows.{kind}"
    if kind == "jsonl":
        return write_lines(folder / "rows.jsonl", rows).name
    if kind in ("parquet", "saved"):
        cells = [{**row, "image_path": (folder / row["image_path"]).read_bytes()} for row in rows]
        table = datasets.Dataset.from_list(cells)
        if kind == "saved":
            table.save_to_disk(str(folder / "rows"))
            return "rows"
        table.to_parquet(str(folder / "rows.parquet"))
        return "rows.parquet"
    if kind == "shards":
        (folder / "shards").mkdir()
        for shard in range(2):
            with tarfile.open(folder / f"shards/{shard}.tar", "w") as archive:
                for number, row in enumerate(rows[40 * shard : 40 * shard + 40]):
                    (folder / "caption.txt").write_text(row["title"])
                    archive.add(folder / row["image_path"], f"{shard}-{number}.png")
                    archive.add(folder / "caption.txt", f"{shard}-{number}.txt")
        return "shards/*.tar"
    shutil.move(folder / "bilder ü", folder / "rows")
    if kind == "metadata":
        named = [{"file_name": Path(row.pop("image_path")).name, **row} for row in rows]
        write_lines(folder / "rows" / "metadata.jsonl", named)
    else:
        for row in rows:
            (folder / "rows" / Path(row["image_path"]).name).with_suffix(".txt").write_text(row["title"])
    return "rows"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "saved", "shards", "metadata", "pairs"])
def test_pairs_in_any_form_become_a_recipe_that_trains(kind: str, here: Path, mmcl: Main, models: Path) -> None:
    data = _write(here, kind)
    code, out, err = mmcl("init", data, "--model", str(models / "pair"))
    assert code == 0, err
    name = "shards.yaml" if kind == "shards" else "rows.yaml"
    assert f"wrote {name}, based on clip/finetune" in out
    recipe = load_recipe(name)
    assert recipe.data.train.path == data
    assert recipe.model.name == str(models / "pair")
    columns = recipe.data.columns
    expected = {
        "shards": ("png", "txt", None),
        "metadata": ("image", "title", "product_id"),
        "pairs": ("image", "text", None),
    }.get(kind, ("image_path", "title", "product_id"))
    assert (columns.image, columns.text, columns.group) == expected
    assert 0 < float(str(recipe.data.validation)) <= 0.5
    code, out, err = mmcl("train", name, "--dry-run")
    assert code == 0, err
    assert "held out:" in out
    assert out.rstrip().endswith("dry run: nothing was written")


def test_it_shows_what_it_found(here: Path, mmcl: Main, models: Path) -> None:
    rows = _rows(here)
    rows[5]["title"], rows[6]["title"] = "", _caption(0).upper()
    (here / rows[9]["image_path"]).write_bytes(b"")
    for row in rows:
        row["price"] = "9.50"
    write_lines(here / "rows.jsonl", rows)
    code, out, err = mmcl("init", "rows.jsonl", "--model", str(models / "pair"), "--max-unreadable", "0.05")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "image <- image_path: 15 of 16 looked at are pictures"
    assert lines[2] == "group <- product_id: 40 different values in 80 rows"
    assert "not used: price" in lines
    assert "80 rows   image <- image_path   text <- title   group <- product_id" in lines
    assert "pictures   1 cannot be read; none repeats, by pixels" in lines
    (captions,) = (line for line in lines if line.startswith("captions"))
    assert captions.startswith("captions   1 empty;")
    assert "shared by several groups; none is longer than the 32 tokens of" in captions
    assert f"row 9: {here / 'bilder ü/9.png'}: an empty file" in lines
    assert any(line.startswith("Held out: ") and line.endswith(" of 78 rows.") for line in lines)
    assert load_recipe("rows.yaml").data.max_unreadable == 0.05
    assert mmcl("train", "rows.yaml", "--dry-run")[0] == 0


def test_classes_become_a_recipe_for_labels(here: Path, mmcl: Main) -> None:
    for number, name in enumerate(("cat", "dog", "hat")):
        write_pictures(here / "photos" / name, 40, f"{number}-{{}}.png")
    code, out, err = mmcl("init", "photos")
    assert code == 0, err
    recipe = load_recipe("photos.yaml")
    assert [objective.type for objective in recipe.objectives] == ["supcon"]
    assert [task.task for task in recipe.evaluate] == ["knn"]
    assert recipe.data.columns.label == "label"
    code, out, err = mmcl("train", "photos.yaml", "--dry-run")
    assert code == 0, err
    assert "judged by   knn" in out


def test_pictures_alone_become_a_recipe_without_judges(here: Path, mmcl: Main) -> None:
    write_pictures(here / "photos", 10)
    code, _, err = mmcl("init", "photos", "--output", "mine.yml")
    assert code == 0, err
    recipe = load_recipe("mine.yml")
    assert [objective.type for objective in recipe.objectives] == ["simclr"]
    assert (recipe.evaluate, recipe.data.validation, recipe.batch_size) == ((), 0.0, 8)
    assert mmcl("train", "mine.yml", "--dry-run")[0] == 0


def test_texts_become_a_recipe_for_sentences(here: Path, mmcl: Main, models: Path) -> None:
    (here / "lines.txt").write_text("\n".join(map(_caption, range(90))))
    code, out, err = mmcl("init", "lines.txt", "--model", str(models / "text"))
    assert code == 0, err
    assert "Nothing is held out: by default no task judges texts alone." in out
    recipe = load_recipe("lines.yaml")
    assert [objective.type for objective in recipe.objectives] == ["simcse"]
    code, out, err = mmcl("train", "lines.yaml", "--dry-run")
    assert code == 0, err


@pytest.mark.parametrize(("score", "objective"), [({}, "simcse_supervised"), ({"score": 1.5}, "cosent")])
def test_pairs_of_texts_become_a_recipe_for_pairs(
    score: dict[str, float], objective: str, here: Path, mmcl: Main, models: Path
) -> None:
    write_lines(here / "pairs.jsonl", [{"anchor": _caption(row), "positive": f"x {row}", **score} for row in range(20)])
    code, out, err = mmcl("init", "pairs.jsonl", "--model", str(models / "text"))
    assert code == 0, err
    assert "positive <- positive: as it is called" in out
    assert "not used" not in out
    assert [one.type for one in load_recipe("pairs.yaml").objectives] == [objective]
    code, out, err = mmcl("train", "pairs.yaml", "--dry-run")
    assert code == 0, err


def test_a_column_of_hard_negatives_is_offered_and_can_be_taken(here: Path, mmcl: Main, models: Path) -> None:
    rows = [{"anchor": _caption(row), "positive": f"x {row}", "negatives": f"y {row}"} for row in range(20)]
    write_lines(here / "pairs.jsonl", rows)
    code, out, err = mmcl("init", "pairs.jsonl", "--model", str(models / "text"))
    assert code == 0, err
    offer = "data.columns.negatives=[negatives]"
    assert f"hard negatives: to learn from them too, set {offer}" in out.splitlines()
    code, out, err = mmcl("train", "pairs.yaml", offer, "--dry-run")
    assert code == 0, err
    assert "negatives <- negatives" in out


def test_pairs_that_a_run_would_stop_at_are_told_of(here: Path, mmcl: Main, models: Path) -> None:
    rows = [{"anchor": _caption(row), "positive": f"x {row}", "score": "good" if row else "1.5"} for row in range(20)]
    write_lines(here / "pairs.jsonl", rows)
    code, out, err = mmcl("init", "pairs.jsonl", "--model", str(models / "text"))
    assert code == 2, err
    assert "scores     19 rows without a score" in out, err
    assert "the score is 'good', which is no number" in err
    assert not (here / "pairs.yaml").exists()


def test_lengths_that_cannot_be_counted_are_said_and_stop_nothing(here: Path, mmcl: Main) -> None:
    write_lines(here / "rows.jsonl", _rows(here))
    code, out, _ = mmcl("init", "rows.jsonl")
    assert code == 0
    assert 'lengths    not counted: cannot load "openai/clip-vit-base-patch32"' in out
    assert "tokens" not in out


def test_nothing_is_overwritten(here: Path, mmcl: Main) -> None:
    write_lines(here / "rows.jsonl", _rows(here))
    (here / "rows.yaml").write_text("mine")
    code, _, err = mmcl("init", "rows.jsonl")
    assert (code, err) == (2, "error: rows.yaml exists, and is left as it is; name another file with --output\n")
    assert (here / "rows.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["titels.jsonl"], 'error: DATA: there is no titels.jsonl. Did you mean "titles.jsonl"?'),
        (["rows.jsonl", "--text", "titel"], 'error: --text: no column "titel" (image_path, title, product_id).'),
        (["rows.jsonl", "--format", "cvs"], 'error: --format: unknown format "cvs"'),
        (["rows.jsonl", "--delimiter", ";"], "error: --delimiter: only csv files have one"),
        (["rows.jsonl", "--split", "test"], "error: --split: rows.jsonl has no splits"),
        (["rows.jsonl", "--image-root", "gone"], "error: --image: "),
        (["rows.jsonl", "--output", "rows.txt"], "error: --output: a recipe's file ends in .yaml, got rows.txt"),
        (["empty"], "error: DATA: empty holds neither pictures nor data files"),
        (["empty.csv"], "error: DATA: empty.csv is empty"),
        (["header.csv"], "error: DATA: header.csv holds no rows"),
        (
            ["graded.csv"],
            "error: --text: a hat or a cap? Nothing speaks for one of them; name it with --text, or give --text false "
            "for none. If its first line is a row, name the columns in --column-names.",
        ),
        (["pairs.csv"], "error: --text: premise or hypothesis? Nothing speaks for one of them"),
        (["numbers.csv"], "error: numbers.csv holds neither pictures nor texts"),
        (["one.csv"], "error: one.csv has 1 row to learn from, and at least 2 are needed. Nothing was written"),
        (["titles.jsonl"], "error: --max-unreadable: 40 of 80 rows cannot be used"),
        (["kinds.jsonl"], 'error: --label: 20 of 80 rows have no "kind", more than the 1.00% allowed'),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(
    arguments: list[str], message: str, here: Path, mmcl: Main
) -> None:
    rows = _rows(here)
    write_lines(here / "rows.jsonl", rows)
    write_lines(here / "titles.jsonl", [{**row, "title": row["title"] * (i % 2)} for i, row in enumerate(rows)])
    kinds = [{"image": row["image_path"], "kind": "hat" if i % 3 else "coat"} for i, row in enumerate(rows)]
    write_lines(here / "kinds.jsonl", [*kinds[:60], *({**row, "kind": ""} for row in kinds[60:])])
    (here / "empty").mkdir()
    (here / "empty.csv").write_text("")
    (here / "header.csv").write_text("image,text\n")
    (here / "one.csv").write_text("text\na hat\n")
    (here / "pairs.csv").write_text("premise,hypothesis\na hat,a coat\na sock,a shoe\n")
    (here / "graded.csv").write_text("a hat,a cap,4.5\na sock,a shoe,1\na coat,a jacket,4\n")
    (here / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    before = sorted(here.iterdir())
    code, _, err = mmcl("init", *arguments)
    assert code == 2
    assert err.startswith(message)
    assert "Traceback" not in err
    assert sorted(here.iterdir()) == before


def test_labels_that_some_rows_lack_play_no_part_beside_captions(here: Path, mmcl: Main) -> None:
    rows = [{**row, "label": "hat" if i % 2 else ""} for i, row in enumerate(_rows(here))]
    write_lines(here / "rows.jsonl", rows)
    assert mmcl("init", "rows.jsonl")[0] == 0
    assert load_recipe("rows.yaml").data.columns.label is False


def test_options_are_written_down(here: Path, mmcl: Main) -> None:
    rows = _rows(here)
    shutil.move(here / "bilder ü", here / "elsewhere")
    (here / "elsewhere").rename(here / "root")
    (here / "root2").mkdir()
    shutil.move(here / "root", here / "root2" / "bilder ü")
    lines = ["image;title;sku", *(";".join(row.values()) for row in rows)]
    (here / "rows.csv").write_text("\n".join(lines))
    options = ["--delimiter", ";", "--image-root", "root2", "--group", "false", "--text", "title"]
    code, _, err = mmcl("init", "rows.csv", *options)
    assert code == 0, err
    data = load_recipe("rows.yaml").data
    assert (data.train.delimiter, data.train.image_root) == (";", "root2")
    assert (data.columns.group, data.columns.text) == (False, "title")
    assert json.loads(data.train.model_dump_json())["limit"] is None


def test_names_of_columns_are_written_down(here: Path, mmcl: Main) -> None:
    (here / "graded.csv").write_text("a hat,a cap,4.5\na sock,a shoe,1\na coat,a jacket,4\n")
    code, _, err = mmcl("init", "graded.csv", "--column-names", "anchor,positive,score")
    assert code == 0, err
    recipe = load_recipe("graded.yaml")
    assert recipe.data.train.column_names == ("anchor", "positive", "score")
    assert recipe.chosen_objectives[0].type == "cosent"


def test_a_table_beside_pictures_is_not_passed_over_in_silence(here: Path, mmcl: Main) -> None:
    write_pictures(here / "shop", 4)
    (here / "shop" / "titles.csv").write_text("file,title\n0.png,a hat\n")
    out = mmcl("init", "shop")[1]
    assert "not read: shop/titles.csv, which lies beside the pictures; mmcl init shop/titles.csv reads it" in out
    assert "not read" not in mmcl("init", "shop/titles.csv", "--image-root", "shop")[1]
