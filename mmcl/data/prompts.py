"""The texts in a cell: what it holds, or prompts of a class name (FLYP, arXiv:2212.00638)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mmcl.data.captions import captions_of
from mmcl.data.columns import Roles
from mmcl.data.labels import is_missing, label_name
from mmcl.errors import UserError, did_you_mean


def texts_in(value: Any, part: str, roles: Roles) -> tuple[str, ...]:
    """Return the usable texts in a cell of the column of a part, ``text.0``, ``text.1`` ...

    Of a caption that is made of the row's class those are all templates, filled with the name of the class.

    Raises:
        ValueError: there is none; the message is the reason.
    """
    if not roles.caption_templates or part != "text.0":
        return captions_of(value)
    if is_missing(value, roles):
        raise ValueError("the label is missing, of which its caption is made")
    label = label_name(value, roles)
    name = roles.class_names.get(label, label)
    return tuple(template.replace("{}", name) for template in roles.caption_templates)


def check_class_names(class_names: Collection[str], labels: Collection[str], source_name: str) -> None:
    """Make sure that every label to which ``data.class_names`` gives a name is there.

    Raises:
        UserError: one is not.
    """
    for label in class_names:
        if label not in labels:
            raise UserError(
                f'data.class_names: "{label}" is no label of {source_name} ({len(labels):,} classes).'
                f"{did_you_mean(label, labels)}"
            )
