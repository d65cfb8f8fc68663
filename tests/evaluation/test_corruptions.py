"""Corruptions: the same for the same seed, stronger with the strength, alike at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import EvaluationError
from evaluation.corruptions import CORRUPTIONS, SIDE, STRENGTHS, CorruptedPictures, corrupt


def drawing(side: int = 96) -> Image.Image:
    """Waves in three colours, the same at every size."""
    down, across = np.mgrid[0:side, 0:side] / side * 12
    waves = [np.sin(down), np.cos(across), np.sin(down + across)]
    return Image.fromarray((127.5 + 90 * np.stack(waves, axis=2)).astype(np.uint8))


def damage(picture: Image.Image, corrupted: Image.Image) -> float:
    return float(np.abs(np.asarray(picture, dtype=float) - np.asarray(corrupted, dtype=float)).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_grows_with_the_strength(name: str) -> None:
    found = [damage(drawing(), corrupt(drawing(), name, strength)) for strength in STRENGTHS]
    assert found[0] > 0
    assert found[-1] > (1.1 if name == "fog" else 1.3) * found[0]  # fog gets rougher more than thicker


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_is_left_to_chance_follows_seed_number_and_strength(name: str) -> None:
    def pixels(seed: int = 1, number: int = 2) -> bytes:
        return corrupt(drawing(), name, 3, seed, number).tobytes()

    assert pixels() == pixels()
    is_left_to_chance = name.endswith("noise") or name in ("fog", "motion_blur")
    assert (pixels() != pixels(seed=2)) == is_left_to_chance
    assert (pixels() != pixels(number=3)) == is_left_to_chance


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur"])
def test_lengths_shrink_with_the_picture(name: str) -> None:
    full, half = (damage(drawing(side), corrupt(drawing(side), name, 4)) for side in (SIDE, SIDE // 2))
    assert half == pytest.approx(full, rel=0.25)


def test_noise_has_the_deviation_of_its_source() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    pixels = np.asarray(corrupt(grey, "gaussian_noise", 2), dtype=float) / 255
    assert pixels.std() == pytest.approx(0.12, rel=0.02)
    pixels = np.asarray(corrupt(grey, "shot_noise", 1), dtype=float) / 255
    assert pixels.std() == pytest.approx(np.sqrt(128 / 255 / 60), rel=0.02)
    hit = np.asarray(corrupt(grey, "impulse_noise", 5)) != 128
    assert hit.mean() == pytest.approx(0.27, rel=0.03)


def test_brightness_and_contrast_by_hand() -> None:
    picture = Image.new("RGB", (4, 4), (51, 102, 153))
    assert corrupt(picture, "brightness", 2).getpixel((0, 0)) == (68, 136, 204)  # the largest channel 0.2 higher
    picture.putpixel((0, 0), (211, 102, 153))
    assert corrupt(picture, "contrast", 1).getpixel((0, 0)) == (121, 102, 153)  # 61 + 0.4 (211 - 61)
    assert corrupt(Image.new("RGB", (4, 4), "black"), "brightness", 5).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(1, 1), (3, 90)])
def test_tiny_and_narrow_pictures_are_taken(name: str, size: tuple[int, int]) -> None:
    assert corrupt(Image.new("RGB", size, "red"), name, 5).size == size


def test_large_pictures_are_scaled_down_first_and_clear_ones_lie_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (448, 896), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    corrupted = corrupt(tmp_path / "clear.png", "contrast", 1)
    assert (corrupted.size, corrupted.mode, corrupted.getpixel((9, 9))) == ((224, 448), "RGB", (255, 255, 255))


def test_pictures_are_corrupted_when_asked_for_each_by_its_own_number() -> None:
    pictures = CorruptedPictures([drawing()] * 4, "gaussian_noise", 1, seed=3)
    assert len(pictures) == 4
    assert pictures[2].tobytes() == corrupt(drawing(), "gaussian_noise", 1, 3, 2).tobytes()
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert len(pictures[1:3]) == 2
    assert pictures[1:3][1].tobytes() == pictures[2].tobytes()
    assert [one.tobytes() for one in pictures[2:]] == [pictures[2].tobytes(), pictures[3].tobytes()]


def test_what_is_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"a corruption must be one of gaussian_noise, .* got snow, 1"):
        corrupt(drawing(), "snow", 1)
    with pytest.raises(EvaluationError, match="its strength 1 to 5, got fog, 6"):
        corrupt(drawing(), "fog", 6)
    with pytest.raises(EvaluationError, match="a picture cannot be read"):
        corrupt(tmp_path / "none.png", "fog", 1)
