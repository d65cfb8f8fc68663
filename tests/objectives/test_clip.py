from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcl.losses.clip import clip_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig
from mmcl.objectives.objective import DataFacts
from tests.tiny import random_batch, save_tokenizer, vit_bert_pair


def test_it_is_the_clip_loss_of_the_models_embeddings_and_temperature(tmp_path: Path) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path), temperature=0.2)).eval()
    batch = random_batch(6, 16, num_groups=4)
    images, texts = model.encode_image(batch.images[0]), model.encode_text(batch.texts[0])
    expected = clip_loss(images.embeddings, texts.embeddings, 5.0, batch.group_ids)
    torch.testing.assert_close(ContrastiveModule(model, [CLIPConfig()])(batch).loss, expected)


@pytest.mark.parametrize("limit", [100.0, 20.0])
def test_the_scale_is_clamped_after_a_step(tmp_path: Path, limit: float) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path), max_logit_scale=limit))
    with torch.no_grad():
        model.logit_scale.log_scale.fill_(9.0)
    ContrastiveModule(model, [CLIPConfig()]).after_optimizer_step()
    assert model.logit_scale().item() == pytest.approx(limit, rel=1e-5)


def test_captions_of_other_rows_and_hard_negatives_of_all_are_counted() -> None:
    assert CLIPConfig().most_negatives(DataFacts(batch_size=8)) == 7
    config = CLIPConfig(hard_negatives=2, memory=5)
    assert config.most_negatives(DataFacts(batch_size=8, num_captions=3)) == 7 * 3 + 8 * 2 + 5
