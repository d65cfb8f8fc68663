from __future__ import annotations

import numpy as np
import pytest

from mmcl.errors import UserError
from mmcl.vectors import nearest_others as module
from mmcl.vectors.nearest_others import NONE, Choice, Negatives, Own, find_negatives

NUM_ANCHORS, NUM_CANDIDATES = 37, 53


def unit(number: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(number, 4)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


ANCHORS, CANDIDATES = unit(NUM_ANCHORS, 0), unit(NUM_CANDIDATES, 1)
OWN = [sorted({row, (row * 7 + 3) % NUM_CANDIDATES}) if row % 3 else [row] for row in range(NUM_ANCHORS)]
POSITIVES = np.array([(CANDIDATES[own] @ anchor).mean() for anchor, own in zip(ANCHORS, OWN, strict=True)], np.float32)


def own() -> Own:
    stops = np.cumsum([len(one) for one in OWN])
    starts = stops - [len(one) for one in OWN]
    return Own(np.array([place for one in OWN for place in one]), starts, stops)


def by_sorting(choice: Choice) -> tuple[list[list[int]], int, int]:
    """The definition, anchor by anchor."""
    found, num_of_group, num_too_near = [], 0, 0
    for anchor, positive, mine in zip(ANCHORS, POSITIVES, OWN, strict=True):
        scores = CANDIDATES @ anchor
        order = [place for place in np.argsort(-scores).tolist() if place not in mine][: choice.range_max]
        lowest = scores[order[-1]] if len(order) == choice.range_max else -np.inf
        num_of_group += sum(int(scores[place] >= lowest) for place in mine)
        highest = np.inf
        if choice.margin is not None:
            highest = positive - choice.margin
        elif choice.relative_margin is not None:
            highest = positive - choice.relative_margin * abs(positive)
        kept = [place for place in order[choice.range_min :] if scores[place] <= highest]
        num_too_near += len(order[choice.range_min :]) - len(kept)
        found.append(kept[: choice.num_negatives])
    return found, num_of_group, num_too_near


def as_lists(found: Negatives) -> list[list[int]]:
    return [[place for place in row if place != NONE] for row in found.candidates.tolist()]


@pytest.mark.parametrize("blocks", [(1_024, 16_384), (5, 7)])
@pytest.mark.parametrize(
    "choice",
    [
        Choice(3, None, None),
        Choice(3, None, 0.05),
        Choice(2, 0.3, None, range_max=20),
        Choice(4, 0.0, None, 2, 9),
        Choice(60, None, 0.2),
    ],
)
def test_it_is_what_sorting_all_scores_gives(
    choice: Choice, blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANCHORS", blocks[0])
    monkeypatch.setattr(module, "_CANDIDATES", blocks[1])
    found = find_negatives(ANCHORS, POSITIVES, CANDIDATES, own(), choice)
    assert (as_lists(found), found.num_of_group, found.num_too_near) == by_sorting(choice)


def test_none_stand_behind_the_last() -> None:
    found = find_negatives(ANCHORS, POSITIVES, CANDIDATES, own(), Choice(3, 0.5, None))
    is_there = found.candidates != NONE
    assert not is_there.all()
    assert (is_there[:, 1:] <= is_there[:, :-1]).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_negatives": 0}, "--num-negatives must be >= 1, got 0"),
        ({"margin": 0.1, "relative_margin": 0.1}, "give one of them"),
        ({"relative_margin": -0.1}, "--relative-margin must be >= 0, got -0.1"),
        ({"margin": float("nan"), "relative_margin": None}, "--margin must be >= 0, got nan"),
        ({"range_min": -1}, "--range-min must be >= 0, got -1"),
        ({"range_min": 8, "range_max": 10}, "--range-max must leave room for 3 negatives from 8 on, got 10"),
    ],
)
def test_what_cannot_be_chosen_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Choice(**fields)
