from __future__ import annotations

import numpy as np

from mmcl.data.shared_texts import TextKeys


def keys_of(*rows: tuple[str, str, str]) -> TextKeys:
    """Rows of anchor, positive and hard negative."""
    keys = TextKeys()
    for number, row in enumerate(rows):
        for text, is_own in zip(row, (True, True, False), strict=True):
            keys.add(number, text, is_own)
    return keys


def test_a_row_shares_its_anchor_or_positive_with_any_text_of_another() -> None:
    keys = keys_of(
        ("a", "b", "n0"),  # its positive is the anchor of row 1
        ("b", "c", "n1"),
        ("d", "d", "n2"),  # the same text twice is nothing that it shares
        ("e", "f", "n3"),  # its anchor is a hard negative of row 4
        ("g", "h", "e"),
        ("i", "j", "n1"),  # hard negatives that are the same do no harm
    )
    assert keys.count_sharing(np.ones(6, dtype=bool)) == 3
    assert keys.count_sharing(np.array([False, True, True, True, True, True])) == 1


def test_rows_of_several_sources_are_counted_on() -> None:
    first, second = keys_of(("a", "b", "c")), keys_of(("a", "d", "e"), ("x", "y", "z"))
    assert TextKeys.joined([(first, 0), (second, 1)]).count_sharing(np.ones(3, dtype=bool)) == 2


def test_of_no_texts_none_is_shared() -> None:
    assert TextKeys().count_sharing(np.ones(3, dtype=bool)) == 0
