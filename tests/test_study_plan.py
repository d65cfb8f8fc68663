from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mmcl.errors import UserError
from mmcl.study_config import study_of
from mmcl.study_plan import StudyPlan, plan_study
from tests.studies import ByColour
from tests.tiny import save_pairs


def plan(models: list[Any], pairs: str, **keys: Any) -> StudyPlan:
    study = study_of({"models": ["x"], "tasks": ["retrieval"], "data": pairs, **keys})
    return plan_study(study, models, lambda line: None)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return str(save_pairs(tmp_path / "data"))


def test_it_says_what_would_be_done(pairs: str) -> None:
    found = plan([ByColour("a"), ByColour("b")], pairs)
    assert found.problems == ()
    assert found.lines() == [
        *("2 models", "  a: image and text", "  b: image and text"),
        *("1 task", "  pairs.csv retrieval", "60 pictures, 2 results"),
    ]


class Pictures:
    """Encodes nothing but pictures."""

    name, fingerprint = "pictures", "1"
    encode_images = ByColour.encode_images


def test_problems_of_models_tasks_and_folders_come_together(pairs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    models: list[Any] = [ByColour("a"), ByColour("a"), Pictures()]
    found = plan(models, pairs, evaluate=["retrieval"], tasks=None, output=str(Path(pairs).parent / "out"))
    assert list(found.problems) == [
        'models: two are called "a"',
        "pictures: evaluate.0: retrieval needs a model with a text tower; this has none",
        f"cache: {Path(pairs).parent / 'out' / 'cache'} may need 0.0 GB, and 0.0 are free; make room, or keep none with"
        " cache: false",
    ]
    with pytest.raises(UserError, match="two are called"):
        found.refuse_problems()


def test_an_object_that_is_no_model_is_a_problem_with_what_it_lacks(pairs: str) -> None:
    class Nameless:
        encode_images = ByColour.encode_images
        encode_texts = ByColour.encode_texts

    found = plan([Nameless(), 3], pairs)
    rule = "an object must have name, fingerprint, and encode_images, encode_texts or both"
    assert list(found.problems) == [
        f"models: Nameless has no name, fingerprint; {rule}",
        f"models: int has no name, fingerprint, encode_images, encode_texts; {rule}",
    ]


def test_nothing_is_written_by_looking(pairs: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    plan([ByColour()], pairs, output=str(tmp_path / "out"))
    assert sorted(tmp_path.rglob("*")) == before
