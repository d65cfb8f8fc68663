from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmcl.errors import UserError
from mmcl.losses.simcse import simcse_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs.momentum import MoCoConfig
from mmcl.objectives.configs.views import SimCSEConfig, SupervisedSimCSEConfig
from tests.objectives.small_modules import FACTS, batch_of, embeddings_of, module_of, only
from tests.processes import run_processes
from tests.tiny import bert_alone, random_batch, vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")


def test_it_compares_two_dropout_passes_of_one_text_from_first_to_second(tokenizer: str) -> None:
    module = ContrastiveModule(build_model(vit_bert_pair(tokenizer, dropout=0.3)), [SimCSEConfig()], FACTS)
    batch = batch_of()
    encoded = module.encode(batch)
    assert list(encoded) == [("text.0", 0), ("text.0", 1)]
    first, second = (F.normalize(module.objectives["simcse"].projector(view)) for view in encoded.values())
    assert not torch.equal(first, second)
    output = module.losses_of(batch, encoded, {})
    torch.testing.assert_close(output.loss, F.cross_entropy(first @ second.T / 0.05, torch.arange(8)))
    assert output.chances["simcse"] == pytest.approx(math.log(8))


def test_its_head_is_a_linear_layer_with_tanh_on_the_features(tokenizer: str) -> None:
    module, batch = module_of(SimCSEConfig(temperature=0.5), tokenizer), batch_of()
    linear, tanh = module.objectives["simcse"].projector.head
    assert isinstance(linear, nn.Linear)
    assert (linear.in_features, linear.out_features) == (16, 16)
    assert linear.bias is not None
    assert isinstance(tanh, nn.Tanh)
    rows = F.normalize(torch.tanh(linear(module.encode(batch)["text.0", 0].features)))
    torch.testing.assert_close(module(batch).loss, simcse_loss(rows, rows, temperature=0.5))
    assert not any("head" in name for name, _ in module.model.named_parameters())


def test_rows_of_equal_group_are_left_out_of_the_negatives(tokenizer: str) -> None:
    module, batch = module_of(SimCSEConfig(head=None), tokenizer), batch_of(num_groups=7)
    (rows,) = embeddings_of(module, batch, ("text.0",))
    scores = rows @ rows.T / 0.05
    scores[0, 7] = scores[7, 0] = -torch.inf
    torch.testing.assert_close(module(batch).loss, F.cross_entropy(scores, torch.arange(8)))


def test_pictures_will_do(tokenizer: str) -> None:
    views = ("image.0", "image.1")
    module, batch = module_of(SimCSEConfig(views=views, head=None), tokenizer), batch_of()
    first, second = embeddings_of(module, batch, views)
    torch.testing.assert_close(module(batch).loss, simcse_loss(first, second))


@pytest.mark.parametrize("num_negatives", [0, 1])
def test_supervised_columns_are_all_positives_and_all_hard_negatives(tokenizer: str, num_negatives: int) -> None:
    views = ("text.0", "text.1", "text.2")[: 2 + num_negatives]
    config = SupervisedSimCSEConfig(views=views, keep_head=False, hard_negative_weight=3.0)
    module, batch = module_of(config, tokenizer), batch_of()
    anchors, positives, *negatives = embeddings_of(module, batch, views)
    scores = [anchors @ positives.T / 0.05]
    scores += [anchors @ rows.T / 0.05 + math.log(3) * torch.eye(8) for rows in negatives]
    output = module(batch)
    torch.testing.assert_close(output.loss, F.cross_entropy(torch.cat(scores, dim=1), torch.arange(8)))
    equal = torch.ones(8, 4) / 2
    others = torch.stack([equal] * num_negatives, dim=1) if negatives else None
    chance = simcse_loss(equal, equal, others, hard_negative_weight=3.0)
    assert output.chances["simcse_supervised"] == pytest.approx(float(chance))


@pytest.mark.parametrize("num_negatives", [0, 1])
def test_symmetric_is_the_mean_with_each_positive_over_all_anchors(tokenizer: str, num_negatives: int) -> None:
    views = ("text.0", "text.1", "text.2")[: 2 + num_negatives]
    fields: dict[str, Any] = {"views": views, "keep_head": False, "hard_negative_weight": 3.0}
    one_way = module_of(SupervisedSimCSEConfig(**fields), tokenizer)
    module, batch = module_of(SupervisedSimCSEConfig(symmetric=True, **fields), tokenizer), batch_of()
    anchors, positives, *_ = embeddings_of(module, batch, views)
    back = F.cross_entropy(positives @ anchors.T / 0.05, torch.arange(8))
    output, forth = module(batch), one_way(batch)
    torch.testing.assert_close(output.loss, (forth.loss + back) / 2)
    chance = forth.chances["simcse_supervised"]
    assert output.chances["simcse_supervised"] == pytest.approx((chance + math.log(8)) / 2)


