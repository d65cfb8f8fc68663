"""How many rows share a text with another row, in whatever role."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TextKeys:
    """The texts of rows, by a hash of what they are compared by, which holds in this process alone."""

    def __init__(self) -> None:
        self._rows, self._keys, self._is_own = array("q"), array("q"), array("b")

    @classmethod
    def joined(cls, parts: Sequence[tuple[TextKeys, int]]) -> TextKeys:
        """Put those of several sources together, each with the number that its rows are counted from."""
        whole = cls()
        for part, first in parts:
            whole._rows.extend(row + first for row in part._rows)
            whole._keys.extend(part._keys)
            whole._is_own.extend(part._is_own)
        return whole

    def add(self, row: int, key: str, is_own: bool) -> None:
        """Add a text of a row; its own are its anchor and positive, and not its hard negatives."""
        self._rows.append(row)
        self._keys.append(hash(key))
        self._is_own.append(is_own)

    def count_sharing(self, is_counted: NDArray[np.bool_]) -> int:
        """Return how many rows have an anchor or positive that is a text of another row.

        Args:
            is_counted: ``(N,)`` bool: the rows to look at; others play no part.
        """
        rows, keys, is_own = (np.array(some, dtype=np.int64) for some in (self._rows, self._keys, self._is_own))
        chosen = is_counted[rows]
        rows = rows[chosen]
        names, text = np.unique(keys[chosen], return_inverse=True)
        # A text that a row has twice is shared with nobody by that.
        lowest, highest = np.full(len(names), len(is_counted)), np.full(len(names), -1)
        np.minimum.at(lowest, text, rows)
        np.maximum.at(highest, text, rows)
        is_shared = (lowest < highest)[text] & (is_own[chosen] > 0)
        return len(np.unique(rows[is_shared]))
