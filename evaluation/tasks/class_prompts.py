"""Names of classes and the prompts made of them, for tasks without training."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from evaluation.errors import EvaluationError
from evaluation.metrics import fill_templates
from evaluation.templates import template_set


def check_classes(
    classes: Mapping[str, str], labels: Iterable[str], templates: Sequence[str] | str, language: str, dataset: str
) -> None:
    """Refuse classes that cannot be told apart by name.

    Args:
        classes: name by label.
        labels: those that occur.
        templates: prompts with a place for the name, or the name of a published set.
        language: of such a set.
        dataset: what errors begin with.

    Raises:
        EvaluationError: a label without a class name, under two classes or names, an unknown set of templates, or a
            template without a place for the name.
    """
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        near = difflib.get_close_matches(unknown[0], classes, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise EvaluationError(
            f'{dataset}: every label must have a class name, "{unknown[0]}" has none '
            f"({len(unknown)} of {len(classes) + len(unknown)} labels).{hint}"
        )
    if len(classes) < 2:
        raise EvaluationError(f"{dataset}: classification needs at least two classes, got {len(classes)}")
    if len(names := set(classes.values())) < 2:
        raise EvaluationError(f'{dataset}: all {len(classes)} classes are called "{names.pop()}"')
    try:
        fill_templates(list(classes.values()), templates_of(templates, language))
    except EvaluationError as error:
        raise EvaluationError(f"{dataset}: {error}") from None


def templates_of(templates: Sequence[str] | str, language: str) -> Sequence[str]:
    """Return templates as they are, or the published set of that name, see `evaluation.template_set`."""
    return template_set(templates, language) if isinstance(templates, str) else templates


def named_templates(templates: Sequence[str] | str) -> dict[str, str]:
    """Return the part of a result's protocol that names a published set; nothing of templates given one by one."""
    return {"templates": templates} if isinstance(templates, str) else {}


def shown_names(names: Collection[str]) -> tuple[str, ...]:
    """Return names that all differ: of classes that share one, the number of the class is beside it."""
    counts = Counter(names)
    return tuple(f"{name} ({index})" if counts[name] > 1 else name for index, name in enumerate(names))


def prompts_hash(prompts: Sequence[str]) -> str:
    """Return the SHA-256 of filled prompts, by which results say that theirs were the same."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
