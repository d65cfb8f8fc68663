"""What the objectives of a recipe need of a row.

A row has parts: ``image``, its picture, of which all views ``image.0``, ``image.1`` ... are drawn; ``text.0``, the
caption or anchor; ``text.1``, the positive; ``text.2`` and on, the hard negatives; ``score``, how alike the first two
are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmcl.errors import UserError
from mmcl.objectives.views import FIRST_NEGATIVE, modality_of, num_views, number_of, required_views

_NAMES = {"image": "picture", "text.0": "caption", "text.1": "positive", "score": "score"}


class NeedyObjective(Protocol):
    """What is looked at of an objective's fields."""

    @property
    def type(self) -> str: ...
    @property
    def views(self) -> tuple[str, ...]: ...
    @property
    def optional_views(self) -> tuple[str, ...]: ...
    @property
    def needs_labels(self) -> bool: ...
    @property
    def needs_scores(self) -> bool: ...


@dataclass(frozen=True)
class RowNeeds:
    """Which parts the rows must have.

    Attributes:
        wanted: for each objective, the parts without which a row is of no use to it.
        num_images: views drawn of every picture.
        num_texts: text views.
        optional: parts that an objective takes where a row has them.
        reasons: which objective needs a role of `mmcl.data.columns`, in words, by role.
    """

    wanted: tuple[frozenset[str], ...]
    num_images: int
    num_texts: int
    reasons: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    @classmethod
    def of(cls, objectives: Sequence[NeedyObjective], num_image_views: int) -> RowNeeds:
        """Collect what ``objectives`` need.

        Args:
            objectives: of the recipe, in order.
            num_image_views: how many views ``data.image_views`` describes.

        Raises:
            UserError: an objective names a view that is not described.
        """
        reasons: dict[str, str] = {}
        for position, (objective, views) in enumerate(zip(objectives, required_views(objectives), strict=True)):
            who = f"objectives.{position}: {objective.type}"
            for view in sorted(views, key=number_of):
                if modality_of(view) == "image" and number_of(view) >= num_image_views:
                    raise UserError(
                        f"{who} needs {view}, and data.image_views describes {num_image_views}, counted from image.0; "
                        "add views, or let one count more often"
                    )
                # Texts are handed over from text.0 on, so that one needs a column for those before it too.
                earlier = range(number_of(view) + 1) if modality_of(view) == "text" else ()
                for part in [part_of(view), *(f"text.{number}" for number in earlier)]:
                    reasons.setdefault(role_of(part), f"{who} needs {view}")
            for view in objective.optional_views:
                reasons.setdefault(role_of(view), f"{who} takes {view}")
            if objective.needs_labels:
                reasons.setdefault("label", f"{who} needs labels")
            if objective.needs_scores:
                reasons.setdefault("score", f"{who} needs scores")
        return cls(
            tuple(
                frozenset(map(part_of, views)).union({"score"} if objective.needs_scores else ())
                for objective, views in zip(objectives, required_views(objectives), strict=True)
            ),
            num_views(objectives, "image"),
            num_views(objectives, "text"),
            reasons,
            frozenset(view for objective in objectives for view in objective.optional_views),
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Every part that is handed over, in order."""
        wanted = frozenset[str]().union(*self.wanted)
        needed = [number_of(part) for part in wanted if is_text(part)]
        texts = [f"text.{number}" for number in range(1 + max(needed, default=-1))]
        others = sorted(self.optional.difference(texts), key=number_of)
        score = ("score",) if "score" in wanted else ()
        return (*(("image",) if self.num_images else ()), *texts, *others, *score)

    @property
    def num_negatives(self) -> int:
        """Columns of hard negatives."""
        return max(self.num_texts - FIRST_NEGATIVE, 0)

    @property
    def differ(self) -> bool:
        """Whether a row may be of use that lacks a part."""
        return any(wanted != frozenset(self.parts) for wanted in self.wanted)

    def is_usable(self, parts: Collection[str]) -> bool:
        """Whether at least one objective can use a row that has these parts."""
        return any(wanted.issubset(parts) for wanted in self.wanted)


def part_of(view: str) -> str:
    """Return the part of a row that a view is made of."""
    return "image" if modality_of(view) == "image" else view


def is_text(part: str) -> bool:
    """Whether a part is one of the texts."""
    return part.startswith("text.")


def role_of(part: str) -> str:
    """Return the role of the column that holds a part."""
    return {"image": "image", "text.0": "text", "text.1": "positive", "score": "score"}.get(part, "negatives")


def name_of(part: str) -> str:
    """Return what to call a part in a message."""
    return _NAMES.get(part) or f"hard negative ({part})"
