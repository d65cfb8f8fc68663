from __future__ import annotations

import pytest

from mmcl.data.text_prompts import prompts_of_views, remark_on_prompts
from mmcl.errors import UserError
from mmcl.recipe_data import PromptsConfig
from mmcl.text.prompts import NO_PROMPTS, Prompts

PROMPTS = Prompts({"query": "query: ", "document": "passage: ", "plain": ""})
ROLES = PromptsConfig(text="query", positive="document", negatives="plain")


def test_each_text_view_has_the_prompt_of_its_role() -> None:
    assert prompts_of_views(ROLES, 4, PROMPTS) == ["query", "document", "plain", "plain"]
    assert prompts_of_views(PromptsConfig(anchor="query"), 2, PROMPTS) == ["query", None]
    assert prompts_of_views(ROLES, 0, PROMPTS) == []


def test_a_prompt_that_the_model_has_not_is_refused() -> None:
    with pytest.raises(
        UserError, match=r'data\.prompts\.positive: the model has no prompt "doc" \(query, document, plain\)\.'
    ):
        prompts_of_views(PromptsConfig(positive="doc"), 1, PROMPTS)
    with pytest.raises(UserError, match=r"data\.prompts\.text: .* \(it has none\)"):
        prompts_of_views(PromptsConfig(text="query"), 1, NO_PROMPTS)


def test_what_goes_before_the_texts_is_said() -> None:
    (line,) = remark_on_prompts(ROLES, PROMPTS)
    assert line == 'prompts   "query: " before text   "passage: " before positive   "" before negatives'
    (line,) = remark_on_prompts(PromptsConfig(), PROMPTS)
    assert line == "the model has prompts (query, document), and data.prompts puts none of them before the texts"
    assert not list(remark_on_prompts(PromptsConfig(), Prompts({"query": ""})))
    assert not list(remark_on_prompts(PromptsConfig(), Prompts(PROMPTS.texts, "query")))
    assert not list(remark_on_prompts(PromptsConfig(), NO_PROMPTS))
