from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.recipe_draft import Draft, write_draft
from mmcl.recipe_files import load_recipe


def _draft(base: str, columns: dict[str, Any], **fields: Any) -> Draft:
    given = {"model.image.name": fields["model"]} if base == "vision/transfer" else {}
    draft = Draft(
        base=base,
        recipe=load_recipe(base, {"data.train": "x.csv", **given}),
        source=SourceConfig(path="x.csv"),
        columns=ColumnsConfig.model_validate(columns),
        has_columns=tuple(str(column) for column in columns.values() if column),
        model=None,
        facts="1,000 rows of x.csv",
        share=0.02,
        held_out="Held out: 20 of 1,000 rows.",
        num_rows=980,
    )
    return replace(draft, **fields)


PAIRS = {"image": "photo", "text": "title", "group": "sku", "label": False}


def _loaded(draft: Draft, folder: Path) -> Recipe:
    (folder / "mine.yaml").write_text(write_draft(draft, "mine.yaml"), encoding="utf-8")
    return load_recipe(folder / "mine.yaml")


def test_pairs_get_a_short_commented_recipe() -> None:
    assert write_draft(_draft("clip/finetune", PAIRS), "mine.yaml") == (
        "# 1,000 rows of x.csv, as mmcl init found it.\n"
        "#\n"
        "#   mmcl train mine.yaml --dry-run    # tries one batch, writes nothing\n"
        "#   mmcl train mine.yaml\n"
        "\n"
        "# Whatever is not said here is as in the packaged recipe: mmcl recipes show clip/finetune\n"
        "base: clip/finetune\n"
        '# Any joint model does: a hub id, a folder, a run, open_clip\'s "ARCH,TAG".\n'
        "model: openai/clip-vit-base-patch32\n"
        "\n"
        "data:\n"
        "  train: x.csv\n"
        "  # Held out: 20 of 1,000 rows.\n"
        "  validation: 2%\n"
        "  columns: {image: photo, text: title, group: sku}\n"
        "\n"
        "# What a picture is told from is the other captions of its batch: the larger, the better.\n"
        "batch_size: 256\n"
        "epochs: 5\n"
        "lr: 1.0e-5\n"
        "evaluate: [retrieval]\n"
    )


def test_a_siglip_gets_the_rates_of_its_own_recipe(tmp_path: Path) -> None:
    recipe = _loaded(_draft("siglip/finetune", PAIRS, model="google/siglip2-base-patch16-224"), tmp_path)
    assert (recipe.lr, recipe.weight_decay, recipe.model.name) == (5e-6, 0.0, "google/siglip2-base-patch16-224")
    assert [one.type for one in recipe.chosen_objectives] == ["siglip"]
    assert [task.task for task in recipe.evaluate] == ["retrieval"]


def test_it_loads_as_the_base_with_what_was_found(tmp_path: Path) -> None:
    source = SourceConfig(path="a: [b].csv", delimiter=";", image_root="1e5")
    columns = {"image": "no", "text": "1.5", "group": "#", "label": None}
    recipe = _loaded(_draft("clip/finetune", columns, source=source, max_unreadable=0.2), tmp_path)
    assert recipe.data.train == source
    assert recipe.data.columns == ColumnsConfig(image="no", text="1.5", group="#")
    assert (recipe.data.validation, recipe.data.max_unreadable, recipe.lr) == (0.02, 0.2, 1e-5)
    assert recipe.data.image_views == load_recipe("clip/finetune", {"data": "x"}).data.image_views


@pytest.mark.parametrize(("num_rows", "expected"), [(980, 256), (256, 256), (255, 128), (43, 32), (2, 2)])
def test_a_batch_is_no_larger_than_the_rows(num_rows: int, expected: int, tmp_path: Path) -> None:
    assert _loaded(_draft("clip/finetune", PAIRS, num_rows=num_rows), tmp_path).batch_size == expected


def test_nothing_held_out_is_judged_by_nothing(tmp_path: Path) -> None:
    recipe = _loaded(_draft("clip/finetune", PAIRS, share=0.0), tmp_path)
    assert (recipe.data.validation, recipe.evaluate) == (0.0, ())


def test_a_column_whose_name_is_that_of_a_role_it_does_not_play_is_ruled_out(tmp_path: Path) -> None:
    has = ("photo", "title", "sku", "label")
    assert _loaded(_draft("clip/finetune", PAIRS, has_columns=has), tmp_path).data.columns.label is False
    assert _loaded(_draft("clip/finetune", PAIRS), tmp_path).data.columns.label is None


def test_labels_are_learnt_by_supcon_from_random_weights(tmp_path: Path) -> None:
    columns = {"image": "photo", "text": False, "group": None, "label": "kind"}
    recipe = _loaded(_draft("vision/simclr", columns), tmp_path)
    assert [objective.type for objective in recipe.objectives] == ["supcon"]
    assert [task.model_dump(exclude_unset=True) for task in recipe.evaluate] == [{"task": "knn"}]
    image = recipe.model.image
    assert image is not None
    assert image.config is not None
    assert (image.config["model_type"], "model_args" in image.config, image.image_size) == ("resnet", False, 128)
    assert recipe.data.columns == ColumnsConfig(image="photo", text=False, group=False, label="kind")


def test_labels_with_a_model_go_on_training_it(tmp_path: Path) -> None:
    columns = {"image": "photo", "text": False, "group": "sku", "label": "kind"}
    recipe = _loaded(_draft("vision/transfer", columns, model="some/encoder"), tmp_path)
    assert [objective.type for objective in recipe.objectives] == ["cross_entropy"]
    assert recipe.model.image is not None
    assert (recipe.model.image.name, recipe.lr, len(recipe.data.expanded_views)) == ("some/encoder", 5e-5, 1)


def test_pictures_alone_are_learnt_by_simclr(tmp_path: Path) -> None:
    columns = {"image": "photo", "text": False, "group": None, "label": False}
    recipe = _loaded(_draft("vision/simclr", columns, share=0.0, model="some/encoder"), tmp_path)
    assert [objective.type for objective in recipe.objectives] == ["simclr"]
    assert recipe.evaluate == ()
    image = recipe.model.image
    assert image is not None
    assert (image.name, image.image_size, image.resize_to) == ("some/encoder", None, None)


def test_texts_are_learnt_by_simcse(tmp_path: Path) -> None:
    columns = {"image": False, "text": "line", "group": None, "label": False}
    recipe = _loaded(_draft("text/simcse", columns), tmp_path)
    assert [objective.type for objective in recipe.objectives] == ["simcse"]
    assert recipe.model.text is not None
    assert (recipe.model.text.name, recipe.model.text.max_length) == ("google-bert/bert-base-uncased", 32)
    assert recipe.data.columns == ColumnsConfig(text="line")
    assert recipe.evaluate == ()
