"""What becomes of rows with several captions in a step."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.distributed import RowSizes
from mmcl.losses.clip_captions import clip_captions_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig, SigLIPConfig, SimCSEConfig
from mmcl.objectives.objective import Progress
from mmcl.training.grad_cache import GradCache
from tests.objectives.small_modules import FACTS, batch_of, embeddings_of, module_of, only
from tests.processes import run_processes
from tests.tiny import random_batch, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

OWNERS = torch.tensor([0, 0, 1, 2, 3, 3, 3, 5, 6, 7, 7, 8, 9, 10, 10, 11])


def with_several(batch: PairBatch) -> PairBatch:
    """The batch of twelve rows, in which some have several captions, and one none."""
    more = random_batch(len(OWNERS), 16, seed=9).texts[0]
    every = torch.arange(len(batch))
    return replace(
        batch,
        texts=(more, *batch.texts[1:]),
        text_rows=(OWNERS, every, every),
        has_several_captions=True,
    )


def test_all_captions_of_a_picture_are_its_positives(tokenizer: str) -> None:
    module, batch = module_of(CLIPConfig(), tokenizer), with_several(batch_of(12, num_groups=10))
    images, captions = embeddings_of(module, batch, ("image.0", "text.0"))
    kept = torch.arange(12) != 4
    groups = batch.group_ids
    expected = clip_captions_loss(images[kept], captions, module.model.logit_scale(), groups[kept], groups[OWNERS])
    output = module(batch)
    torch.testing.assert_close(output.loss, expected)
    assert output.num_rows["clip"] == 11
    assert output.chances["clip"] == pytest.approx((torch.log(torch.tensor([11.0, 16.0])).sum() / 2).item())


@pytest.mark.parametrize("config", [SigLIPConfig(), SimCSEConfig(head=None)], ids=["siglip", "simcse"])
def test_other_objectives_take_the_first(config: Any, tokenizer: str) -> None:
    module, batch = module_of(config, tokenizer), with_several(batch_of(12))
    kept = [row for row in range(12) if row != 4]
    first = torch.searchsorted(OWNERS, torch.tensor(kept))
    texts = batch.texts[0]
    plain = only(batch_of(12), kept)
    tokens = replace(texts, input_ids=texts.input_ids[first], attention_mask=texts.attention_mask[first])
    torch.testing.assert_close(module(batch).loss, module(replace(plain, texts=(tokens, *plain.texts[1:]))).loss)


def gradients(module: ContrastiveModule) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def test_processes_and_cached_gradients_equal_one_pass(tokenizer: str, tmp_path: Path) -> None:
    configs: list[Any] = [CLIPConfig(hard_negatives=1), SimCSEConfig()]
    model, batch = vit_bert_pair(tokenizer), with_several(batch_of(12, num_groups=10))
    module = ContrastiveModule(build_model(model), configs, FACTS).double()
    loss = module(batch).loss
    loss.backward()
    expected = gradients(module)
    arguments = {"config": model, "objectives": configs, "batch": batch, "dtype": torch.float64, "facts": FACTS}
    found = [
        (result["loss"], result["grads"])
        for result in run_processes("module_gradients", 2, tmp_path, bounds=[0, 5, 12], **arguments)
    ]
    cached = ContrastiveModule(build_model(model), configs, FACTS).double()
    cache = GradCache(cached, 5, lambda share: share.backward(), nullcontext)
    found.append((cache.step(batch, RowSizes((12,)), Progress()).loss.detach(), gradients(cached)))
    for other_loss, grads in found:
        torch.testing.assert_close(other_loss, loss.detach(), rtol=1e-10, atol=0)
        for name, grad in expected.items():
            torch.testing.assert_close(grads[name], grad, rtol=1e-8, atol=1e-12, msg=name)
