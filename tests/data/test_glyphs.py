from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest

from mmcl.data import glyphs
from mmcl.data.glyph_drawing import FACES, SIDE
from mmcl.data.glyph_scripts import SCRIPTS
from mmcl.data.glyphs import HELD_OUT_FACE, SPLITS, is_unseen, load_glyphs
from mmcl.errors import UserError


@pytest.fixture(scope="module")
def splits() -> dict[str, datasets.Dataset]:
    return {split: load_glyphs(split) for split in SPLITS}


@pytest.fixture
def two_small_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and faces that are drawn in a second."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(glyphs, "FACES", ("DejaVuSansMono-Oblique", HELD_OUT_FACE))
    return tmp_path / "mmcl-glyphs"


def test_splits_have_the_sizes_that_results_are_quoted_for(splits):
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 37_500,
        "unseen_characters": 5_879,
        "unseen_face": 2_248,
    }
    assert len(set(splits["train"]["character"])) == 5_657
    assert len(set(splits["unseen_characters"]["text"])) == 835


def test_characters_and_names_are_the_same_on_every_python(splits):
    # Computed on Python 3.10 (Unicode 13), and the same on 3.11, 3.12 and 3.13.
    pairs = {pair for rows in splits.values() for pair in zip(rows["codepoint"], rows["text"], strict=True)}
    listing = "\n".join(f"{codepoint:04x} {name}" for codepoint, name in sorted(pairs))
    assert hashlib.sha256(listing.encode()).hexdigest()[:16] == "f35704e8543d1540"


def test_every_drawing_is_in_one_split_and_says_what_it_is(splits):
    drawn = Counter()
    for rows in splits.values():
        drawn.update(zip(rows["face"], rows["character"], strict=True))
        assert rows["codepoint"][:] == [ord(character) for character in rows["character"]]
        assert rows["group"][:] == rows["character"][:]
        assert set(rows["script"]) <= set(SCRIPTS)
        assert all(text == text.lower() and text for text in rows["text"])
    assert max(drawn.values()) == 1
    assert {face for face, _ in drawn} == set(FACES)


def test_held_out_characters_and_the_held_out_face_are_not_trained_on(splits):
    train, characters, face = (splits[split] for split in SPLITS)
    assert not set(train["text"]) & set(characters["text"])
    assert HELD_OUT_FACE not in set(train["face"])
    assert set(face["face"]) == {HELD_OUT_FACE}
    assert set(face["character"]) <= set(train["character"])
    assert set(characters["face"]) == set(FACES)


def test_every_script_is_there_to_be_learned_and_to_be_judged(splits):
    assert set(splits["train"]["script"]) == set(splits["unseen_characters"]["script"]) == set(SCRIPTS)
    assert len(set(splits["unseen_face"]["script"])) >= 10


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
