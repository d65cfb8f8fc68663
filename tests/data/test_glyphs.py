from __future__ import annotations

import hashlib
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from mmcl.data import glyphs
from mmcl.data.glyph_drawing import FACES, SIDE
from mmcl.data.glyph_scripts import SCRIPTS
from mmcl.data.glyphs import HELD_OUT_FACE, SPLITS, is_unseen, load_glyphs
from mmcl.errors import UserError


@pytest.fixture(scope="module")
def splits() -> dict[str, datasets.Dataset]:
    return {split: load_glyphs(split) for split in SPLITS}


@pytest.fixture(scope="module")
def tables(splits: dict[str, datasets.Dataset]) -> dict[str, pd.DataFrame]:
    """The splits without their pictures."""
    return {split: rows.remove_columns("image").to_pandas() for split, rows in splits.items()}


@pytest.fixture
def two_small_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and faces that are drawn in a second."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(glyphs, "FACES", ("DejaVuSansMono-Oblique", HELD_OUT_FACE))
    return tmp_path / "mmcl-glyphs"


def test_splits_have_the_sizes_that_results_are_quoted_for(tables):
    assert {split: len(table) for split, table in tables.items()} == {
        "train": 37_500,
        "unseen_characters": 5_879,
        "unseen_face": 2_248,
    }
    assert tables["train"].character.nunique() == 5_657
    assert tables["unseen_characters"].text.nunique() == 835


def test_characters_and_names_are_the_same_on_every_python(tables):
    # Computed on Python 3.10 (Unicode 13), and the same on 3.11, 3.12 and 3.13.
    pairs = {pair for table in tables.values() for pair in zip(table.codepoint, table.text, strict=True)}
    listing = "\n".join(f"{codepoint:04x} {name}" for codepoint, name in sorted(pairs))
    assert hashlib.sha256(listing.encode()).hexdigest()[:16] == "f35704e8543d1540"


def test_every_drawing_is_in_one_split_and_says_what_it_is(tables):
    drawings = pd.concat(tables.values())
    assert not drawings.duplicated(["face", "character"]).any()
    assert set(drawings.face) == set(FACES)
    assert (drawings.codepoint == drawings.character.map(ord)).all()
    assert (drawings.group == drawings.character).all()
    assert set(drawings.script) == set(SCRIPTS)
    assert (drawings.text == drawings.text.str.lower()).all()
    assert drawings.text.str.len().min() > 0


def test_held_out_characters_and_the_held_out_face_are_not_trained_on(tables):
    train, characters, face = (tables[split] for split in SPLITS)
    assert not set(train.text) & set(characters.text)
    assert HELD_OUT_FACE not in set(train.face)
    assert set(face.face) == {HELD_OUT_FACE}
    assert set(face.character) <= set(train.character)
    assert set(characters.face) == set(FACES)


def test_every_script_is_there_to_be_learned_and_to_be_judged(tables):
    assert set(tables["train"].script) == set(tables["unseen_characters"].script) == set(SCRIPTS)
    assert tables["unseen_face"].script.nunique() >= 10


def test_pictures_are_grey_squares_with_ink(splits):
    for rows in splits.values():
        for image in rows.select(range(0, len(rows), 97))["image"]:
            pixels = np.asarray(image)
            assert pixels.shape == (SIDE, SIDE)
            assert pixels.dtype == np.uint8
            assert pixels.min() < 200 < pixels.max()


def test_one_character_in_eight_is_unseen_by_a_hash_that_never_changes():
    assert "".join(filter(is_unseen, map(chr, range(0x21, 0x7F)))) == "&.EQlptv"
    assert 0.115 < np.mean([is_unseen(chr(codepoint)) for codepoint in range(0x100, 0xD000)]) < 0.135


def test_the_default_split_is_train(splits):
    assert load_glyphs().data.num_rows == len(splits["train"])


def test_an_unknown_split_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r'"unseen_character" in glyphs .*Did you mean "unseen_characters"'):
        load_glyphs("unseen_character")


def test_the_second_load_draws_nothing(two_small_faces, monkeypatch):
    first = load_glyphs("train")
    monkeypatch.setattr(glyphs, "draw_face", None)
    assert load_glyphs("train")[7] == first[7]
    assert len(load_glyphs("unseen_face")) == 2_248


def test_a_build_that_fails_leaves_nothing(two_small_faces, monkeypatch):
    def half_a_face(face: str):
        yield next(iter(draw_face(face)))
        raise RuntimeError("out of ink")

    draw_face = glyphs.draw_face
    monkeypatch.setattr(glyphs, "draw_face", half_a_face)
    with pytest.raises(RuntimeError, match="out of ink"):
        load_glyphs("train")
    assert list(two_small_faces.iterdir()) == []


def test_of_two_processes_that_build_at_once_the_first_wins_and_both_can_read(two_small_faces):
    load_glyphs("train")
    (folder,) = two_small_faces.iterdir()
    before = (folder / "train.arrow").stat().st_ino
    glyphs._build(folder)
    assert (folder / "train.arrow").stat().st_ino == before
    assert list(two_small_faces.iterdir()) == [folder]
