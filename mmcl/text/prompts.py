"""Prompts: short texts put before those that a model encodes, such as E5's ``query: `` and ``passage: ``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmcl.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Prompts:
    """The prompts of a model. Their tokens count as those of any text, in the mean too.

    Attributes:
        texts: by name, such as ``query`` and ``document``.
        default: name of the one that goes before a text for which none is named; None for no prompt.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def before(self, texts: Sequence[str], name: str | None = None) -> list[str]:
        """Return each text behind the prompt of a name, or behind the default one.

        Raises:
            UserError: there is no prompt of that name.
        """
        name = self.default if name is None else name
        prompt = "" if name is None else self.text_of(name)
        return [prompt + text for text in texts]

    def text_of(self, name: str) -> str:
        """Return the prompt of a name.

        Raises:
            UserError: there is none.
        """
        if name not in self.texts:
            known = ", ".join(self.texts) or "it has none"
            raise UserError(f'the model has no prompt "{name}" ({known}).{did_you_mean(name, self.texts)}')
        return self.texts[name]


NO_PROMPTS = Prompts()
