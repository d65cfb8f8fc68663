"""The names of views: ``image.0`` is the first view of the picture, ``text.0`` the caption or anchor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, Modality] = ("image", "text")


FIRST_NEGATIVE = 2
"""The number of the first hard negative among texts."""


def _check_view(name: str) -> str:
    modality, _, number = name.partition(".")
    number = number or "0"
    if modality not in MODALITIES or not number.isdecimal():
        raise ValueError(f'a view is image.N or text.N, for example image.0, got "{name}"')
    return f"{modality}.{int(number)}"


ViewName = Annotated[str, AfterValidator(_check_view)]
"""``image.N``: the N-th of ``data.image_views``; ``text.0``: the caption or anchor, ``text.1``: the positive,
``text.2`` and on: the hard negatives. ``image`` and ``text`` alone mean number 0."""


class HasViews(Protocol):
    """What names the views that it compares, and those that it takes where a row has them."""

    @property
    def views(self) -> tuple[str, ...]: ...
    @property
    def optional_views(self) -> tuple[str, ...]: ...


class HasEncodedViews(Protocol):
    """What names the views that the model's own towers are to encode for it."""

    @property
    def encoded_views(self) -> tuple[str, ...]: ...


def modality_of(view: str) -> Modality:
    """Return ``image`` or ``text``."""
    return "image" if view.startswith("image") else "text"


def number_of(view: str) -> int:
    """Return the view's number among those of its modality."""
    return int(view.partition(".")[2])


def required_views(objectives: Iterable[HasViews]) -> list[frozenset[str]]:
    """Return for each objective the views that a row must have to be of use to it."""
    return [frozenset(objective.views) for objective in objectives]


def num_passes(objectives: Iterable[HasEncodedViews]) -> dict[str, int]:
    """Return how often each view has to be encoded, by name, in order of name.

    An objective that names a view twice compares two passes over it, which differ in their dropout. The first pass is
    shared by all objectives, the second by all that need two.
    """
    counts: Counter[str] = Counter()
    for objective in objectives:
        counts |= Counter(objective.encoded_views)
    return dict(sorted(counts.items(), key=lambda item: (modality_of(item[0]), number_of(item[0]))))


def num_views(objectives: Sequence[HasViews], modality: str) -> int:
    """Return how many views of a modality have to be drawn for the objectives."""
    views = [view for objective in objectives for view in (*objective.views, *objective.optional_views)]
    return max((number_of(view) for view in views if modality_of(view) == modality), default=-1) + 1


def num_texts(views: Iterable[str]) -> int:
    """Return how many different texts of a row are among the views."""
    return len({view for view in views if modality_of(view) == "text"})


def passes_of(views: Sequence[str]) -> list[tuple[str, int]]:
    """Return each view with the number of the pass that it means: of ``(text.0, text.0)`` the second is pass 1."""
    seen: Counter[str] = Counter()
    keys = []
    for view in views:
        keys.append((view, seen[view]))
        seen[view] += 1
    return keys
