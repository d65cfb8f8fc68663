from __future__ import annotations

import math

import pytest
import torch

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.export.verify import sample_pictures
from mmcl.model import LogitScale, TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.text.prompts import NO_PROMPTS, Prompts
from mmcl.towers.tokenizer_of import tokenizer_of
from tests.tiny import random_batch, resnet_pair, save_tokenizer, vit_bert_pair
from tests.towers.tiny_configs import BERT, VIT, lone_image, lone_text


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model(tokenizer: str) -> TwoTower:
    return build_model(vit_bert_pair(tokenizer)).eval()


def test_scale_is_the_inverse_temperature_in_float32() -> None:
    scale = LogitScale(math.log(20.0))
    with torch.autocast("cpu", torch.bfloat16):
        value = scale()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(20.0)


def test_prompts_of_the_recipe_replace_those_of_the_model(tokenizer: str) -> None:
    config = lone_text(BERT, tokenizer)
    assert build_model(config).prompts == NO_PROMPTS
    given = config.model_copy(update={"prompts": {"query": "q: "}})
    assert build_model(given).prompts == tokenizer_of(given).prompts == Prompts({"query": "q: "})
    assert build_model(lone_image(VIT)).prompts == NO_PROMPTS
    with pytest.raises(UserError, match=r"model\.prompts go before texts, and the model has no text tower"):
        build_model(lone_image(VIT).model_copy(update={"prompts": {"query": "q: "}}))


def test_scale_is_clamped_from_above_only() -> None:
    scale = LogitScale(math.log(20.0), max_scale=30.0)
    scale.log_scale.data.fill_(5.0)
    scale.clamp_()
    assert scale().item() == pytest.approx(30.0)
    scale.log_scale.data.fill_(-2.0)
    scale.clamp_()
    assert scale.log_scale.item() == -2.0


def test_a_checkpoint_above_the_clamp_keeps_its_scale() -> None:
    scale = LogitScale(math.log(117.0), max_scale=100.0)
    scale.clamp_()
    assert scale().item() == pytest.approx(117.0)


def test_a_fixed_temperature_is_a_buffer() -> None:
    assert [name for name, _ in LogitScale(1.0).named_parameters()] == ["log_scale"]
    fixed = LogitScale(1.0, learnable=False)
    assert not list(fixed.parameters())
    assert "log_scale" in fixed.state_dict()


def test_temperature_comes_from_the_recipe_else_clips(tokenizer: str) -> None:
    assert build_model(vit_bert_pair(tokenizer)).logit_scale().item() == pytest.approx(1 / 0.07)
    model = build_model(vit_bert_pair(tokenizer, temperature=0.5, learn_temperature=False, max_logit_scale=3.0))
    assert model.logit_scale().item() == pytest.approx(2.0)
    assert not list(model.logit_scale.parameters())
    assert model.logit_scale.max_log_scale == pytest.approx(math.log(3.0))


def test_weights_depend_on_the_seed_alone(tokenizer: str) -> None:
    config = resnet_pair(tokenizer)
    first = build_model(config, seed=3).state_dict()
    torch.rand(5)
    again, other = build_model(config, seed=3).state_dict(), build_model(config, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_the_random_state_alone(tokenizer: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build_model(resnet_pair(tokenizer))
    assert torch.equal(torch.rand(3), expected)


def test_a_model_is_built_in_training_mode(tokenizer: str) -> None:
    assert all(module.training for module in build_model(resnet_pair(tokenizer)).modules())


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_embeddings_are_float32_of_unit_norm(model: TwoTower, precision: torch.dtype | None) -> None:
    batch = random_batch(4, 16)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        encoded = [model.encode_image(batch.images[0]), model.encode_text(batch.texts[0])]
    for one in encoded:
        assert one.embeddings.dtype == torch.float32
        assert one.embeddings.shape == (4, model.embedding_dim) == (4, 8)
        torch.testing.assert_close(one.embeddings.norm(dim=1), torch.ones(4))
        assert one.features.shape == (4, 16)


def test_projected_is_what_is_normalised(model: TwoTower) -> None:
    batch = random_batch(4, 16)
    for one in (model.encode_image(batch.images[0]), model.encode_text(batch.texts[0])):
        torch.testing.assert_close(one.projected / one.projected.norm(dim=1, keepdim=True), one.embeddings)
        assert not torch.allclose(one.projected.norm(dim=1), torch.ones(4))
    with torch.autocast("cpu", torch.bfloat16):
        encoded = model.encode_image(batch.images[0])
    assert encoded.projected.dtype == torch.float32
    assert encoded.projected.shape == (4, 8)


def test_a_model_says_which_towers_it_has(tokenizer: str, model: TwoTower) -> None:
    image, text = build_model(lone_image(VIT)), build_model(lone_text(BERT, tokenizer))
    assert [(one.has_image_tower, one.has_text_tower) for one in (model, image, text)] == [
        (True, True),
        (True, False),
        (False, True),
    ]
    assert (image.tokenizer, text.preprocessing) == (None, None)
    assert (image.embedding_dim, text.embedding_dim) == (16, 16)


def test_a_missing_tower_is_refused(tokenizer: str) -> None:
    batch = random_batch(2, 32)
    with pytest.raises(UserError, match="the model has no text tower: it is a model of images alone"):
        build_model(lone_image(VIT)).encode_text(batch.texts[0])
    with pytest.raises(UserError, match="the model has no image tower: it is a model of texts alone"):
        build_model(lone_text(BERT, tokenizer)).encode_image(batch.images[0])


def test_a_lone_tower_projects_nothing(tokenizer: str) -> None:
    encoded = build_model(lone_image(VIT)).eval().encode_image(random_batch(2, 32).images[0])
    assert torch.equal(encoded.projected, encoded.features)
    torch.testing.assert_close(encoded.embeddings.norm(dim=1), torch.ones(2))


def test_float64_stays_float64(tokenizer: str) -> None:
    batch = random_batch(2, 16)
    assert (
        build_model(vit_bert_pair(tokenizer)).double().encode_image(batch.images[0]).embeddings.dtype == torch.float64
    )


def test_pictures_are_normalised_as_transformers_does(model: TwoTower) -> None:
    pixels = torch.stack([model.preprocessing.resize(picture) for picture in sample_pictures()])
    normalised = model.preprocessing.to_processor()(sample_pictures(), return_tensors="pt")["pixel_values"]
    expected = model.towers.encode_image(normalised)[0]
    torch.testing.assert_close(model.encode_image(pixels).features, expected)


def test_text_embeddings_do_not_depend_on_padding(model: TwoTower) -> None:
    tokens = model.tokenizer(["alpha", "a greek letter alpha beta"])
    alone = model.encode_text(model.tokenizer(["alpha"])).embeddings
    torch.testing.assert_close(model.encode_text(tokens).embeddings[:1], alone)
    wrong = TokenBatch(tokens.input_ids, torch.ones_like(tokens.attention_mask))
    assert not torch.allclose(model.encode_text(wrong).embeddings[:1], alone), "padding would be seen without the mask"


def test_attention_is_fused(model: TwoTower) -> None:
    towers = model.towers
    assert towers.image_model.config._attn_implementation == "sdpa"
    assert towers.text_model.config._attn_implementation == "sdpa"


def test_unknown_names_are_one_line() -> None:
    with pytest.raises(UserError, match="cannot load"):
        build_model(ModelConfig(name="nobody/no-such-model"))
    with pytest.raises(UserError, match="no architecture"):
        build_model(ModelConfig(name="ViT-B-23,openai"))
