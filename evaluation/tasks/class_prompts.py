"""Names of classes and the prompts made of them, for tasks without training."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from evaluation.errors import EvaluationError
from evaluation.metrics import fill_templates


def check_classes(classes: Mapping[str, str], labels: Iterable[str], templates: Sequence[str], dataset: str) -> None:
    """Refuse classes that cannot be told apart by name.

    Args:
        classes: name by label.
        labels: those that occur.
        templates: prompts with a place for the name.
        dataset: what errors begin with.

    Raises:
        EvaluationError: a label without a class name, under two classes, two classes of one name, or a template without
            a place for the name.
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
    twice = [name for name, count in Counter(classes.values()).items() if count > 1]
    if twice:
        raise EvaluationError(f'{dataset}: class names must differ, "{twice[0]}" names more than one class')
    try:
        fill_templates(list(classes.values()), templates)
    except EvaluationError as error:
        raise EvaluationError(f"{dataset}: {error}") from None


def prompts_hash(prompts: Sequence[str]) -> str:
    """Return the SHA-256 of filled prompts, by which results say that theirs were the same."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
