from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig
from mmcl.training.non_finite import name_rows
from tests.objectives.small_modules import FACTS
from tests.tiny import random_batch, save_tokenizer, vit_bert_pair, without_some


@pytest.fixture
def module(tmp_path: Path) -> ContrastiveModule:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path / "words")))
    return ContrastiveModule(model, (CLIPConfig(),), FACTS).eval()


@pytest.mark.parametrize("num_at_a_time", [2, 3, 8])
@pytest.mark.parametrize("is_partial", [False, True])
def test_rows_are_named_whose_own_embeddings_are_not_finite(
    module: ContrastiveModule, num_at_a_time: int, is_partial: bool
) -> None:
    batch = random_batch(8, 16)
    if is_partial:
        batch = without_some(batch)
    token = batch.texts[0].input_ids[1, 1].item()
    rows = batch.text_rows[0] if batch.text_rows else torch.arange(8)
    has_token = (batch.texts[0].input_ids == token).any(dim=1)
    bad = rows[has_token].tolist()
    assert 0 < len(bad) < 8
    words: Any = module.model.towers.text_model.get_input_embeddings()  # type: ignore[union-attr, operator]
    with torch.no_grad():
        words.weight[token] = float("nan")
    named = name_rows(module, batch, range(8), num_at_a_time, nullcontext)
    assert named == f"Rows with non-finite embeddings (sample ids): {', '.join(map(str, bad))}."


def test_all_rows_are_named_where_none_is_at_fault(module: ContrastiveModule) -> None:
    said = name_rows(module, random_batch(4, 16), range(30), 4, nullcontext)
    assert said == f"Rows of the batch (sample ids): {', '.join(map(str, range(20)))} and 10 more."
