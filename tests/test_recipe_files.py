"""Recipes as files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mmcl.errors import UserError
from mmcl.packaged import packaged_folder
from mmcl.recipe import Recipe
from mmcl.recipe_data import SourceConfig
from mmcl.recipe_files import dump_recipe, find_recipe, list_recipes, load_recipe, locate_recipe, needs_of

LISTED = list_recipes()
PACKAGED = [recipe.name for recipe in LISTED]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file in the working folder, an empty one, and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


def mistakes(name: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_recipe(name, overrides)
    return str(caught.value).split("\n")


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.name)
def test_packaged_recipes_load_and_their_dumps_load_back_equal(listed, write):
    recipe = load_recipe(listed.name, dict.fromkeys(listed.needs, "x"))
    text = dump_recipe(recipe)
    assert load_recipe(write("again.yaml", text)) == recipe
    assert set(yaml.safe_load(text)) == set(Recipe.model_fields)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_recipes_are_described_and_their_bases_are_packaged(name):
    text = yaml.safe_load(find_recipe(name).path.read_text(encoding="utf-8"))
    assert text["description"]
    assert "base" not in text or text["base"] in PACKAGED


def test_the_list_says_what_a_recipe_leaves_open():
    needs = {recipe.name: recipe.needs for recipe in LISTED}
    assert needs["clip/finetune"] == needs["clip/pretrain"] == ("data",)
    assert needs["vision/transfer"] == ("model.image.name",)
    assert needs["quickstart"] == ()


@pytest.mark.parametrize("listed", [listed for listed in LISTED if listed.needs], ids=lambda listed: listed.name)
def test_what_a_recipe_leaves_open_must_be_given(listed):
    assert needs_of(listed.name) == listed.needs
    for need in listed.needs:
        others = [f"{other}=x" for other in listed.needs if other != need]
        (mistake,) = mistakes(listed.name, *others)
        assert mistake.startswith(
            f"{listed.name}.yaml {need}: is required, for example: mmcl train {listed.name} {need}="
        )


def test_a_recipe_of_ones_own_that_names_no_tower_is_told_of_both_ways(write):
    name = write("mine.yaml", "data: x\nmodel:\n  image: {image_size: 24}\n")
    assert needs_of(name) == ("model.image.name",)
    assert mistakes(name) == ["mine.yaml:3 model.image: give either name (an existing model) or config (a fresh one)"]
    assert needs_of(write("texts.yaml", "model: {image: null, text: {config: {}}}")) == ("data",)


def test_a_recipe_that_needs_something_says_what_to_type():
    assert mistakes("clip/finetune") == [
        "clip/finetune.yaml data: is required, for example: mmcl train clip/finetune data=products.csv"
    ]
    assert mistakes("vision/transfer") == [
        "vision/transfer.yaml model.image.name: is required, for example:"
        " mmcl train vision/transfer model.image.name=runs/simclr"
    ]


def test_a_small_file_over_a_packaged_base(write):
    recipe = load_recipe(write("products.yaml", "base: clip/finetune\ndata: products.csv\nlr: 2e-5\n"))
    base = load_recipe("clip/finetune", ["data=products.csv"])
    assert recipe.lr == 2e-5
    assert recipe == base.model_copy(update={"lr": 2e-5, "name": "products", "description": ""})


def test_a_base_may_be_a_path_from_the_file_that_names_it(write):
    write("a/b/base.yaml", "lr: 3e-5\nname: base\ndescription: base\n")
    child = write("a/child.yaml", "base: b/base.yaml\ndata: x.csv\n")
    recipe = load_recipe(child)
    assert (recipe.lr, recipe.name, recipe.description) == (3e-5, "child", "")


def test_a_base_has_no_base(write):
    write("first.yaml", "lr: 1\n")
    write("second.yaml", "batch_size: 4\nbase: first.yaml\n")
    assert mistakes(write("third.yaml", "base: second.yaml\ndata: x\n")) == [
        "second.yaml:2 base: a base has no base, and third.yaml is based on it; start from this one's own base, or"
        " change a copy of it (mmcl recipes copy)"
    ]
    assert "a base has no base" in mistakes(write("self.yaml", "data: x\nbase: self.yaml"))[0]


@pytest.mark.parametrize(
    ("base", "mistake"),
    [
        ("clip/finetun", 'c.yaml:2 base: no recipe "clip/finetun": packaged are'),
        ("nothing.yaml", "c.yaml:2 base: no file nothing.yaml"),
        ("[a, b]", "c.yaml:2 base: must be the name or the path of a recipe"),
    ],
)
def test_a_base_that_is_not_there(base, mistake, write):
    assert mistakes(write("c.yaml", f"data: x\nbase: {base}\n"))[0].startswith(mistake)


def test_mistakes_of_base_file_and_overrides_are_told_at_once_each_in_its_place(write):
    write("base.yaml", "seed: 1\nepochs: -2\n")
    name = write("c.yaml", "base: base.yaml\ndata:\n  train: x\n  columns: {txt: a}\nlr: 1e-5\nlr: 2e-5\n")
    assert sorted(mistakes(name, "lr=-1", "foo=3", "batch")) == [
        "base.yaml:2 epochs: must be > 0, got -2",
        'c.yaml:4 data.columns.txt: unknown key. Did you mean "text"?',
        "c.yaml:6 lr: the key is given twice, first in line 5",
        "override batch: must be written key=value, for example lr=1e-4",
        "override foo=3: unknown key.",
    ]


def test_an_override_wins_over_file_and_base(write):
    name = write("c.yaml", "base: clip/finetune\ndata: x\nlr: 1\n")
    assert load_recipe(name, ["lr=2", "lr=3"]).lr == 3
    assert load_recipe(name, {"lr": 2, "data.train.split": "s"}).data.train == SourceConfig(path="x", split="s")


def test_an_unknown_override_is_told_with_the_nearest(write):
    name = write("c.yaml", "data: x\n")
    assert mistakes(name, "batchsize=3") == ['override batchsize=3: unknown key. Did you mean "batch_size"?']
    assert mistakes(name, "data.columns.txt=3")[0].endswith('unknown key. Did you mean "text"?')


def test_exponents_reach_free_configs_as_numbers(write):
    text = "data: x\nmodel:\n  tokenizer: t\n  config: {model_type: clip, layer_norm_eps: 1e-5}\n"
    recipe = load_recipe(write("c.yaml", text))
    assert recipe.model.config == {"model_type": "clip", "layer_norm_eps": 1e-5}
    assert load_recipe(write("again.yaml", dump_recipe(recipe))).model == recipe.model


def test_a_run_folder_is_a_recipe(write):
    recipe = load_recipe("clip/finetune", ["data=x", "name=mine"])
    write("runs/products-2/recipe.yaml", dump_recipe(recipe))
    assert load_recipe("runs/products-2") == load_recipe(Path("runs/products-2/recipe.yaml")) == recipe


def test_a_recipe_is_called_as_its_file_or_folder_unless_it_has_a_name(write):
    assert load_recipe(write("a/products.yaml", "data: x")).name == "products"
    assert load_recipe(write("a/named.yaml", "data: x\nname: own")).name == "own"
    write("runs/emoji/recipe.yaml", "data: x")
    assert load_recipe("runs/emoji").name == "emoji"
    assert load_recipe("clip/finetune", ["data=x"]).name == "finetune"


def test_a_packaged_name_does_not_depend_on_the_working_folder(write):
    write("clip/finetune/recipe.yaml", "data: mine")
    assert find_recipe("clip/finetune").is_packaged
    assert load_recipe("./clip/finetune").data.train.path == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip/finetun", 'Did you mean "clip/finetune"?'),
        ("product.yaml", 'no recipe product.yaml: there is no such file. Did you mean "products.yaml"?'),
        ("folder", "folder is a folder without a recipe.yaml, so it is no run"),
        ("products.csv", "To train on it: mmcl train clip/finetune data=products.csv"),
        ("../clip/finetune", 'no recipe "../clip/finetune"'),
        ("no/such/folder/x.yaml", "there is no such file."),
        ("runs/emojy", 'no run runs/emojy: there is no such folder. Did you mean "emoji"?'),
    ],
)
def test_what_is_no_recipe_is_said_with_a_way_out(name, message, write):
    write("products.yaml", "data: x")
    write("products.csv", "a,b")
    write("folder/x", "")
    write("runs/emoji/recipe.yaml", "data: x")
    with pytest.raises(UserError) as caught:
        find_recipe(name)
    assert message in str(caught.value)


def test_files_that_are_no_text_or_no_mapping(write):
    Path("latin.yaml").write_bytes("name: é".encode("latin-1"))
    assert mistakes("latin.yaml") == ["cannot read latin.yaml: not text in UTF-8"]
    assert mistakes(write("list.yaml", "- a\n")) == [
        "list.yaml: a recipe is a mapping of keys to values, such as lr: 1e-4"
    ]
    assert mistakes(write("empty.yaml", "")) == [
        "empty.yaml data: is required, for example: mmcl train empty.yaml data=products.csv"
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_key(write):
    assert load_recipe(write("bom.yaml", "\ufeffdata: x")).data.train.path == "x"


def test_true_is_no_number_in_a_recipe(write):
    name = write("c.yaml", "data:\n  train: x\n  image_views:\n  - horizontal_flip: true\n")
    assert mistakes(name, "max_grad_norm=false") == [
        "c.yaml:4 data.image_views.0.horizontal_flip: must be a number, got true",
        "override max_grad_norm=false: must be a number, got false",
    ]


def test_a_key_knows_where_it_was_given(write):
    name = write("products.yaml", "base: clip/finetune\ndata:\n  train: x.csv\n  columns:\n    text: titel\n")
    located = locate_recipe(name, ["data.columns.image=pic", "evaluate.0.data=y.csv"])
    assert str(located.where("data.columns.text")) == "products.yaml:5"
    assert str(located.where("data.columns.image")) == "override data.columns.image=pic"
    assert str(located.where("evaluate.0.data.path")) == "override evaluate.0.data=y.csv"
    assert str(located.where("data.train.split")) == "products.yaml:3"
    assert str(located.where("lr")).startswith("clip/finetune.yaml:")
    assert located.where("seed") is None
    # The mapping that holds it was last touched by an override that has nothing to do with it.
    assert located.where("data.columns.group") is None


def test_an_error_of_the_data_is_told_with_its_place(write):
    located = locate_recipe(write("products.yaml", "data:\n  train: x.csv\n  columns: {text: titel}\n"))
    with pytest.raises(UserError) as caught, located.locating():
        raise UserError('data.columns.text: no column "titel" in x.csv')
    assert str(caught.value) == 'products.yaml:3 data.columns.text: no column "titel" in x.csv'
    for message in ("no such model: a: b", "seed: not given", "nothing to add"):
        with pytest.raises(UserError) as caught, located.locating():
            raise UserError(message)
        assert str(caught.value) == message


def test_every_yaml_file_of_the_recipes_folder_is_listed():
    folder = packaged_folder("recipes")
    assert {f"{name}.yaml" for name in PACKAGED} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.y*ml")
    }
