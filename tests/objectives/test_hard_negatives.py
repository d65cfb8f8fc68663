from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mmcl.batch import PairBatch, TokenBatch
from mmcl.distributed import RowSizes
from mmcl.losses.clip import clip_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig
from mmcl.objectives.objective import Progress
from mmcl.training.grad_cache import GradCache
from tests.objectives.small_modules import FACTS, batch_of, embeddings_of, module_of
from tests.processes import run_processes
from tests.tiny import vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

CONFIG = CLIPConfig(hard_negatives=1)
VIEWS = ("image.0", "text.0", "text.2")


def with_captions_among_the_negatives(batch: PairBatch) -> PairBatch:
    """The batch, in which the texts of the hard negatives of rows 0 and 1 are the captions of rows 3 and 5."""
    (captions, positives, negatives) = batch.texts
    ids = torch.arange(len(batch))
    of_negatives = torch.cat([torch.tensor([3, 5]), 100 + ids[2:]])
    return replace(batch, texts=(replace(captions, text_ids=ids), positives, replace(negatives, text_ids=of_negatives)))


def lacking_some(batch: PairBatch) -> PairBatch:
    """The batch, in which only some rows have a hard negative."""
    rows = torch.tensor([0, 1, 4, 6, 9, 11])
    (captions, positives, negatives) = batch.texts
    ids = None if negatives.text_ids is None else negatives.text_ids[rows]
    negatives = TokenBatch(negatives.input_ids[rows], negatives.attention_mask[rows], text_ids=ids)
    every = torch.arange(len(batch))
    return replace(batch, texts=(captions, positives, negatives), text_rows=(every, every, rows))


def test_it_is_the_clip_loss_with_the_batchs_negatives(tokenizer: str) -> None:
    module, batch = module_of(CONFIG, tokenizer), with_captions_among_the_negatives(batch_of(num_groups=7))
    images, texts, negatives = embeddings_of(module, batch, VIEWS)
    ids = torch.tensor([3, 5, -1, -1, -1, -1, -1, -1])
    scale = module.model.logit_scale()
    expected = clip_loss(images, texts, scale, batch.group_ids, negatives=(negatives, ids, None))
    output = module(batch)
    torch.testing.assert_close(output.loss, expected)
    assert output.chances["clip"] == pytest.approx((torch.log(torch.tensor([8.0, 16.0])).sum() / 2).item())
    wrong = clip_loss(images, texts, scale, batch.group_ids, negatives=(negatives, torch.full((8,), -1), None))
    assert abs(float((expected - wrong).detach())) > 1e-3


def test_a_row_without_a_hard_negative_is_learnt_from(tokenizer: str) -> None:
    module, batch = module_of(CONFIG, tokenizer), lacking_some(batch_of(12))
    output = module(batch)
    images, texts, negatives = embeddings_of(module, batch, VIEWS)
    expected = clip_loss(images, texts, module.model.logit_scale(), negatives=(negatives, torch.full((6,), -1), None))
    torch.testing.assert_close(output.loss, expected)
    assert output.num_rows["clip"] == 12


def test_of_rows_without_a_picture_no_hard_negative_is_taken(tokenizer: str) -> None:
    module, batch = module_of(CONFIG, tokenizer), without_some(batch_of(12))
    output = module(batch)
    images, texts, negatives = embeddings_of(module, batch, VIEWS)
    with_picture, with_text = (torch.arange(12) % 3 != rest for rest in (0, 1))
    both = with_picture & with_text
    rows = (images[both[with_picture]], texts[both[with_text]], negatives[both[with_text]])
    expected = clip_loss(*rows[:2], module.model.logit_scale(), negatives=(rows[2], torch.full((4,), -1), None))
    torch.testing.assert_close(output.loss, expected)


def gradients(module: ContrastiveModule) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("is_partial", [False, True])
def test_processes_and_cached_gradients_equal_one_pass(tokenizer: str, tmp_path: Path, is_partial: bool) -> None:
    config = CLIPConfig(hard_negatives=1, memory=20)
    model, batch = vit_bert_pair(tokenizer), with_captions_among_the_negatives(batch_of(12, num_groups=10))
    batch = lacking_some(batch) if is_partial else batch
    module = ContrastiveModule(build_model(model), [config], FACTS).double()
    loss = module(batch).loss
    loss.backward()
    expected = gradients(module)
    arguments = {"config": model, "objectives": [config], "batch": batch, "dtype": torch.float64, "facts": FACTS}
    found = [
        (result["loss"], result["grads"])
        for result in run_processes("module_gradients", 2, tmp_path, bounds=[0, 5, 12], **arguments)
    ]
    cached = ContrastiveModule(build_model(model), [config], FACTS).double()
    cache = GradCache(cached, 5, lambda share: share.backward(), nullcontext)
    found.append((cache.step(batch, RowSizes((12,)), Progress()).loss.detach(), gradients(cached)))
    for other_loss, grads in found:
        torch.testing.assert_close(other_loss, loss.detach(), rtol=1e-10, atol=0)
        for name, grad in expected.items():
            torch.testing.assert_close(grads[name], grad, rtol=1e-8, atol=1e-12, msg=name)


def test_hard_negatives_stand_beside_pictures_and_texts() -> None:
    with pytest.raises(ValidationError, match="are texts beside those of views, which must be a picture and a text"):
        CLIPConfig(views=("image.0", "image.1"), hard_negatives=1)
