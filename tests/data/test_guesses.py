from __future__ import annotations

import re
from typing import Any

import pytest

from mmcl.data.column_facts import ColumnFacts
from mmcl.data.guesses import columns_of, guess_columns
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig


def _pictures(name: str) -> ColumnFacts:
    return ColumnFacts(name, 100, 100, num_looked_at=64, num_pictures=16, num_picture_names=64, num_whole=64)


def _texts(name: str, num_distinct: int | None = 90) -> ColumnFacts:
    return ColumnFacts(name, 100, num_distinct, num_looked_at=64, num_texts=64, num_whole=64)


def _ids(name: str, num_distinct: int = 50) -> ColumnFacts:
    return ColumnFacts(name, 100, num_distinct, num_looked_at=64, num_whole=64)


def _classes(name: str, num_distinct: int = 4) -> ColumnFacts:
    return _texts(name, num_distinct)


def _guessed(*facts: ColumnFacts, **given: Any) -> dict[str, str | None]:
    guesses = guess_columns(facts, ColumnsConfig(**given))
    return {role: guess.column for role, guess in guesses.items()}


def test_roles_are_guessed_by_content_whatever_the_names() -> None:
    facts = (_texts("a"), _pictures("b"), _classes("c"))
    assert _guessed(*facts) == {"image": "b", "text": "a", "group": None, "label": None}
    assert _guessed(_pictures("b"), _classes("c"))["label"] == "c"


def test_names_decide_between_columns_of_one_kind() -> None:
    facts = (
        _pictures("thumbnail_path"),
        _pictures("image_path"),
        _texts("description"),
        _texts("title"),
        _ids("seller_id"),
        _ids("productId"),
    )
    assert _guessed(*facts) == {"image": "image_path", "text": "title", "group": "productId", "label": None}
    guesses = guess_columns(facts, ColumnsConfig())
    assert str(guesses["text"]) == (
        "text <- title: words, 90 different values in 100 rows; description could be too (--text)"
    )
    assert guesses["group"].others == ("seller_id",)


def test_anchors_are_texts() -> None:
    guesses = guess_columns([_texts("anchor"), _texts("positive"), _texts("negative")], ColumnsConfig())
    assert (guesses["text"].column, guesses["text"].others) == ("anchor", ("positive", "negative"))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ((_pictures("front"), _pictures("back")), "--image: front or back? Nothing speaks for one of them; name it"),
        ((_texts("zh"), _texts("en")), "--text: zh or en?"),
        ((_texts("title"), _texts("caption")), "--text: title or caption?"),
        ((_ids("item_id"), _ids("sku_code")), "--group: item_id or sku_code?"),
        ((_pictures("p"), _classes("colour"), _classes("size")), "--label: colour or size?"),
    ],
)
def test_a_guess_without_a_best_column_is_an_error(facts: tuple[ColumnFacts, ...], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        _guessed(*facts)


def test_classes_are_not_asked_for_beside_captions() -> None:
    facts = (_pictures("p"), _texts("title"), _classes("colour"), _classes("size"))
    guesses = guess_columns(facts, ColumnsConfig())
    assert str(guesses["label"]) == "label: none, it is not needed; colour, size could be, say so with --label"
    assert _guessed(*facts, _classes("category"))["label"] == "category"


def test_few_different_texts_are_classes_unless_they_are_called_captions() -> None:
    assert _guessed(_pictures("p"), _classes("what")) == {"image": "p", "text": None, "group": None, "label": "what"}
    assert _guessed(_pictures("p"), _classes("caption"))["text"] == "caption"


def test_a_group_repeats_and_is_named_as_ids_are() -> None:
    assert _guessed(_texts("title"), _ids("product_id", 100))["group"] is None  # each once
    assert _guessed(_texts("title"), _ids("product_id", 1))["group"] is None  # all of one
    guess = guess_columns((_texts("title"), _ids("price")), ColumnsConfig())["group"]
    assert (guess.column, guess.others) == (None, ("price",))
    assert _guessed(_texts("title"), _ids("group", 100))["group"] == "group"  # its own name is enough


def test_what_is_given_is_taken_as_it_is() -> None:
    facts = (_texts("title"), _texts("caption"), _ids("sku"))
    assert _guessed(*facts, text="sku", group=False) == {"image": None, "text": "sku", "group": None, "label": None}
    with pytest.raises(UserError, match=r'--text: no column "titel" \(title, caption, sku\). Did you mean "title"'):
        _guessed(*facts, text="titel")


def test_a_column_plays_one_role() -> None:
    assert _guessed(_pictures("p"), _texts("title"), group="title")["text"] is None


def test_pictures_that_are_not_there_are_an_error() -> None:
    gone = ColumnFacts("path", 100, 100, num_looked_at=64, num_picture_names=64, num_whole=64, example="a/1.jpg")
    with pytest.raises(UserError, match=r'"path" names pictures, such as a/1.jpg, and none of the 16 .* --image-root'):
        _guessed(gone, _texts("title"))
    assert _guessed(gone, _texts("title"), image=False)["image"] is None
    url = ColumnFacts("url", 9, 9, num_looked_at=9, num_picture_names=9, num_addresses=9, example="http://x/1.jpg")
    with pytest.raises(UserError, match="addresses on the network; download them first"):
        _guessed(url, _texts("title"))


def test_columns_that_play_no_role_are_false_but_for_the_group() -> None:
    guesses = guess_columns((_texts("title"),), ColumnsConfig())
    assert columns_of(guesses) == ColumnsConfig(image=False, text="title", group=None, label=False)
    guesses = guess_columns((_texts("title"),), ColumnsConfig(group=False))
    assert columns_of(guesses).group is False
