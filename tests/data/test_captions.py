from __future__ import annotations

from typing import Any

import pytest

from mmcl.data.captions import captions_of, group_id, normalise_text, text_id
from mmcl.data.hashing import stable_id


def test_text_is_compared_without_case_width_and_spacing() -> None:
    assert normalise_text("  Ｒed\u00a0 STRASSE\n") == normalise_text("red straße") == "red strasse"
    assert normalise_text("red") != normalise_text("réd")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", ("a",)), (" a b ", (" a b ",)), (["a", None, " ", "b"], ("a", "b")), (["a"], ("a",))],
)
def test_usable_captions_are_kept_as_they_are(value: Any, expected: tuple[str, ...]) -> None:
    assert captions_of(value) == expected


@pytest.mark.parametrize("value", [None, "", " \n", [], [None], ["", " "]])
def test_missing_caption_has_a_reason(value: Any) -> None:
    with pytest.raises(ValueError, match="the caption is missing or empty"):
        captions_of(value)


@pytest.mark.parametrize("value", [5, float("nan"), True, ["a", 5], {"a": 1}])
def test_caption_that_is_no_text_has_a_reason(value: Any) -> None:
    with pytest.raises(ValueError, match="which is no text"):
        captions_of(value)


def test_group_is_the_column_or_else_the_text() -> None:
    assert group_id("g1", ["a"], 0) == group_id("g1", ["b"], 1) == stable_id("g1")
    assert group_id(None, ["A  b"], 0) == group_id(float("nan"), ["a B"], 1) != group_id(None, ["ab"], 0)
    assert group_id(None, ["a", "b"], 0) != group_id(None, ["a"], 0)
    assert group_id("5", ["a"], 0) == group_id(5.0, ["b"], 1)
    assert group_id(None, ["5"], 0) != group_id("5", ["a"], 0)


def test_row_without_text_is_a_group_of_its_own_unless_a_column_says_else() -> None:
    assert group_id(None, [], 3) == group_id(None, [], 3) != group_id(None, [], 4)
    assert group_id("g", [], 3) == group_id("g", [], 4)


def test_groups_of_another_scope_are_others_and_captions_have_none() -> None:
    for group, captions, is_ungrouped in (("g", ["a"], False), (None, [], False), ("g", ["a"], True)):
        ids = [group_id(group, captions, 5, is_ungrouped, scope) for scope in ("", "one", "two")]
        assert len(set(ids)) == 3
        assert ids[0] == group_id(group, captions, 5, is_ungrouped)
    assert group_id(5, [], 0, scope="one") == group_id("5", [], 1, scope="one")
    assert group_id(None, ["a"], 0, scope="one") == group_id(None, ["A "], 1)


def test_without_groups_every_row_is_its_own() -> None:
    ids = {group_id(group, captions, row, True) for row, group, captions in ((0, "g", ["a"]), (1, "g", ["a"]))}
    assert len(ids) == 2


def test_equal_texts_have_one_id_and_make_one_group_unless_they_never_do() -> None:
    assert text_id("Red  5") == text_id("red 5") != text_id("red 6")
    assert text_id("Red  5", "templated") == text_id("red 6", "templated")
    assert group_id(None, ["red 5"], 0) != group_id(None, ["red 6"], 1)
    assert group_id(None, ["red 5"], 0, equal_texts="templated") == group_id(
        None, ["red 6"], 1, equal_texts="templated"
    )
    assert group_id(None, ["red"], 0, equal_texts="never") != group_id(None, ["red"], 1, equal_texts="never")
    assert group_id("g", ["red"], 0, equal_texts="never") == group_id("g", ["blue"], 1, equal_texts="never")
