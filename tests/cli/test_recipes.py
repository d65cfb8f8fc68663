"""``mmcl recipes``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmcl.cli.main import main
from mmcl.cli.recipes import complete_recipe
from mmcl.recipe_files import find_recipe, list_recipes, load_recipe

PACKAGED = list_recipes()


@pytest.fixture
def mmcl(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["recipes", *arguments])
        return (code, *capsys.readouterr())

    return run


def test_list_names_every_recipe_and_what_it_needs(mmcl):
    code, out, err = mmcl("list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(PACKAGED)
    for line, recipe in zip(lines, PACKAGED, strict=True):
        assert line.startswith(f"{recipe.name} ")
        assert line.endswith(recipe.description)
        assert line.count("=...") == len(recipe.needs)
        assert all(f" {need}=... " in line for need in recipe.needs)


def test_list_as_json(mmcl):
    _, out, _ = mmcl("list", "--json")
    assert [(row["name"], tuple(row["needs"])) for row in json.loads(out)] == [
        (recipe.name, recipe.needs) for recipe in PACKAGED
    ]


def test_show_prints_the_file_with_its_comments(mmcl):
    _, out, _ = mmcl("show", "clip/finetune")
    assert out == find_recipe("clip/finetune").path.read_text(encoding="utf-8")
    assert "#" in out


def test_show_resolved_prints_what_loads_back_equal(mmcl):
    code, out, _ = mmcl("show", "--resolved", "clip/finetune", "data=x.csv", "lr=3e-4")
    Path("whole.yaml").write_text(out, encoding="utf-8")
    assert code == 0
    assert load_recipe("whole.yaml") == load_recipe("clip/finetune", ["data=x.csv", "lr=3e-4"])


def test_show_does_not_swallow_overrides(mmcl):
    code, out, err = mmcl("show", "clip/finetune", "lr=3e-4")
    assert (code, out) == (2, "")
    assert "--resolved, got lr=3e-4 without" in err


@pytest.mark.parametrize(
    ("arguments", "written"), [((), "finetune.yaml"), (("sub",), "sub/finetune.yaml"), (("own.yml",), "own.yml")]
)
def test_copy_writes_a_file_of_ones_own(mmcl, arguments, written):
    Path("sub").mkdir()
    code, out, _ = mmcl("copy", "clip/finetune", *arguments)
    assert code == 0
    assert f"wrote {written}" in out
    assert Path(written).read_bytes() == find_recipe("clip/finetune").path.read_bytes()


def test_copy_never_overwrites(mmcl):
    Path("finetune.yaml").write_text("mine", encoding="utf-8")
    code, _, err = mmcl("copy", "clip/finetune")
    assert code == 2
    assert "finetune.yaml exists" in err
    assert Path("finetune.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clip/finetune", "own.txt"), "ends in .yaml, got own.txt"),
        (("clip/finetune", "no/folder/own.yaml"), "cannot write no/folder/own.yaml: No such file"),
        (("mine.yaml",), "only packaged recipes are copied"),
    ],
)
def test_copy_says_what_it_cannot_do(mmcl, arguments, message):
    Path("mine.yaml").write_text("data: x", encoding="utf-8")
    code, _, err = mmcl("copy", *arguments)
    assert code == 2
    assert message in err
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


def test_validate_tells_all_mistakes_and_exits_with_2(mmcl):
    Path("bad.yaml").write_text("lr: -1\ndata: {train: x, columns: {txt: a}}\n", encoding="utf-8")
    code, out, err = mmcl("validate", "bad.yaml", "seed=x")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: bad.yaml:1 lr: must be > 0, got -1",
        'bad.yaml:2 data.columns.txt: unknown key. Did you mean "text"?',
        'override seed=x: must be a whole number, got "x"',
    ]


def test_validate_says_what_is_right(mmcl):
    assert mmcl("validate", "clip/finetune", "data=x.csv") == (
        0,
        "clip/finetune is valid; mmcl train clip/finetune --dry-run checks its model and data too\n",
        "",
    )


def test_schema_is_json(mmcl):
    _, out, _ = mmcl("schema")
    assert "base" in json.loads(out)["properties"]


def test_names_are_completed():
    assert [name for name, _ in complete_recipe("clip/f")] == ["clip/finetune", "clip/flyp"]
    assert complete_recipe("nothing") == []
