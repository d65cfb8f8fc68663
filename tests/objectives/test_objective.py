"""What batches say of equal texts reaches the losses, on any number of processes, and stays in memories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.losses.clip import clip_loss
from mmcl.losses.info_nce import info_nce_loss
from mmcl.losses.simcse import simcse_loss
from mmcl.objectives.configs.base import HeadConfig
from mmcl.objectives.configs.cross_modal import CLIPConfig, InfoNCEConfig, SigLIPConfig
from mmcl.objectives.configs.labels import MarginConfig, SupConConfig, TripletConfig
from mmcl.objectives.configs.momentum import MoCoConfig, MoCoV3Config
from mmcl.objectives.configs.views import NPairConfig, SimCLRConfig, SimCSEConfig, SupervisedSimCSEConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, step
from tests.objectives.steps import (
    NUM_ROWS,
    Stepper,
    assert_processes_end_alike,
    assert_resumes_bit_for_bit,
    states_of_processes,
)
from tests.tiny import random_batch, vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

TEXTS = ("text.0", "text.1")


def with_ids(batch: PairBatch, seed: int = 0, num_different: int = 20) -> PairBatch:
    """The batch, in which texts are equal by chance, in whatever role; each stays so when the rows are others."""
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for tokens in batch.texts:
        texts.append(replace(tokens, text_ids=torch.randint(num_different, (len(tokens),), generator=generator)))
    return replace(batch, texts=tuple(texts))


def ids_of(batch: PairBatch, *numbers: int) -> Tensor:
    return torch.stack([batch.texts[number].text_ids for number in numbers], dim=1)


def test_the_ids_are_those_of_the_selected_rows_and_of_each_text_once(tokenizer: str) -> None:
    batch = with_ids(without_some(batch_of(12)))
    encoded = Stepper(vit_bert_pair(tokenizer), CLIPConfig()).encoded(batch)
    selected = encoded.select(("image.0", "text.0"))
    assert selected.rows is not None
    with_text = torch.arange(12)[torch.arange(12) % 3 != 1]
    expected = batch.texts[0].text_ids[torch.isin(with_text, selected.rows)]
    found = encoded.text_ids(("image.0", "text.0", "text.0"), selected)
    assert found is not None
    assert torch.equal(found, expected[:, None])
    assert encoded.text_ids(("image.0",), selected) is None


def test_a_batch_that_does_not_say_leaves_out_nothing(tokenizer: str) -> None:
    module, batch = module_of(SimCSEConfig(head=None, views=TEXTS), tokenizer), batch_of()
    first, second = embeddings_of(module, batch, TEXTS)
    torch.testing.assert_close(module(batch).loss, simcse_loss(first, second))


def test_supervised_simcse_knows_anchors_positives_and_hard_negatives_by_their_texts(tokenizer: str) -> None:
    module, batch = module_of(SupervisedSimCSEConfig(keep_head=False), tokenizer), with_ids(batch_of())
    rows = embeddings_of(module, batch, (*TEXTS, "text.2"))
    given = {"text_ids": ids_of(batch, 0, 1), "negative_text_ids": ids_of(batch, 2)}
    expected = simcse_loss(rows[0], rows[1], rows[2][:, None], **given)
    torch.testing.assert_close(module(batch).loss, expected)
    assert abs(float((expected - simcse_loss(rows[0], rows[1], rows[2][:, None])).detach())) > 1e-3


@pytest.mark.parametrize("config", [CLIPConfig(memory=12), InfoNCEConfig(memory=12, views=TEXTS)], ids=lambda c: c.type)
def test_past_rows_of_an_equal_text_are_no_negatives_either(config: Any, tokenizer: str) -> None:
    module = module_of(config, tokenizer)
    past, now = with_ids(batch_of(8, 0), seed=1), with_ids(batch_of(8, 1), seed=2)
    now = replace(now, group_ids=now.group_ids + 100)
    step(module, past)
    old, new = embeddings_of(module, past, config.views), embeddings_of(module, now, config.views)
    output = module(now)
    if config.type == "clip":
        given = {"text_ids": ids_of(now, 0), "memory_text_ids": ids_of(past, 0)}
        expected = clip_loss(*new, module.model.logit_scale(), now.group_ids, memory=(*old, past.group_ids), **given)
    else:
        given = {"text_ids": ids_of(now, 0, 1), "memory_text_ids": ids_of(past, 0, 1)}
        expected = info_nce_loss(*new, 1 / 0.07, now.group_ids, memory=(old[1], past.group_ids), **given)
    torch.testing.assert_close(output.loss, expected)


def test_an_image_is_not_compared_with_a_caption_that_another_image_has_too(tokenizer: str) -> None:
    module, batch = module_of(CLIPConfig(), tokenizer), with_ids(without_some(batch_of(12)), num_different=4)
    several = replace(batch, has_several_captions=True)
    torch.testing.assert_close(module(several).loss, module(batch).loss)
    apart = replace(batch, texts=(replace(batch.texts[0], text_ids=None), *batch.texts[1:]))
    assert abs(float((module(batch).loss - module(apart).loss).detach())) > 1e-3


OVER_PROCESSES: list[Any] = [
    CLIPConfig(memory=16),
    CLIPConfig(views=TEXTS),
    SigLIPConfig(memory=16),
    InfoNCEConfig(memory=16, similarity="neg_euclidean", views=TEXTS),
    SimCLRConfig(memory=16, views=TEXTS),
    SimCSEConfig(memory=16, views=TEXTS),
    SupervisedSimCSEConfig(memory=16, keep_head=False, views=(*TEXTS, "text.2", "text.3"), hard_negative_weight=0.5),
    NPairConfig(memory=16, views=TEXTS),
    MoCoConfig(queue_size=16, views=TEXTS),
    SupConConfig(memory=16, views=TEXTS),
    TripletConfig(memory=16, views=("image.0", "text.0")),
    MarginConfig(memory=16, views=TEXTS, positives="labels"),
]


def text_batches() -> list[PairBatch]:
    """Five batches of four texts in each row, few of them different."""
    batches = [random_batch(NUM_ROWS, 16, seed, text_views=4, num_classes=3) for seed in range(5)]
    batches = [replace(batch, sample_ids=batch.sample_ids + NUM_ROWS * at) for at, batch in enumerate(batches)]
    return [with_ids(batch, at, num_different=40) for at, batch in enumerate(batches)]


@pytest.mark.parametrize("config", OVER_PROCESSES, ids=lambda config: config.type)
def test_equal_texts_on_different_processes_are_known(config: Any, tokenizer: str, tmp_path: Path) -> None:
    model = vit_bert_pair(tokenizer, temperature=1.0)
    state = assert_processes_end_alike(tmp_path, model, config, batches=text_batches())
    without = [
        replace(batch, texts=tuple(replace(tokens, text_ids=None) for tokens in batch.texts))
        for batch in text_batches()
    ]
    (unaware,) = states_of_processes(1, tmp_path, model, config, batches=without)
    trained = next(name for name in state if name.startswith("model.towers.text") and name.endswith("weight"))
    assert not torch.allclose(state[trained], unaware[trained], rtol=1e-6, atol=0)


WITH_STATE = [SimCSEConfig(memory=16), MoCoConfig(queue_size=16, views=TEXTS)]


@pytest.mark.parametrize("config", WITH_STATE, ids=lambda config: config.type)
def test_a_memory_knows_its_texts_after_a_resume(config: Any, tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer, temperature=1.0), config, text_batches())


def test_moco_v3_knows_equal_texts(tokenizer: str) -> None:
    config = MoCoV3Config(head=None, predictor=HeadConfig(output_dim=None, batch_norm=False), views=TEXTS)
    module, batch = Stepper(vit_bert_pair(tokenizer), config).module, text_batches()[0]
    apart = replace(batch, texts=tuple(replace(tokens, text_ids=None) for tokens in batch.texts))
    assert float(module(batch).loss.detach()) < float(module(apart).loss.detach()) - 1e-3
