"""Guess which column plays which role, by what it holds and by its name, and say why."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mmcl.data.column_facts import ColumnFacts
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_data import ColumnsConfig

GUESSED_ROLES = ("image", "text", "group", "label")

_TELLING: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "image": (
        frozenset({"image", "images", "img", "picture", "photo", "pic"}),
        frozenset({"path", "file", "filename", "filepath", "jpg", "jpeg", "png", "webp"}),
    ),
    "text": (
        frozenset({"text", "txt", "caption", "captions", "title", "sentence", "prompt", "anchor"}),
        frozenset({"name", "description", "alt", "comment", "body", "content"}),
    ),
    "group": (
        frozenset({"group", "product", "item", "sku", "asin", "concept", "entity", "object", "subject", "scene"}),
        frozenset({"id", "ids", "uid", "uuid", "key", "code"}),
    ),
    "label": (
        frozenset({"label", "labels", "class", "category", "target"}),
        frozenset({"type", "kind", "species", "genre", "y"}),
    ),
}
"""Words in the name of a column that speak for a role: those that say it, and those that hint at it."""

_SAYS_IT, _NO_WORD = 2, 4
"""The rank of a name with a word that says its role, and of one that tells nothing; 0 is the role's own name."""


@dataclass(frozen=True)
class Guess:
    """What is thought to play a role.

    Attributes:
        role: of `mmcl.data.columns.ROLES`; those of `GUESSED_ROLES` are guessed.
        column: which plays it, or several with commas between; None when none does.
        reason: why, or why none.
        others: columns that could play it too.
        is_given: the user has said so.
    """

    role: str
    column: str | None
    reason: str
    others: tuple[str, ...] = ()
    is_given: bool = False

    def __str__(self) -> str:
        """Return ``text <- title: words, 40 different values in 60 rows; could be description too``."""
        if self.column is None:
            others = f"; {_listed(self.others)} could be, say so with --{self.role}" if self.others else ""
            return f"{self.role}: none, {self.reason}{others}"
        others = f"; {_listed(self.others)} could be too (--{self.role})" if self.others else ""
        return f"{self.role} <- {self.column}: {self.reason}{others}"


def guess_columns(facts: Sequence[ColumnFacts], given: ColumnsConfig) -> dict[str, Guess]:
    """Return a guess for each of `GUESSED_ROLES`.

    What is given is taken as it is. A column plays one role at the most.

    Args:
        facts: of the columns of a source.
        given: what the user has said; ``false`` for a role that no column plays.

    Raises:
        UserError: several columns could play a role that something hangs on, and nothing speaks for one of them; a
            given column is not there; or the pictures that a column names are not.
    """
    guesses = {role: guess for role in GUESSED_ROLES if (guess := _given(role, facts, given)) is not None}
    for role in GUESSED_ROLES:
        if role not in guesses:
            taken = {guess.column for guess in guesses.values()}
            guesses[role] = _guess(role, [fact for fact in facts if fact.name not in taken], guesses)
    return {role: guesses[role] for role in GUESSED_ROLES}


def columns_of(guesses: dict[str, Guess]) -> ColumnsConfig:
    """Return the guesses as a recipe has them; a role that nothing plays is ``false``, but for the group.

    Without a column for it, rows with the same text are one group.
    """
    columns: dict[str, str | bool | None] = {role: guess.column or False for role, guess in guesses.items()}
    if columns["group"] is False and not guesses["group"].is_given:
        columns["group"] = None
    return ColumnsConfig.model_validate(columns)


def _guess(role: str, facts: Sequence[ColumnFacts], before: Mapping[str, Guess]) -> Guess:
    if role == "image":
        return _guess_image(facts)
    if role == "text":
        return _guess_text(facts)
    if role == "group":
        return _guess_group(facts)
    return _guess_label(facts, is_needed=before["image"].column is not None and before["text"].column is None)


def _given(role: str, facts: Sequence[ColumnFacts], given: ColumnsConfig) -> Guess | None:
    column = getattr(given, role)
    if column is None:
        return None
    if column is False:
        return Guess(role, None, f"as --{role} says", is_given=True)
    names = [fact.name for fact in facts]
    if column not in names:
        raise UserError(f'--{role}: no column "{column}" ({", ".join(names)}).{did_you_mean(column, names)}')
    return Guess(role, column, f"as --{role} says", is_given=True)


