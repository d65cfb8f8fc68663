from __future__ import annotations

import pytest

from mmcl.errors import UserError
from mmcl.text.prompts import Prompts

PROMPTS = Prompts({"query": "query: ", "document": "passage: "})


def test_a_prompt_goes_before_every_text_by_its_name() -> None:
    assert PROMPTS.before(["a", ""], "query") == ["query: a", "query: "]
    assert PROMPTS.before(["a"], "document") == ["passage: a"]


def test_without_a_name_it_is_the_default_one_or_none() -> None:
    assert PROMPTS.before(["a"]) == ["a"]
    assert Prompts(PROMPTS.texts, "document").before(["a"]) == ["passage: a"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'no prompt "querry" \(query, document\)\. Did you mean "query"\?'):
        PROMPTS.before(["a"], "querry")
    with pytest.raises(UserError, match=r'no prompt "query" \(it has none\)'):
        Prompts().before(["a"], "query")
