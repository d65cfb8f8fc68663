from __future__ import annotations

import pytest

from mmcl.data.needs import RowNeeds, name_of, part_of, role_of
from mmcl.errors import UserError
from tests.data.builders import Wants

CLIP = Wants(("image.0", "text.0"), "clip")
SIMCLR = Wants(("image.1", "image.2"), "simclr")
SIMCSE = Wants(("text.0", "text.0"), "simcse")
SUPERVISED = Wants(("text.0", "text.1", "text.2", "text.3"), "simcse_supervised")


def test_views_of_one_picture_are_one_part() -> None:
    needs = RowNeeds.of([CLIP, SIMCLR, SIMCSE], 3)
    assert needs.wanted == (frozenset({"image", "text.0"}), frozenset({"image"}), frozenset({"text.0"}))
    assert (needs.num_images, needs.num_texts, needs.num_negatives) == (3, 1, 0)
    assert needs.parts == ("image", "text.0")


def test_no_more_is_needed_than_objectives_name() -> None:
    assert RowNeeds.of([SIMCSE], 8).parts == ("text.0",)
    assert RowNeeds.of([SIMCLR], 8).parts == ("image",)
    needs = RowNeeds.of([SUPERVISED], 8)
    assert (needs.parts, needs.num_negatives) == (("text.0", "text.1", "text.2", "text.3"), 2)


def test_a_row_is_usable_when_one_objective_can_use_it() -> None:
    needs = RowNeeds.of([CLIP, SIMCLR], 3)
    assert needs.is_usable({"image"})
    assert needs.is_usable({"image", "text.0"})
    assert not needs.is_usable({"text.0"})


def test_objectives_differ_when_a_row_may_lack_a_part() -> None:
    assert RowNeeds.of([CLIP, SIMCLR], 3).differ
    assert RowNeeds.of([SIMCSE, SUPERVISED], 0).differ
    assert not RowNeeds.of([CLIP], 1).differ
    assert not RowNeeds.of([CLIP, CLIP], 1).differ


def test_reasons_name_the_first_objective_that_needs_a_role() -> None:
    reasons = RowNeeds.of([SIMCSE, SUPERVISED, CLIP, Wants(("image.0",), "sup_con", True)], 1).reasons
    assert reasons == {
        "text": "objectives.0: simcse needs text.0",
        "positive": "objectives.1: simcse_supervised needs text.1",
        "negatives": "objectives.1: simcse_supervised needs text.2",
        "image": "objectives.2: clip needs image.0",
        "label": "objectives.3: sup_con needs labels",
    }


def test_a_score_is_a_part_of_the_rows_that_graded_pairs_need() -> None:
    needs = RowNeeds.of([Wants(("text.0", "text.1"), "cosent", needs_scores=True), SIMCSE], 0)
    assert needs.parts == ("text.0", "text.1", "score")
    assert needs.wanted == (frozenset({"text.0", "text.1", "score"}), frozenset({"text.0"}))
    assert needs.reasons["score"] == "objectives.0: cosent needs scores"
    assert (role_of("score"), name_of("score"), needs.num_texts) == ("score", "score", 2)
    assert not needs.is_usable({"text.1", "score"})


def test_a_text_needs_those_before_it() -> None:
    needs = RowNeeds.of([Wants(("text.1", "text.1"), "simcse")], 0)
    assert needs.reasons["text"] == "objectives.0: simcse needs text.1"
    assert needs.differ


def test_optional_texts_need_no_text_before_them_and_no_row_lacks_them() -> None:
    needs = RowNeeds.of([CLIP._replace(optional_views=("text.2", "text.3"))], 1)
    assert needs.parts == ("image", "text.0", "text.2", "text.3")
    assert (needs.num_texts, needs.num_negatives) == (4, 2)
    assert needs.is_usable({"image", "text.0"})
    assert needs.differ
    assert needs.reasons["negatives"] == "objectives.0: clip takes text.2"
    assert "positive" not in needs.reasons


def test_view_that_is_not_described_is_an_error() -> None:
    message = r"objectives.1: simclr needs image.1, and data.image_views describes 1, counted from image.0"
    with pytest.raises(UserError, match=message):
        RowNeeds.of([CLIP, SIMCLR], 1)


def test_parts_have_roles_and_names() -> None:
    views = ("image.4", "text.0", "text.1", "text.2", "text.3")
    assert [role_of(part_of(view)) for view in views] == ["image", "text", "positive", "negatives", "negatives"]
    assert [name_of(part_of(view)) for view in views[:4]] == [
        "picture",
        "caption",
        "positive",
        "hard negative (text.2)",
    ]
