"""Everything that is asked of the rows of a source before training, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mmcl.data.captions import captions_of, text_id
from mmcl.data.cells import read_cells
from mmcl.data.columns import Roles
from mmcl.data.labels import index_labels
from mmcl.data.loader import check_paths_exist
from mmcl.data.needs import RowNeeds
from mmcl.data.picture_scan import PictureScan, scan_pictures
from mmcl.data.remarks import bytes_never_cut
from mmcl.data.repeats import RowKeys
from mmcl.data.row_reader import RowReader
from mmcl.data.scan import BoolArray, RowScan, needs_of_whole_rows, scan_rows
from mmcl.data.sources import Source
from mmcl.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Look:
    """What is known of the rows of a source.

    Attributes:
        source: an indexed source.
        roles: its columns.
        scan: of its texts and groups, with the captions that may be too long.
        pictures: of its pictures, with their hashes; nothing without an image column.
        texts: for each row with captions, a hash of each of them, normalised.
        unlabelled: rows without a label; none without a label column.
        num_classes: different labels; 0 without a label column.
    """

    source: Source
    roles: Roles
    scan: RowScan
    pictures: PictureScan
    texts: dict[int, tuple[int, ...]]
    unlabelled: tuple[int, ...]
    num_classes: int

    @property
    def num_rows(self) -> int:
        """All of them, unusable ones too."""
        return len(self.scan.group_ids)

    @property
    def is_usable(self) -> BoolArray:
        """``(N,)`` bool: rows that have a picture and a caption, as far as there are columns, and can be read."""
        usable = self.scan.is_usable.copy()
        usable[[record.sample_id for record in self.pictures.unreadable]] = False
        return usable

    def keys(self) -> Mapping[str, RowKeys]:
        """Return by what rows can be the same: their group, where a column gives it, their picture, their text."""
        keys: dict[str, RowKeys] = {}
        if self.roles.group is not None:
            keys["group"] = {row: (group,) for row, group in enumerate(self.scan.group_ids.tolist())}
        if self.roles.image is not None:
            keys["picture"] = {row: (pixels,) for row, pixels in self.pictures.hashes.items()}
        if self.roles.text is not None:
            keys["text"] = self.texts
        return keys


def look_at_rows(
    source: Source,
    roles: Roles,
    key: str,
    max_pixels: int,
    tokenizer: TextTokenizer | None = None,
    tell: Callable[[int], None] = lambda num_read: None,
    needs: RowNeeds | None = None,
) -> Look:
    """Read every row of an indexed source, its picture too. A bad one is written down, and stops nothing.

    Args:
        source: which.
        roles: its columns.
        key: of the columns in the recipe; errors begin with it.
        max_pixels: pictures with more are unreadable.
        tokenizer: of which captions may be too long; None asks nothing of their lengths.
        tell: called now and then with the number of pictures read.
        needs: what makes a row usable; by default a picture and a caption, where there are columns for them.

    Raises:
        UserError: the pictures are files, and none of a hundred looked for is there; or a csv file's text column holds
            nothing but numbers.
    """
    reader = RowReader(source, roles)
    if roles.image is not None:
        check_paths_exist(reader, len(source.dataset))
    num_bytes = None if tokenizer is None else bytes_never_cut(tokenizer)
    scan = scan_rows(source, roles, needs or needs_of_whole_rows(roles), key, num_bytes)
    pictures = PictureScan()
    if roles.image is not None:
        there = np.flatnonzero(scan.has["image"])
        pictures = scan_pictures(reader, there, max_pixels, with_hashes=True, tell=tell)
    labels, classes = index_labels(source, roles)
    unlabelled = () if labels is None else tuple(np.flatnonzero(labels < 0).tolist())
    return Look(source, roles, scan, pictures, _text_keys(source, roles), unlabelled, len(classes))


def _text_keys(source: Source, roles: Roles) -> dict[int, tuple[int, ...]]:
    keys: dict[int, tuple[int, ...]] = {}
    if roles.text is None:
        return keys
    for row, (value,) in enumerate(read_cells(source, roles.text)):
        try:
            keys[row] = tuple(text_id(caption, roles.equal_texts) for caption in captions_of(value))
        except ValueError:
            continue
    return keys
