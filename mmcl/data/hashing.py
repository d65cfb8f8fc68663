"""Stable pseudo-random numbers: the same on every machine, in every process, with any library version.

Order, splits and augmentation are functions of these, never of a generator's state. So a resume needs nothing saved,
and rows, workers or processes that are added move nothing.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt64Array: TypeAlias = NDArray[np.uint64]
Int64Array: TypeAlias = NDArray[np.int64]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_PERSON = b"mmcl.data"  # keeps these hashes independent of any other blake2b of the same strings


def stable_id(value: str | int | float, scope: str = "") -> int:
    """Return a 63-bit id (``0 <= id < 2**63``) of a group's name or number.

    A number and its decimal text are one group (``5``, ``5.0`` and ``"5"``), because a csv file cannot tell them apart
    and a column of integers with a gap is read as floats. Ids of equal values in different scopes differ.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    digest = hashlib.blake2b(f"{scope}{value}".encode("utf-8", "surrogatepass"), digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "little") >> 1


def mix(*keys: int) -> int:
    """Return one 64-bit number that depends on every one of the ``keys`` and on their order."""
    state = 0
    for key in keys:
        state = _scramble((state ^ (key & _MASK)) + _GAMMA & _MASK)
    return state


def mix_array(values: NDArray[Any], *keys: int) -> UInt64Array:
    """Return ``mix(*keys, value)`` of every value of an integer array, as uint64 of the same shape."""
    with np.errstate(over="ignore"):
        state = (values.astype(np.uint64) ^ np.uint64(mix(*keys))) + np.uint64(_GAMMA)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def _scramble(state: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def chain_hash(previous: str, sample_ids: list[int]) -> str:
    """Extend the hash of all sample ids seen so far, in order."""
    return hashlib.sha256(f"{previous}{sample_ids}".encode()).hexdigest()
