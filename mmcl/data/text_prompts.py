"""Which prompt goes before the texts of which role in training."""

from __future__ import annotations

from collections.abc import Iterator

from mmcl.errors import UserError
from mmcl.recipe_data import PromptsConfig
from mmcl.text.prompts import Prompts


def prompts_of_views(config: PromptsConfig, num_texts: int, prompts: Prompts) -> list[str | None]:
    """Return for each text view the name of the prompt before it; None for the model's default one.

    Args:
        config: the recipe's.
        num_texts: text views of every row.
        prompts: the model's.

    Raises:
        UserError: the model has no such prompt.
    """
    for role, name in config:
        if name is not None:
            try:
                prompts.text_of(name)
            except UserError as error:
                raise UserError(f"data.prompts.{role}: {error} A model is given prompts as model.prompts.") from error
    return [config.of_view(number) for number in range(num_texts)]


def remark_on_prompts(config: PromptsConfig, prompts: Prompts) -> Iterator[str]:
    """Yield a line that says what goes before the texts, where the model has prompts at all."""
    used = {role: prompts.text_of(name) for role, name in config if name is not None}
    if used:
        yield "prompts   " + "   ".join(f'"{prompt}" before {role}' for role, prompt in used.items())
    elif any(prompts.texts.values()) and prompts.default is None:
        named = ", ".join(name for name, text in prompts.texts.items() if text)
        yield f"the model has prompts ({named}), and data.prompts puts none of them before the texts"
