from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmcl.model import build_model
from mmcl.objectives.configs.base import HeadConfig
from mmcl.objectives.heads import Projector, build_head
from tests.tiny import bert_alone, random_batch, save_tokenizer, vit_bert_pair


def test_the_default_is_simclrs_head() -> None:
    linear, norm, relu, last = build_head(HeadConfig(), 16)
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(relu, nn.ReLU)
    assert isinstance(last, nn.Linear)
    assert (linear.in_features, linear.out_features, last.out_features) == (16, 16, 128)
    assert linear.bias is None
    assert last.bias is None


def test_simcses_head_is_one_layer_and_a_tanh() -> None:
    config = HeadConfig(num_layers=1, output_dim=None, batch_norm=False, last_bias=True, tanh=True)
    head = build_head(config, 16)
    assert [type(layer) for layer in head] == [nn.Linear, nn.Tanh]
    assert head(100 * torch.randn(3, 16)).abs().max() <= 1


def test_a_last_batch_norm_has_no_scale_and_no_shift() -> None:
    head = build_head(HeadConfig(num_layers=3, hidden_dim=8, output_dim=4, last_batch_norm=True), 16)
    assert isinstance(head[-1], nn.BatchNorm1d)
    assert head[-1].weight is None
    assert sum(isinstance(layer, nn.Linear) for layer in head) == 3


@pytest.mark.parametrize(
    ("views", "width"), [(("image.0", "image.1"), 16), (("text.0", "text.0"), 16), (("image.0", "text.0"), 8)]
)
def test_a_head_takes_features_of_one_modality_and_the_shared_space_of_two(
    tmp_path: Path, views: tuple[str, str], width: int
) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path)))
    projector = Projector(HeadConfig(output_dim=5), model, views)
    assert projector.input_dim == width
    encoded = model.encode_image(random_batch(4, 16).images[0])
    expected = encoded.features if width == 16 else encoded.projected
    assert torch.equal(projector.input_of(encoded), expected)
    assert projector(encoded).shape == (4, 5)


def test_without_a_head_it_is_the_models_embedding(tmp_path: Path) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path)))
    projector = Projector(None, model, ("image.0", "image.1"))
    encoded = model.encode_image(random_batch(4, 16).images[0])
    assert torch.equal(projector(encoded), encoded.projected)
    assert projector.output_dim == 8
    assert list(projector.parameters()) == []


def test_a_head_beside_one_that_the_model_keeps_is_said_to_pass_it_by(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, views = build_model(bert_alone(save_tokenizer(tmp_path))), ("text.0", "text.0")
    Projector(HeadConfig(), model, views)
    model.keep_text_head()
    Projector(None, model, views)
    assert not caplog.records
    Projector(HeadConfig(), model, views)
    assert "they stay as they are; with head: null it learns from what comes out of them" in caplog.text
