"""Published sets of templates and class names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from evaluation import EvaluationError, class_name_set, template_set
from evaluation.metrics import fill_templates


@pytest.fixture
def without_clip_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "clip_benchmark" else find(name))


def test_imagenets_sets_are_those_that_openai_published() -> None:
    pytest.importorskip("clip_benchmark")
    eighty = template_set("imagenet")
    assert (len(eighty), eighty[0]) == (80, "a bad photo of a {}.")
    assert len(template_set("simple")) == 7
    assert set(template_set("simple")) <= set(eighty)
    theirs = template_set("imagenet1k", "en")
    assert theirs == eighty
    assert len(class_name_set("imagenet")) == 1000
    assert class_name_set("imagenet")[:2] == ("tench", "goldfish")


def test_sets_of_single_data_sets_come_from_clip_benchmark() -> None:
    pytest.importorskip("clip_benchmark")
    assert template_set("pets") == ("a photo of a {c}, a type of pet.",)
    assert template_set("wds/vtab/pets") == template_set("vtab/pets") == template_set("pets")
    assert len(class_name_set("pets")) == 37
    assert fill_templates(["beagle"], template_set("pets")) == ["a photo of a beagle, a type of pet."]


@pytest.mark.parametrize(("language", "num_templates"), [("it", 49), ("ja", 37), ("jp", 37), ("zh", 80), ("ar", 55)])
def test_imagenet_is_there_in_other_languages(language: str, num_templates: int) -> None:
    pytest.importorskip("clip_benchmark")
    assert len(template_set("imagenet", language)) == num_templates
    assert len(class_name_set("imagenet", language)) == 1000
    assert class_name_set("imagenet", language) != class_name_set("imagenet")


def test_a_text_file_has_one_per_line(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\ufeffa {}.\n\n  the {c} \n", encoding="utf-8")
    assert template_set(str(tmp_path / "own.txt")) == class_name_set(str(tmp_path / "own.txt")) == ("a {}.", "the {c}")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(EvaluationError, match=r"empty.txt holds no line of text"):
        template_set(str(tmp_path / "empty.txt"))
    with pytest.raises(EvaluationError, match=r"cannot read none.txt: .*No such file"):
        template_set("none.txt")


def test_an_unknown_set_is_an_error_with_the_nearest() -> None:
    with pytest.raises(EvaluationError, match=r'no templates are called "imagnet" in en .*Did you mean "imagenet"'):
        template_set("imagnet")
    with pytest.raises(EvaluationError, match=r'no class names are called "imagenet" in xx \(known: none'):
        class_name_set("imagenet", "xx")


@pytest.mark.usefixtures("without_clip_benchmark")
def test_without_clip_benchmark_imagenets_are_there_and_others_say_what_to_install() -> None:
    assert len(template_set("imagenet")) == 80
    with pytest.raises(EvaluationError, match=r"known: imagenet, imagenet1k, simple; .* pip install clip-benchmark"):
        template_set("pets")
