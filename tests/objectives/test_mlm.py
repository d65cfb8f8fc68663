from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForMaskedLM

from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs.views import SimCSEConfig
from mmcl.objectives.configs.words import MLMConfig
from mmcl.objectives.objective import Progress
from mmcl.recipe_model import ModelConfig
from mmcl.training.grad_cache import check_cacheable
from tests.objectives.small_modules import FACTS
from tests.objectives.steps import assert_processes_end_alike, assert_resumes_bit_for_bit, batches_of
from tests.tiny import SPECIAL, WORDS, bert_alone, clip_text_config, random_batch, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

OFTEN = MLMConfig(mlm_probability=0.4)


def mlm_module(model: ModelConfig, *configs: Any) -> ContrastiveModule:
    return ContrastiveModule(build_model(model), configs or [OFTEN], FACTS).eval()


def test_it_is_berts_own_masked_language_model(tokenizer: str) -> None:
    """The loss is that of transformers' class with the same weights on the same masked tokens."""
    module, batch = mlm_module(bert_alone(tokenizer)), random_batch(12, 16)
    objective = module.objectives["mlm"]
    torch.nn.init.normal_(objective.head.bias)
    backbone = module.model.towers.backbone
    peer = BertForMaskedLM(backbone.config).eval()
    peer.bert.load_state_dict(backbone.state_dict(), strict=False)
    predictions = peer.cls.predictions
    predictions.transform.dense.load_state_dict(objective.head.dense.state_dict())
    predictions.transform.LayerNorm.load_state_dict(objective.head.norm.state_dict())
    predictions.bias.data = predictions.decoder.bias.data = objective.head.bias.data.clone()
    ids, is_masked = objective.masker(batch.texts[0], batch.sample_ids, 7)
    labels = batch.texts[0].input_ids.masked_fill(~is_masked, -100)
    expected = peer(input_ids=ids, attention_mask=batch.texts[0].attention_mask, labels=labels).loss
    output = module(batch, progress=Progress(step=7))
    torch.testing.assert_close(output.loss, expected)
    assert output.chances["mlm"] == pytest.approx(math.log(len(SPECIAL + WORDS)))


def test_its_gradient_reaches_the_token_embeddings_both_ways_and_the_head_is_not_the_models(tokenizer: str) -> None:
    module, batch = mlm_module(vit_bert_pair(tokenizer)), random_batch(12, 16)
    before = set(module.model.state_dict())
    module(batch).loss.backward()
    grad = module.model.towers.text_model.get_input_embeddings().weight.grad
    # Also of words that no text has: the head compares with all of them.
    assert grad is not None
    assert bool((grad[len(SPECIAL) :].abs().sum(dim=1) > 0).all())
    assert set(module.model.state_dict()) == before
    assert {name for name, _ in module.objectives.named_parameters()} == {
        f"mlm.head.{name}" for name in ("dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias")
    }


def test_beside_simcse_the_texts_are_encoded_no_more_often(tokenizer: str) -> None:
    module = mlm_module(bert_alone(tokenizer), SimCSEConfig(), OFTEN)
    assert module.num_passes == {"text.0": 2}
    batch = random_batch(12, 16)
    alone = mlm_module(bert_alone(tokenizer), SimCSEConfig())
    losses = module(batch).losses
    torch.testing.assert_close(losses["simcse"], alone(batch).losses["simcse"])


def test_under_autocast_the_pass_is_in_half_precision_and_the_loss_is_not(tokenizer: str) -> None:
    module, batch = mlm_module(bert_alone(tokenizer)), random_batch(12, 16)
    seen = []
    layers = (module.model.towers.backbone.encoder.layer[0].output.dense, module.objectives["mlm"].head.dense)
    for layer in layers:
        layer.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    exact = module(batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(batch).loss
    assert seen == [torch.float32, torch.float32, torch.bfloat16, torch.float32]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=2e-2, atol=0)


def test_a_step_in_which_nothing_is_masked_has_a_loss_of_zero(tokenizer: str) -> None:
    module, batch = mlm_module(bert_alone(tokenizer), MLMConfig(mlm_probability=1e-9)), random_batch(12, 16)
    output = module(batch)
    output.loss.backward()
    assert output.loss.item() == 0
    assert output.chances["mlm"] is None
    assert module.objectives["mlm"].head.bias.grad is not None


def test_five_steps_are_the_same_on_several_processes(tokenizer: str, tmp_path: Path) -> None:
    """Masks go by the sample, the mean by the masked tokens of all processes, which differ in number."""
    assert_processes_end_alike(tmp_path, bert_alone(tokenizer), OFTEN)


def test_masks_survive_resume_bit_for_bit(tokenizer: str) -> None:
    assert_resumes_bit_for_bit(bert_alone(tokenizer), OFTEN, batches_of())


def test_each_step_masks_other_tokens(tokenizer: str) -> None:
    module, batch = mlm_module(bert_alone(tokenizer)), random_batch(12, 16)
    losses = [float(module(batch, progress=Progress(step=step)).loss.detach()) for step in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_gradients_cannot_be_cached(tokenizer: str) -> None:
    with pytest.raises(UserError, match="micro_batch_size: mlm learns from tokens"):
        check_cacheable(mlm_module(bert_alone(tokenizer)), 4)


def test_a_model_that_reads_one_way_is_refused(tokenizer: str) -> None:
    text = {"config": clip_text_config(), "tokenizer": tokenizer}
    with pytest.raises(UserError, match="reads both ways; in a fresh clip_text_model a token sees none"):
        mlm_module(ModelConfig.model_validate({"text": text}))


def test_a_table_of_token_vectors_is_refused(tokenizer: str) -> None:
    text = {"config": {"model_type": "static", "embedding_dim": 8}, "tokenizer": tokenizer}
    with pytest.raises(UserError, match="needs a transformers text model, alone or in a pair"):
        mlm_module(ModelConfig.model_validate({"text": text}))


def test_a_tied_head_fits_embeddings_of_another_width(tokenizer: str) -> None:
    config = {"model_type": "albert", "embedding_size": 6, "hidden_size": 16, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 32}
    module = mlm_module(ModelConfig.model_validate({"text": {"config": config, "tokenizer": tokenizer}}))
    module(random_batch(12, 16)).loss.backward()
    assert module.objectives["mlm"].head.dense.weight.shape == (6, 16)


def test_only_the_captions_are_read() -> None:
    with pytest.raises(ValueError, match=r"must be \[text.0\]"):
        MLMConfig(views=("text.1",))