def test_symmetric_equals_sentence_transformers(tokenizer: str) -> None:
    package = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    config = SupervisedSimCSEConfig(keep_head=False, symmetric=True)
    module, batch = module_of(config, tokenizer), batch_of()
    peer = package.MultipleNegativesRankingLoss(
        torch.nn.Sequential(torch.nn.Identity()),
        scale=20.0,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )
    expected = peer.compute_loss_from_embeddings(embeddings_of(module, batch, config.views), None)
    torch.testing.assert_close(module(batch).loss, expected)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_symmetric_with_two_hard_negatives_is_the_same_on_several_processes(
    num_processes: int, tokenizer: str, tmp_path: Path
) -> None:
    config = SupervisedSimCSEConfig(
        views=("text.0", "text.1", "text.2", "text.3"), symmetric=True, hard_negative_weight=2.0
    )
    batch = random_batch(12, 16, num_groups=10, text_views=4)
    model, bounds = bert_alone(tokenizer), {2: [0, 5, 12], 3: [0, 3, 7, 12]}[num_processes]
    arguments = {"config": model, "objectives": [config], "batch": batch, "dtype": torch.float64, "facts": FACTS}
    results = run_processes("module_gradients", num_processes, tmp_path, bounds=bounds, **arguments)
    module = ContrastiveModule(build_model(model), [config], FACTS).double()
    output = module(batch)
    output.loss.backward()
    for result in results:
        torch.testing.assert_close(result["loss"], output.loss.detach(), rtol=1e-10, atol=0)
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(result["grads"][name], parameter.grad, rtol=1e-9, atol=1e-11)


def test_the_supervised_head_is_part_of_the_model(tokenizer: str) -> None:
    module = ContrastiveModule(build_model(bert_alone(tokenizer)), [SupervisedSimCSEConfig()], FACTS).eval()
    batch = batch_of()
    assert list(module.objectives.parameters()) == []
    anchors, positives, negatives = embeddings_of(module, batch, ("text.0", "text.1", "text.2"))
    torch.testing.assert_close(module(batch).loss, simcse_loss(anchors, positives, negatives[:, None]))
    assert not torch.allclose(anchors, F.normalize(module.encode(batch)["text.0", 0].features))
    module(batch).loss.backward()
    assert all(parameter.grad is not None for name, parameter in module.named_parameters() if "head" in name)
    assert any("head" in name for name, _ in module.model.named_parameters())


def test_a_momentum_encoder_named_before_it_has_the_kept_head_too(tokenizer: str) -> None:
    """It starts as a copy of the model, whichever objective comes first."""
    moco = MoCoConfig(views=("text.0", "text.1"), head=None, queue_size=16)
    for configs in ([moco, SupervisedSimCSEConfig()], [SupervisedSimCSEConfig(), moco]):
        module = ContrastiveModule(build_model(bert_alone(tokenizer)), configs, FACTS).eval()
        batch = batch_of()
        (key,) = module.encode_keys(batch)["moco"]
        torch.testing.assert_close(key, module.encode(batch)["text.1", 0].projected)


def test_a_head_cannot_stay_in_a_model_of_pictures_and_texts(tokenizer: str) -> None:
    with pytest.raises(UserError, match="kept head"):
        module_of(SupervisedSimCSEConfig(), tokenizer)


def test_supervised_takes_the_rows_that_have_all_texts(tokenizer: str) -> None:
    module, batch = module_of(SupervisedSimCSEConfig(keep_head=False), tokenizer), batch_of()
    partial = without_some(batch)
    assert partial.text_rows is not None
    # Of the rows with an anchor and a positive (0, 2, 3, 5, 6) only three have a hard negative.
    few = torch.tensor([2, 3, 6])
    tokens = replace(
        batch.texts[2], input_ids=batch.texts[2].input_ids[few], attention_mask=batch.texts[2].attention_mask[few]
    )
    partial = replace(partial, texts=(*partial.texts[:2], tokens), text_rows=(*partial.text_rows[:2], few))
    output = module(partial)
    assert output.num_rows["simcse_supervised"] == 3
    torch.testing.assert_close(output.loss, module(only(batch, [2, 3, 6])).loss)
