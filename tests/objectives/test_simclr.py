from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mmcl.batch import PairBatch, TokenBatch
from mmcl.losses import nt_xent_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig, SimCLRConfig, SimCSEConfig
from mmcl.objectives.simclr import SimCLRObjective
from tests.tiny import random_batch, save_tokenizer, vit_bert_pair, without_some


def module_of(folder: Path, *configs: Any, dropout: float = 0.0) -> ContrastiveModule:
    return ContrastiveModule(build_model(vit_bert_pair(save_tokenizer(folder), dropout)), configs)


def test_it_is_nt_xent_of_its_heads_output(tmp_path: Path) -> None:
    module = module_of(tmp_path, SimCLRConfig(temperature=0.2)).eval()
    batch = random_batch(6, 16, image_views=2, num_groups=5)
    objective = module.objectives["simclr"]
    assert isinstance(objective, SimCLRObjective)
    features = [module.model.encode_image(view).features for view in batch.images]
    views = [F.normalize(objective.projector.head(view), dim=-1) for view in features]
    expected = nt_xent_loss(views, 0.2, batch.group_ids)
    torch.testing.assert_close(module(batch).loss, expected)


def test_another_objective_beside_it_changes_nothing_of_it(tmp_path: Path) -> None:
    batch = random_batch(6, 16, image_views=2)
    alone = module_of(tmp_path, SimCLRConfig())
    beside = module_of(tmp_path, SimCLRConfig(), CLIPConfig(), SimCSEConfig())
    assert torch.equal(alone(batch).losses["simclr"], beside(batch).losses["simclr"])


def test_a_view_is_encoded_once_for_all_objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(tmp_path, CLIPConfig(), SimCLRConfig(), SimCSEConfig())
    rows: dict[str, list[int]] = {"image": [], "text": []}
    for modality, seen in rows.items():
        encode = getattr(module.model, f"encode_{modality}")
        monkeypatch.setattr(
            module.model,
            f"encode_{modality}",
            lambda given, encode=encode, seen=seen: (seen.append(len(given)), encode(given))[1],
        )
    module(random_batch(6, 16, image_views=2))
    # image.0 serves CLIP and SimCLR; the first pass over the texts serves CLIP and SimCSE, and goes with the second.
    assert rows == {"image": [6, 6], "text": [12]}


def test_each_objective_says_how_many_rows_fed_it(tmp_path: Path) -> None:
    module = module_of(tmp_path, CLIPConfig(), SimCLRConfig(), SimCSEConfig())
    output = module(without_some(random_batch(12, 16, image_views=2)))
    assert output.num_rows == {"clip": 4, "simclr": 8, "simcse": 8}


def test_rows_without_a_caption_do_not_reach_the_clip_loss(tmp_path: Path) -> None:
    module = module_of(tmp_path, CLIPConfig()).eval()
    batch = random_batch(12, 16)
    rows = torch.arange(12)
    paired = rows[(rows % 3 != 0) & (rows % 3 != 1)]
    few = module(rows_of(batch, paired))
    torch.testing.assert_close(module(without_some(batch)).loss, few.loss)


def rows_of(batch: PairBatch, rows: torch.Tensor) -> PairBatch:
    return PairBatch(
        tuple(view[rows] for view in batch.images),
        tuple(TokenBatch(view.input_ids[rows], view.attention_mask[rows]) for view in batch.texts),
        batch.group_ids[rows],
        batch.sample_ids[rows],
    )