def _guess_image(facts: Sequence[ColumnFacts]) -> Guess:
    found = [fact for fact in facts if fact.holds_pictures]
    named = [fact for fact in facts if fact.names_pictures]
    if not found and named:
        raise UserError(_not_there(named[0]))
    if not found:
        return Guess("image", None, "no column holds pictures")
    return _best("image", found, lambda fact: f"{fact.num_pictures} of {fact.num_opened} looked at are pictures")


def _not_there(fact: ColumnFacts) -> str:
    what = f'--image: "{fact.name}" names pictures, such as {fact.example}'
    if fact.num_addresses:
        return f"{what}, which are addresses on the network; download them first, or give --image false"
    num_opened = f"only {fact.num_pictures}" if fact.num_pictures else "none"
    return (
        f"{what}, and {num_opened} of the {fact.num_opened} looked at can be opened; set --image-root to the folder "
        f"that its paths start from, or give --image {fact.name} to take it all the same, --image false for none"
    )


def _guess_text(facts: Sequence[ColumnFacts]) -> Guess:
    # Few different values are rather classes, unless the name says otherwise.
    found = [
        fact for fact in facts if fact.holds_texts and (not fact.has_few_values or _rank("text", fact.name) <= _SAYS_IT)
    ]
    if not found:
        return Guess("text", None, "no column holds many different texts")
    return _best("text", found, _said_of_texts)


def _said_of_texts(fact: ColumnFacts) -> str:
    if fact.num_distinct is None:
        return f"lists of texts in {fact.num_present:,} rows"
    return f"words, {_said_of_values(fact)}"


def _guess_group(facts: Sequence[ColumnFacts]) -> Guess:
    """Guess by content and name: equal prices repeat too, and would be no group."""
    repeating = [fact for fact in facts if fact.holds_whole_values and fact.repeats and not fact.is_class_column]
    own = [fact for fact in facts if fact.name == "group" and fact not in repeating]
    found = [*own, *(fact for fact in repeating if _rank("group", fact.name) < _NO_WORD)]
    if not found:
        others = tuple(fact.name for fact in repeating if not fact.holds_texts)
        return Guess("group", None, "no column is named as ids are and repeats", others)
    return _best("group", found, _said_of_values)


def _guess_label(facts: Sequence[ColumnFacts], is_needed: bool) -> Guess:
    found = [
        fact
        for fact in facts
        if fact.is_class_column or fact.name == "label" or (fact.holds_whole_values and fact.has_few_values)
    ]
    if not found:
        return Guess("label", None, "no column has few different values")
    if not is_needed:
        named = [fact for fact in found if fact.is_class_column or _rank("label", fact.name) <= _SAYS_IT]
        if len(named) != 1:
            return Guess("label", None, "it is not needed", tuple(fact.name for fact in found))
        return replace(_best("label", named, _said_of_values), others=())
    return _best("label", found, _said_of_values)


def _said_of_values(fact: ColumnFacts) -> str:
    plural = "" if fact.num_distinct == 1 else "s"
    return f"{fact.num_distinct or 0:,} different value{plural} in {fact.num_present:,} rows"


def _best(role: str, found: Sequence[ColumnFacts], say: Callable[[ColumnFacts], str]) -> Guess:
    """Return the one column whose name speaks for the role more than any other's, or the only one.

    Raises:
        UserError: there are several such.
    """
    rank = min(_rank(role, fact.name) for fact in found)
    best = [fact for fact in found if _rank(role, fact.name) == rank]
    if len(best) > 1:
        raise UserError(
            f"--{role}: {' or '.join(fact.name for fact in best)}? Nothing speaks for one of them; "
            f"name it with --{role}, or give --{role} false for none"
        )
    others = tuple(fact.name for fact in found if fact is not best[0])
    return Guess(role, best[0].name, say(best[0]), others)


def _rank(role: str, name: str) -> int:
    """Return how much a column's name speaks for a role: 0 most, 4 not at all; ``product_id`` more than ``product``,
    and that more than ``seller_id``."""
    if name == role:
        return 0
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = set(re.split(r"[\W_\d]+", spaced))
    telling, hinting = _TELLING[role]
    if words & telling:
        return 1 if words & hinting else _SAYS_IT
    return 3 if words & hinting else _NO_WORD


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
