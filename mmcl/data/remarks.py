"""What a user should know about the rows before training, in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmcl.data.captions import NO_CAPTION
from mmcl.data.hashing import Int64Array
from mmcl.data.needs import name_of
from mmcl.data.scan import RowScan
from mmcl.text.tokenizer import TextTokenizer

_SPARE_TOKENS = 8
"""A token holds a byte of the caption or more, but for the special ones and a leading space. So a caption that has this
many bytes less than the tokenizer's limit has tokens is not cut."""


@dataclass(frozen=True)
class RowFacts:
    """What the remarks are about.

    Attributes:
        sources: a line for each source.
        scan: of all rows.
        positions: ``(N,)`` int64: the rows to learn from.
        held_out: ``(M,)`` int64: those that are held out.
        num_drawn: different rows drawn in an epoch.
        class_names: of the labels.
        labels: ``(N,)`` int64 class index of each row to learn from; None without labels.
        num_known: rows that are replayed and left out because their group is held out.
        is_templated: texts are compared without numbers, addresses and names.
    """

    sources: tuple[str, ...]
    scan: RowScan
    positions: Int64Array
    held_out: Int64Array
    num_drawn: int
    class_names: tuple[str, ...] = ()
    labels: Int64Array | None = None
    num_known: int = 0
    is_templated: bool = False


def remarks_on(facts: RowFacts, tokenizer: TextTokenizer | None) -> Iterator[str]:
    """Yield one line each for what is worth saying.

    Args:
        facts: of the rows.
        tokenizer: counts the captions that it cuts; None counts none.
    """
    scan, num_rows = facts.scan, len(facts.positions)
    num_groups = len(np.unique(scan.group_ids[facts.positions]))
    yield from facts.sources
    if scan.unusable:
        yield _left_out(scan)
    if not scan.is_complete[facts.positions].all():
        yield _parts(scan, facts.positions)
    for part in sorted(scan.optional):
        if not scan.has[part][facts.positions].all():
            yield f"{int(scan.has[part][facts.positions].sum()):,} rows have a {name_of(part)}"
    if facts.labels is not None and (num_unknown := int((facts.labels < 0).sum())):
        classes = f"{len(facts.class_names):,} classes"
        yield f"{num_rows - num_unknown:,} rows have a label, of {classes}; {num_unknown:,} have none"
    if len(facts.held_out):
        groups = len(np.unique(scan.split_ids[facts.held_out]))
        complete = int(scan.is_complete[facts.held_out].sum())
        judged = (
            "" if complete == len(facts.held_out) else f"; only the {complete:,} that are complete can be judged on"
        )
        yield f"held out: {len(facts.held_out):,} rows of {groups:,} groups{judged}"
    if facts.num_known:
        yield f"{facts.num_known:,} rows of the replay are left out, because their groups are held out"
    if num_groups < num_rows:
        yield f"{num_rows:,} rows to learn from are {num_groups:,} groups; rows of one group are never negatives"
    is_learnt = np.zeros(len(scan.group_ids), dtype=bool)
    is_learnt[facts.positions] = True
    if num_sharing := scan.texts.count_sharing(is_learnt):
        how = "after normalisation" + (", but for numbers, addresses and names" if facts.is_templated else "")
        yield f"{num_sharing / num_rows:.1%} of the rows share a text with another {how}: never negatives of each other"
    if (unused := num_rows - facts.num_drawn) > 0:
        yield f"each epoch leaves out {unused:,} rows, others each time, so that all batches are full"
    if tokenizer is not None and (num_cut := count_cut(scan, tokenizer)):
        share = num_cut / scan.num_captions
        yield f"{share:.1%} of the captions are longer than {tokenizer.max_length} tokens and are cut"


def bytes_never_cut(tokenizer: TextTokenizer) -> int:
    """Return how many bytes of UTF-8 a caption may have that the tokenizer never cuts, so that only longer ones need be
    tokenised to know."""
    return tokenizer.max_length - _SPARE_TOKENS


def count_cut(scan: RowScan, tokenizer: TextTokenizer) -> float:
    """Return how many captions the tokenizer cuts.

    Args:
        scan: with the captions of more than `bytes_never_cut`. Where it has kept only the first of them, the number is
            an estimate, and need not be whole.
        tokenizer: which cuts.
    """
    if not scan.long_captions:
        return 0.0
    return tokenizer.count_too_long(scan.long_captions) / len(scan.long_captions) * scan.num_long_captions


def _left_out(scan: RowScan) -> str:
    reasons = Counter(record.reason for record in scan.unusable)
    if list(reasons) == [NO_CAPTION]:
        return f"{len(scan.unusable):,} rows without a usable caption are left out"
    told = ", ".join(f"{count:,} because {reason}" for reason, count in reasons.most_common(3))
    return f"{len(scan.unusable):,} rows that no objective can use are left out: {told}"


def _parts(scan: RowScan, positions: Int64Array) -> str:
    """Return ``38,000 rows have both picture and caption, 2,000 a picture alone, 5,000 a caption alone``."""
    parts = [part for part in scan.has if part not in scan.optional]
    has = np.stack([scan.has[part][positions] for part in parts], axis=1)
    kinds, counts = np.unique(has, axis=0, return_counts=True)
    told = []
    for kind, count in sorted(zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda pair: -sum(pair[0])):
        names = [name_of(part) for part, is_there in zip(parts, kind, strict=True) if is_there]
        if len(names) == 1:
            told.append((count, f"a {names[0]} alone"))
        else:
            told.append((count, ("both " if len(names) == 2 else "") + _listed(names)))
    first, *others = told
    return ", ".join([f"{first[0]:,} rows have {first[1]}", *(f"{count:,} {what}" for count, what in others)])


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
