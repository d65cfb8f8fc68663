from __future__ import annotations

import numpy as np

from mmcl.data.hashing import chain_hash, mix, mix_array, stable_id


def test_ids_are_what_they_were_when_splits_were_first_made() -> None:
    assert [stable_id("a"), stable_id(7), stable_id("")] == [
        2630911864767930755,
        5781760970895573716,
        5497862166479068907,
    ]
    assert mix(1, 2, 3) == 15020427595393229491


def test_number_and_its_text_are_one_group() -> None:
    assert stable_id(5) == stable_id(5.0) == stable_id("5")
    assert len({stable_id(value) for value in (5, 6, 5.5, "five", "5.0", True, -5)}) == 7


def test_ids_fit_int64() -> None:
    assert all(0 <= stable_id(value) < 2**63 for value in range(200))


def test_array_agrees_with_scalar() -> None:
    values = np.array([[0, 1, -1], [2**62, 12345, -(2**63)]])
    expected = [[mix(7, 8, value) for value in row] for row in values.tolist()]
    np.testing.assert_array_equal(mix_array(values, 7, 8), np.array(expected, dtype=np.uint64))


def test_every_key_and_their_order_count() -> None:
    assert len({mix(), mix(0), mix(0, 0), mix(1, 2), mix(2, 1), mix(1), mix(2)}) == 7


def test_bits_are_uniform() -> None:
    values = mix_array(np.arange(20_000), 3)
    ones = [(values >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    assert 0.48 < min(ones) < max(ones) < 0.52


def test_the_hash_of_the_order_depends_on_the_order() -> None:
    one = chain_hash(chain_hash("", [1, 2]), [3])
    assert one != chain_hash(chain_hash("", [2, 1]), [3])
    assert one != chain_hash(chain_hash("", [1]), [2, 3])
