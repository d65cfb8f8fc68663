from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mmcl.errors import UserError
from mmcl.losses.siglip import siglip_loss
from mmcl.model import TwoTower, build_model
from mmcl.objectives.configs.cross_modal import SigLIPConfig
from mmcl.objectives.objective import DataFacts
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, only, step
from tests.tiny import vit_bert_pair, without_some

VIEWS = ("image.0", "text.0")


def start_of(model: TwoTower) -> tuple[float, float]:
    assert model.logit_bias is not None
    return 1 / float(model.logit_scale().detach()), float(model.logit_bias.detach())


def test_it_is_the_siglip_loss_of_the_models_embeddings_scale_and_bias(tokenizer: str) -> None:
    module, batch = module_of(SigLIPConfig(), tokenizer), batch_of(num_groups=6)
    images, texts = embeddings_of(module, batch, VIEWS)
    torch.testing.assert_close(module(batch).loss, siglip_loss(images, texts, 10.0, -10.0, batch.group_ids))


def test_a_model_without_a_bias_is_given_siglips_start(tokenizer: str) -> None:
    module = module_of(SigLIPConfig(), tokenizer, temperature=0.02)
    assert start_of(module.model) == pytest.approx((0.1, -10.0))
    assert isinstance(module.model.logit_bias, nn.Parameter)
    assert module.model.logit_scale.max_log_scale == pytest.approx(math.log(100))


def test_a_checkpoints_own_temperature_and_bias_stay(tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer, temperature=0.02))
    model.logit_bias = nn.Parameter(torch.tensor(-16.0))
    SigLIPConfig().build(model, DataFacts())
    assert start_of(model) == pytest.approx((0.02, -16.0))


def test_the_recipes_temperature_and_bias_come_first(tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    model.logit_bias = nn.Parameter(torch.tensor(-16.0))
    SigLIPConfig(temperature=0.5, bias=-3.0).build(model, DataFacts())
    assert start_of(model) == pytest.approx((0.5, -3.0))


def test_a_second_objective_leaves_the_bias_of_the_first(tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    SigLIPConfig(bias=-3.0).build(model, DataFacts())
    SigLIPConfig().build(model, DataFacts())
    assert start_of(model) == pytest.approx((0.1, -3.0))


def test_a_temperature_that_would_be_clamped_is_refused(tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    with pytest.raises(UserError, match=r"siglip.temperature must be >= 0.01, .* got 0.001"):
        SigLIPConfig(temperature=0.001).build(model, DataFacts())


def test_scale_and_bias_have_a_gradient(tokenizer: str) -> None:
    module = module_of(SigLIPConfig(), tokenizer)
    module(batch_of()).loss.backward()
    assert module.model.logit_bias is not None
    for parameter in (module.model.logit_bias, module.model.logit_scale.log_scale):
        assert parameter.grad is not None
        assert parameter.grad.abs() > 0


def test_chance_is_the_loss_of_cosines_of_zero_at_the_start_bias(tokenizer: str) -> None:
    module = module_of(SigLIPConfig(bias=-2.0), tokenizer)
    zeros, batch = torch.zeros(8, 4), batch_of()
    chance = module(batch).chances["siglip"]
    assert chance == pytest.approx(math.log(1 + math.exp(2)) + 7 * math.log(1 + math.exp(-2)))
    assert chance == pytest.approx(float(siglip_loss(zeros, zeros, 10.0, -2.0)))


def test_chance_counts_the_memory_in_both_directions(tokenizer: str) -> None:
    module, zeros = module_of(SigLIPConfig(memory=12), tokenizer), torch.zeros(8, 4)
    step(module, batch_of())
    expected = siglip_loss(zeros, zeros, 10.0, -10.0, memory=(zeros, zeros, torch.arange(8) + 8))
    assert module(batch_of()).chances["siglip"] == pytest.approx(float(expected))


def test_rows_without_a_picture_or_a_text_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(SigLIPConfig(), tokenizer), batch_of()
    output = module(without_some(batch))
    paired = only(batch, [row for row in range(8) if row % 3 == 2])
    assert output.num_rows["siglip"] == len(paired)
    torch.testing.assert_close(output.loss, module(paired).loss)


def test_a_bias_far_from_zero_has_a_chance_level(tokenizer: str) -> None:
    module = module_of(SigLIPConfig(bias=-1000.0), tokenizer)
    assert module(batch_of()).chances["siglip"] == pytest.approx(1000.0)
